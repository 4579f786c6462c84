"""A solid as signed distances at the nodes of a tetrahedral grid, with a colour everywhere (DMTet, arXiv 2111.04276).

Each render marches the grid (math/marching) and rasterises the triangles. Parameters, for v nodes:

    distance   [v]       signed, negative inside, in spacings of the grid, so that a step means the same at any size
    offset     [v, 3]    moves a node by reach spacing tanh(offset)
    texture    of a field, of which only the colour counts
    fixed      {"grid": the tetrahedra, "held": [v], distances that count instead where they are not nan}: nobody trains
               them, but they are arguments of jitted functions as all weights

A surface can change its genus, but it grows only from itself: distances without a sign change nearby get no gradient.

Finer. What is near the surface can be halved and all else dropped: a grid of 64 cubes along an edge goes on as one of
128 at a fraction of its tetrahedra, any number of times. Nodes that a dropped tetrahedron or a side of the cube touches
hold their distances. All tetrahedra that touch one with corners of both signs are kept, so each face around what is
kept has one sign at its corners; while they hold it the surface cannot leave, and stays closed.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from jax3d.math import fairing, isosurface, marching
from jax3d.math.camera import Camera
from jax3d.math.marching import Surface
from jax3d.math.outline import edges_of
from jax3d.math.spread import spread
from jax3d.math.tetrahedra import REACH, Tetrahedra, deform, kuhn, near_surface, subdivide
from jax3d.nn.field import Voxels
from jax3d.render.antialias import Edges
from jax3d.render.shade import Light
from jax3d.render.surface import render_mesh
from jax3d.scene.bake import finished, smooth_normals
from jax3d.types import Key, Mesh, Params, Render

SPARE = 1.6
"""Room for triangles over what the first surface needs."""
STRETCHED = 0.98
"""So far of their reach nodes may be when a finer grid begins, that they feel a gradient back."""


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
    halvings: int = 0
    """How often the tetrahedra near the surface have been halved (`finer`)."""

    def init(self, key: Key) -> Params:
        """A ball with a random texture."""
        if self.halvings:
            scene = dataclasses.replace(self, halvings=self.halvings - 1)
            return scene.finer(scene.init(key))[1]
        somewhere = jnp.zeros((1, 3))
        texture = self.texture.init(key, somewhere, somewhere)["params"]
        grid = _grid(self.cells)
        distance = (np.linalg.norm(grid.vertices, axis=-1) - self.radius) / self.spacing
        return self._params(distance, texture)

    def begin(
        self, density: Partial, texture: Params, *, level: float | None = None, share: float = 1.0
    ) -> tuple["DMTet", Params]:
        """The scene, with room for its surface, and parameters at the surface of a density (points [n, 3] -> [n]).

        Without a level it is `share` of the one with the density's silhouettes; small parts and closed cavities are
        left out. ValueError for an empty field.
        """
        if self.halvings:
            coarser = dataclasses.replace(self, halvings=self.halvings - 1)
            scene, params = coarser.begin(density, texture, level=level, share=share)
            return scene.finer(params)
        values = isosurface.evaluate(density, self.cells + 1, 1.0)
        level = share * isosurface.automatic_threshold(values, 1.0) if level is None else level
        distance = isosurface.distances(values, level).reshape(-1)
        wanted = marching.demand(_grid(self.cells), distance)
        if not wanted[1]:
            raise ValueError(
                f"the field is empty: no part of it is denser than {level:.3g}, values lie in [{values.min():.3g}, "
                f"{values.max():.3g}]; train it longer, or give a lower level."
            )
        return dataclasses.replace(self, room=_with_spare(wanted)), self._params(distance, texture)

    def _params(self, distance: np.ndarray, texture: Params) -> Params:
        nodes = {"distance": jnp.asarray(distance, jnp.float32), "offset": jnp.zeros((len(distance), 3))}
        fixed = {"grid": jax.device_put(_grid(self.cells)), "held": jnp.full(len(distance), jnp.nan)}
        return nodes | {"texture": texture, "fixed": fixed}

    def finer(self, params: Params, *, rings: int = 2) -> tuple["DMTet", Params]:
        """The scene at half the spacing and parameters with the same surface; for `rings`, 1 or more, `near_surface`.

        Offsets of more than half the reach are beyond that of the new grid, which moves the surface there by 0.16 of
        the new spacing at most. ValueError where there is no surface.
        """
        if rings < 1:
            raise ValueError(f"a surface needs room to move in: rings must be 1 or more, is {rings}.")
        grid, distance = self._on_host(params)
        kept = near_surface(grid, distance, rings=rings)
        if not kept.any():
            raise self._vanished(params)
        held = np.array(params["fixed"]["held"])
        border = np.abs(grid.vertices).max(axis=1) >= 1
        border[grid.tetrahedra[~kept]] = True
        held[border] = distance[border]
        grid, parents = subdivide(grid, kept)
        middle = lambda values: np.asarray(values)[parents].mean(axis=1)  # noqa: E731
        distance, held, moved = 2 * middle(distance), 2 * middle(held), 2 * middle(np.tanh(params["offset"]))
        nodes = {"distance": distance, "offset": np.arctanh(np.clip(moved, -STRETCHED, STRETCHED))}
        fixed = {"grid": grid, "held": held}
        room = _with_spare(marching.demand(grid, distance))
        scene = dataclasses.replace(self, room=room, halvings=self.halvings + 1)
        return scene, jax.device_put(nodes | {"fixed": fixed}) | {"texture": params["texture"]}

    def _on_host(self, params: Params) -> tuple[Tetrahedra, np.ndarray]:
        """The grid and the distances that count."""
        grid = Tetrahedra(*map(np.asarray, params["fixed"]["grid"]))
        return grid, np.asarray(_distance(params))

    @property
    def spacing(self) -> float:
        """Edge of the cubes, world units."""
        return 2 / (self.cells * 2**self.halvings)

    @property
    def _room(self) -> tuple[int, int]:
        # A ball of radius 1 has 7 faces for each square of the grid that fits on it, and half as many vertices.
        square = self.spacing**-2
        return self.room or (int(14 * np.pi * square), int(28 * np.pi * square))

    def surface(self, params: Params) -> Surface:
        """The triangles, differentiable in distances and offsets."""
        grid = params["fixed"]["grid"]
        positions = deform(grid.vertices, params["offset"], self.spacing, reach=self.reach)
        vertices, faces = self._room
        return marching.march(grid, _distance(params), positions, vertex_capacity=vertices, face_capacity=faces)

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
            "sign_entropy": fairing.sign_entropy(_distance(params), surface),
            "demand": jax.tree.map(jnp.max, out.extras["demand"]) | {"surface": wanted},
        }
        return out.replace(extras=terms)

    def spread(self, params: Params, width: float) -> Params:
        """The same parameters, whose distances have blurred gradients (math/spread), `width` in spacings; 0 = as is."""
        if not width:
            return params
        places = jnp.rint((params["fixed"]["grid"].vertices + 1) / self.spacing).astype(int)
        size = self.cells * 2**self.halvings + 1
        return params | {"distance": spread(params["distance"], places, size, width)}

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
        grid, distance = self._on_host(params)
        wanted = marching.demand(grid, distance)
        if not wanted[1]:
            raise self._vanished(params)
        mesh = marching.mesh(dataclasses.replace(self, room=wanted).surface(params))
        mesh = isosurface.drop_small_parts(mesh, keep)
        if self.halvings:  # the nodes are no cube of them any more
            normals = smooth_normals(mesh)
        else:
            nodes = -distance.reshape((self.cells + 1,) * 3)
            normals = lambda points: isosurface.node_normals(nodes, points, 1.0)  # noqa: E731
        return finished(mesh, lambda points, _: self._color(params, points), normals, max_faces, texture)

    def _vanished(self, params: Params) -> ValueError:
        return ValueError(f"the surface has vanished: {self.describe(params)}; lower the rates, or take another seed.")


def _distance(params: Params) -> Array:
    """The distances that count."""
    held = params["fixed"]["held"]
    return jnp.where(jnp.isnan(held), params["distance"], held)


def _with_spare(wanted: tuple[int, int]) -> tuple[int, int]:
    return tuple(int(SPARE * count) for count in wanted)


@functools.lru_cache(maxsize=1)
def _grid(cells: int) -> Tetrahedra:
    return kuhn(cells)
