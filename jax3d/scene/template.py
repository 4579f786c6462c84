"""A mesh whose vertices move, with a colour everywhere: template deformation.

    shape     [v, 3]    u of math/diffuse: the vertices are (I + a L)^-1 u
    texture             of a field, of which only the colour counts
    fixed     {"faces": [f, 3], "outline": the edges, "amount": a}: nobody trains them

In a mesh of equilateral triangles with edges h, L is -3/2 h^2 times the Laplacian, so that a = 2/3 (smooth / h)^2 is a
diffusion over the length `smooth`: a pull is felt that far, whatever the size of the triangles.

The faces stay as they are, so the genus of the template does too; scene/dmtet is for surfaces that may change it.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from jaxtyping import Array, Float

from jax3d.math import fairing
from jax3d.math.camera import Camera
from jax3d.math.diffuse import diffused, sharpened
from jax3d.math.remesh import remesh
from jax3d.nn.field import Voxels
from jax3d.render.antialias import edges
from jax3d.render.shade import Light
from jax3d.render.surface import render_mesh
from jax3d.scene.bake import finished
from jax3d.types import Key, Mesh, Params, Render


@dataclasses.dataclass(frozen=True)
class Template:
    """A mesh that is bent into shape."""

    texture: nn.Module = Voxels()
    """A field (nn/field) whose colour is that of the surface."""
    subdivisions: int = 4
    """Of the icosahedron that `init` begins with: 20 4^n faces."""
    radius: float = 0.6
    """Of that ball."""
    smooth: float = 0.1
    """How far a pull is felt, world units."""

    def init(self, key: Key) -> Params:
        """A ball with a random texture."""
        ball = trimesh.creation.icosphere(self.subdivisions, self.radius)
        return self.begin(Mesh(ball.vertices.astype(np.float32), ball.faces.astype(np.int32)), key)

    def begin(self, mesh: Mesh, key: Key) -> Params:
        """Any mesh, with a random texture; ValueError where it has no proper face."""
        somewhere = jnp.zeros((1, 3))
        return self._params(mesh, self.texture.init(key, somewhere, somewhere)["params"])

    def remeshed(self, params: Params, length: float | None = None) -> Params:
        """The same surface and texture with even triangles (`math/remesh`), to go on with where bending stretched them.

        Its shape has another number of vertices: what an optimiser knows of the old ones ends here.
        """
        mesh = Mesh(np.asarray(jax.jit(self.vertices)(params)), np.asarray(params["fixed"]["faces"]))
        return self._params(remesh(mesh, length), params["texture"])

    def _params(self, mesh: Mesh, texture: Params) -> Params:
        outline = edges(mesh.faces)
        square = np.mean(np.sum(np.diff(mesh.vertices[outline.ends], axis=1) ** 2, axis=-1))
        fixed = {"faces": mesh.faces, "outline": outline, "amount": np.float32(2 / 3 * self.smooth**2 / square)}
        fixed = jax.tree.map(jnp.asarray, fixed)
        shape = sharpened(jnp.asarray(mesh.vertices), fixed["outline"].ends, fixed["amount"])
        return {"shape": shape, "texture": texture, "fixed": fixed}

    def vertices(self, params: Params) -> Float[Array, "v 3"]:
        """Where the vertices are."""
        fixed = params["fixed"]
        return diffused(params["shape"], fixed["outline"].ends, fixed["amount"])

    def render(
        self,
        params: Params,
        camera: Camera,
        key: Key | None = None,
        *,
        height: int,
        width: int,
        light: Light | None = None,
    ) -> Render:
        """What one camera or a batch of cameras sees; nothing is random, so that the key counts for nothing.

        extras: the terms of math/fairing, each a scalar, and `demand`, the most room wanted over the room there was, of
        each kind (render/surface).
        """
        vertices, faces = self.vertices(params), params["fixed"]["faces"]
        color = lambda points: self.color(params, points)  # noqa: E731
        outline = params["fixed"]["outline"]
        out = render_mesh(vertices, faces, outline, camera, color, height=height, width=width, light=light)
        terms = {
            "normal_variation": fairing.normal_variation(vertices, faces),
            "laplacian": fairing.laplacian(vertices, faces),
            "demand": jax.tree.map(jnp.max, out.extras["demand"]),
        }
        return out.replace(extras=terms)

    def color(self, params: Params, points: Float[Array, "n 3"]) -> Float[Array, "n 3"]:
        """The colour at points in space."""
        return self.texture.apply({"params": params["texture"]}, points, None)[1]

    def export(self, params: Params, *, max_faces: int | None = None, texture: int | None = None) -> Mesh:
        """The mesh with colours and normals, as NeRF.export."""
        faces = np.asarray(params["fixed"]["faces"])
        mesh = Mesh(np.asarray(jax.jit(self.vertices)(params)), faces)
        return finished(mesh, lambda points, _: self.color(params, points), None, max_faces, texture)
