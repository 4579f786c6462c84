"""A solid as signed distances at the nodes of a tetrahedral grid, with a colour everywhere (DMTet, arXiv 2111.04276).

Each render marches the grid (math/marching) and rasterises the triangles. Parameters, for v nodes:

    distance   [v]       signed, negative inside, in spacings of the grid, so that a step means the same at any size
    offset     [v, 3]    moves a node by reach spacing tanh(offset)
    texture    of a field, of which only the colour counts
    fixed      {"grid": the tetrahedra}: nobody trains them, but they are arguments of jitted functions as all weights

A surface can change its genus, but it grows only from itself: distances without a sign change nearby get no gradient.
"""

import dataclasses
import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jax3d.math import fairing, isosurface, marching
from jax3d.math.camera import Camera
from jax3d.math.marching import Surface
from jax3d.math.outline import edges_of
from jax3d.math.tetrahedra import REACH, Tetrahedra, deform, kuhn
from jax3d.nn.field import Voxels
from jax3d.render.antialias import Edges
from jax3d.render.shade import Light
from jax3d.render.surface import render_mesh
from jax3d.scene.bake import finished
from jax3d.types import Key, Mesh, Params, Render

SPARE = 1.6
"""Room for triangles over what the first surface needs."""


@dataclasses.dataclass(frozen=True)
class DMTet:
    """A surface in [-1, 1]^3 that moves under gradients."""

    texture: nn.Module = Voxels()
    """A field (nn/field) whose colour is that of the surface."""
    cells: int = 64
    """Cubes along an edge of the grid, six tetrahedra each."""
    reach: float = REACH
    """How far nodes may move along each axis, in spacings."""
    radius: float = 0.5
    """Of the ball that `init` begins with."""
    room: tuple[int, int] | None = None
    """Vertices and faces that the surface may have; None = what a surface four times the size of a ball needs."""

    def init(self, key: Key) -> Params:
        """A ball with a random texture."""
        somewhere = jnp.zeros((1, 3))
        texture = self.texture.init(key, somewhere, somewhere)["params"]
        grid = _grid(self.cells)
        distance = (np.linalg.norm(grid.vertices, axis=-1) - self.radius) / self.spacing
        return self._params(distance, texture)

    def begin(
        self, density: Callable[[Array], Array], texture: Params, *, level: float | None = None
    ) -> tuple["DMTet", Params]:
        """The scene, with room for its surface, and parameters at the surface of a density (points [n, 3] -> [n]).

        Without a level it is chosen from the density's distribution; small parts and closed cavities are left out.
        ValueError for an empty field.
        """
        values = isosurface.evaluate(density, self.cells + 1, 1.0)
        level = isosurface.automatic_threshold(values, 1.0) if level is None else level
        distance = isosurface.distances(values, level).reshape(-1)
        wanted = marching.demand(_grid(self.cells), distance)
        if not wanted[1]:
            raise ValueError(
                f"the field is empty: no part of it is denser than {level:.3g}, values lie in [{values.min():.3g}, "
                f"{values.max():.3g}]; train it longer, or give a lower level."
            )
        room = tuple(int(SPARE * count) for count in wanted)
        return dataclasses.replace(self, room=room), self._params(distance, texture)

    def _params(self, distance: np.ndarray, texture: Params) -> Params:
        nodes = {"distance": jnp.asarray(distance, jnp.float32), "offset": jnp.zeros((len(distance), 3))}
        return nodes | {"texture": texture, "fixed": {"grid": jax.device_put(_grid(self.cells))}}

    @property
    def spacing(self) -> float:
        """Edge of the cubes, world units."""
        return 2 / self.cells

    @property
    def _room(self) -> tuple[int, int]:
        # A ball of radius 1 has 7 faces for each square of the grid that fits on it, and half as many vertices.
        return self.room or (int(14 * np.pi * self.cells**2 / 4), int(28 * np.pi * self.cells**2 / 4))

    def surface(self, params: Params) -> Surface:
        """The triangles, differentiable in distances and offsets."""
        grid = params["fixed"]["grid"]
        positions = deform(grid.vertices, params["offset"], self.spacing, reach=self.reach)
        vertices, faces = self._room
        return marching.march(grid, params["distance"], positions, vertex_capacity=vertices, face_capacity=faces)

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
        each kind (render/surface, and "surface" for `room`).
        """
        surface = self.surface(params)
        vertices, faces, _ = surface[:3]
        outline = Edges(*edges_of(faces, 3 * len(faces) // 2)[:2])
        color = lambda points: self._color(params, points)  # noqa: E731
        out = render_mesh(vertices, faces, outline, camera, color, height=height, width=width, light=light)
        wanted = jnp.maximum(surface.vertex_count / len(vertices), surface.face_count / len(faces))
        terms = {
            "normal_variation": fairing.normal_variation(vertices, faces),
            "laplacian": fairing.laplacian(vertices / self.spacing, faces),
            "sign_entropy": fairing.sign_entropy(params["distance"], surface),
            "demand": jax.tree.map(jnp.max, out.extras["demand"]) | {"surface": wanted},
        }
        return out.replace(extras=terms)

    def _color(self, params: Params, points: Float[Array, "n 3"]) -> Float[Array, "n 3"]:
        return self.texture.apply({"params": params["texture"]}, points, None)[1]

    def describe(self, params: Params) -> str:
        """The range of the distances, for an error message."""
        distance = np.asarray(params["distance"])
        return f"distances {distance.min():.2g} to {distance.max():.2g} spacings"

    def export(
        self, params: Params, *, keep: float = 0.02, max_faces: int | None = None, texture: int | None = None
    ) -> Mesh:
        """The surface, with colours and normals, as NeRF.export; ValueError where there is none."""
        distance = np.asarray(params["distance"])
        wanted = marching.demand(_grid(self.cells), distance)
        if not wanted[1]:
            raise ValueError(
                f"the surface has vanished: {self.describe(params)}; lower the rates, or take another seed."
            )
        mesh = marching.mesh(dataclasses.replace(self, room=wanted).surface(params))
        mesh = isosurface.drop_small_parts(mesh, keep)
        nodes = -distance.reshape((self.cells + 1,) * 3)
        normals = lambda points: isosurface.node_normals(nodes, points, 1.0)  # noqa: E731
        return finished(mesh, lambda points, _: self._color(params, points), normals, max_faces, texture)


@functools.lru_cache(maxsize=1)
def _grid(cells: int) -> Tetrahedra:
    return kuhn(cells)
