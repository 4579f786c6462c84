"""A mesh that stays as it is, with a texture that trains.

texture    [t, t, 3]   before the sigmoid, row 0 at v = 1
fixed      {"vertices", "normals", "uv", "faces"}: nobody trains them
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import trimesh

from jax3d.math.camera import Camera, each
from jax3d.render.antialias import antialias, edges
from jax3d.render.raster import interpolate, rasterise
from jax3d.render.texture import pyramid, textured
from jax3d.scene.bake import finished
from jax3d.types import Key, Mesh, Params, Render

PALEST = 1e-3
"""Colours closer than this to 0 or 1 begin there: beyond, the sigmoid has no slope."""


@dataclasses.dataclass(frozen=True)
class Painted:
    """A textured mesh."""

    def init(self, key: Key) -> Params:
        """A grey ball; nothing is random."""
        ball = trimesh.creation.icosphere(2, 0.5)
        mesh = Mesh(ball.vertices.astype(np.float32), ball.faces.astype(np.int32))
        return self.begin(finished(mesh, lambda points, _: jnp.full_like(points, 0.5), None, None, 64))

    def begin(self, mesh: Mesh) -> Params:
        """The mesh, which must have normals, uv and a texture."""
        texture = jnp.clip(jnp.asarray(mesh.texture), PALEST, 1 - PALEST)
        names = ("vertices", "normals", "uv", "faces")
        fixed = {name: jnp.asarray(getattr(mesh, name)) for name in names}
        fixed["outline"] = jax.tree.map(jnp.asarray, edges(_welded(mesh)))
        return {"texture": jnp.log(texture / (1 - texture)), "fixed": fixed}

    def render(
        self,
        params: Params,
        camera: Camera,
        key: Key | None = None,
        *,
        height: int,
        width: int,
    ) -> Render:
        """What one camera or a batch of cameras sees, unlit; nothing is random, so that the key counts for nothing.

        extras: `demand`, the most room wanted over the room there was (render/raster).
        """
        fixed = params["fixed"]
        vertices, faces, uv = (fixed[name] for name in ("vertices", "faces", "uv"))
        levels = pyramid(jax.nn.sigmoid(params["texture"]))

        def look(camera: Camera) -> Render:
            seen = rasterise(vertices, faces, camera, height=height, width=width)
            rgb = textured(levels, uv, faces, seen, vertices, faces, camera)
            hit, normal = (seen.face >= 0).astype(rgb.dtype), interpolate(fixed["normals"], faces, seen)
            layers = jnp.concatenate([rgb, hit[..., None], seen.depth[..., None], normal], axis=-1)
            layers, crossings = antialias(layers, seen, vertices, fixed["outline"], camera)
            demand = {"spans": seen.demand[0], "fragments": seen.demand[1], "crossings": crossings}
            return Render(layers[..., :3], layers[..., 3], layers[..., 4], layers[..., 5:], demand)

        out = each(look, camera)
        return out.replace(extras={"demand": jax.tree.map(jnp.max, out.extras)})

    def describe(self, params: Params) -> str:
        """How many triangles there are, for an error message."""
        return f"{len(params['fixed']['faces'])} triangles"

    def export(self, params: Params, *, max_faces: int | None = None, texture: int | None = None) -> Mesh:
        """The mesh with the texture as it is now; it is not decimated or unwrapped again."""
        fixed = {name: np.asarray(leaf) for name, leaf in params["fixed"].items() if name != "outline"}
        return Mesh(**fixed, texture=np.asarray(jax.nn.sigmoid(params["texture"])))


def _welded(mesh: Mesh) -> np.ndarray:
    """The faces with one number for all vertices in one place: charts have theirs, and their seams are no outlines."""
    _, first, number = np.unique(mesh.vertices, axis=0, return_index=True, return_inverse=True)
    return first[number.reshape(-1)].astype(np.int32)[mesh.faces]
