"""Marching tetrahedra with arrays of fixed size: differentiable surfaces for `jit` (DMTet, arXiv 2111.04276, sec. 3.2).

At the nodes x of a tetrahedral grid stand signed distances s, negative inside. The field is linear along an edge ab
whose ends differ in sign (s < 0 or not, so that 0 is outside), and the surface meets the edge at

    x = x_a + t (x_b - x_a),    t = -s_a / (s_b - s_a),        the same as (x_a s_b - x_b s_a) / (s_b - s_a).

One corner of a tetrahedron apart from the other three is cut off by a triangle; two apart from two by a quadrilateral,
which is two triangles. Each vertex belongs to an edge of the grid and each side of a polygon to a face of it, so the
surface is closed wherever it does not leave the grid, whatever s is. Polygons run counter-clockwise seen from
outside, because determinants of the grid are positive; a deformation that inverts a tetrahedron also turns its faces.

Derivatives reach s and x through the formula above, and there is no other: which edges are cut is locally constant.

The number of triangles is not known to a compiler: there is room for a fixed number, unused room is made harmless
(`Surface`), and the numbers that would have been needed come with the result. The cut edges and the faces are found by
`select.true_positions`, one pass over bits; everything else is done for what was found. Kuhn 64 (1.6 million
tetrahedra), CPU time and memory: benchmarks/tetrahedra.py.
"""

import itertools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jax3d.math.select import true_positions
from jax3d.math.tetrahedra import EDGES, Tetrahedra
from jax3d.types import Mesh


class Surface(NamedTuple):
    """A triangle mesh in arrays of fixed size.

    Vertices beyond the last are 0. Faces beyond the last, and those of which a corner found no room, are (0, 0, 0):
    they have no area, no normal and cover no pixel, and no true face has two equal corners.
    """

    vertices: Array  # [capacity, 3]
    faces: Array  # [capacity, 3] int32, counter-clockwise seen from outside
    ends: Array  # [capacity, 2] int32: the nodes a, b of the grid between which each vertex lies; 0 beyond the last
    vertex_count: Array  # [] int32: how many there are, or would be if there were room
    face_count: Array  # [] int32

    @property
    def vertex_mask(self) -> Bool[Array, " n"]:
        """Which vertices are true ones."""
        return jnp.arange(self.vertices.shape[0]) < self.vertex_count

    @property
    def face_mask(self) -> Bool[Array, " f"]:
        """Which faces are true ones."""
        return self.faces[:, 0] != self.faces[:, 1]

    @property
    def overflow(self) -> Bool[Array, ""]:
        """Whether there was too little room, so that faces are missing."""
        return (self.vertex_count > self.vertices.shape[0]) | (self.face_count > self.faces.shape[0])


def march(
    grid: Tetrahedra,
    distance: Float[Array, " v"],
    positions: Float[Array, "v 3"],
    *,
    vertex_capacity: int,
    face_capacity: int,
) -> Surface:
    """The surface {distance = 0} of a grid with nodes at `positions` (its own, or deformed).

    `overflow` of the result says whether it is whole; `demand` finds capacities. Under `jit` the grid is an argument.
    Raises ValueError for capacities below 1, and unless there is a distance and a position for each node of the grid.
    """
    _check(grid, distance, positions, vertex_capacity, face_capacity)
    inside = distance < 0
    edges, vertex_count = _cut_edges(grid, inside, vertex_capacity)
    real = jnp.arange(vertex_capacity) < vertex_count
    ends = jnp.where(real[:, None], _take(grid.edges, edges), 0)
    vertices = _crossings(_take(distance, ends), _take(positions, ends))
    vertices = jnp.where(real[:, None], vertices, 0.0)
    vertex_of = _places(jnp.where(real, edges, grid.edges.shape[0]), grid.edges.shape[0])
    cut, face_count = _cut_faces(grid, inside, face_capacity)
    faces = jnp.where((jnp.arange(face_capacity) < face_count)[:, None], _take(vertex_of, cut), -1)
    faces = jnp.where(jnp.all(faces >= 0, axis=-1, keepdims=True), faces, 0)
    return Surface(vertices, faces, ends, vertex_count, face_count)


def demand(grid: Tetrahedra, distance: Float[np.ndarray, " v"]) -> tuple[int, int]:
    """The numbers of vertices and faces of {distance = 0} in a host grid: the least capacities of `march`."""
    inside = distance < 0
    cut = inside[grid.edges[:, 0]] != inside[grid.edges[:, 1]]
    negative = inside[grid.tetrahedra].sum(axis=1)
    return int(cut.sum()), int(np.minimum(negative, 4 - negative).sum())


def mesh(surface: Surface) -> Mesh:
    """The true part of a surface on the host; ValueError if it overflows."""
    vertex_count, face_count = int(surface.vertex_count), int(surface.face_count)
    if surface.overflow:
        raise ValueError(
            f"the surface has {vertex_count} vertices and {face_count} faces, but there is room for "
            f"{len(surface.vertices)} and {len(surface.faces)}: give `march` larger capacities."
        )
    vertices = np.asarray(surface.vertices, np.float32)[:vertex_count]
    return Mesh(vertices, np.asarray(surface.faces)[:face_count])


def _check(grid: Tetrahedra, distance: Array, positions: Array, vertex_capacity: int, face_capacity: int) -> None:
    if min(vertex_capacity, face_capacity) < 1:
        raise ValueError(
            f"a surface needs room for a vertex and a face at least, got vertex_capacity={vertex_capacity} and "
            f"face_capacity={face_capacity}; `demand` counts what a grid needs."
        )
    if not distance.shape[0] == positions.shape[0] == grid.vertices.shape[0]:  # lookups promise to stay in bounds
        raise ValueError(
            f"a grid of {grid.vertices.shape[0]} nodes needs a distance and a position for each, got "
            f"{distance.shape[0]} distances and {positions.shape[0]} positions."
        )


def _places(edges: Int[Array, " n"], count: int) -> Int[Array, " e"]:
    """For each of `count` edges its place in a list of edges, in which larger numbers stand for none; -1 if absent."""
    places = jnp.arange(edges.shape[0], dtype=jnp.int32)
    return jnp.full(count, -1, jnp.int32).at[edges].set(places, mode="drop")


def _crossings(distance: Float[Array, "n 2"], positions: Float[Array, "n 2 3"]) -> Float[Array, "n 3"]:
    """The zeros between two nodes; the first node where the signs do not differ."""
    (s_a, s_b), (x_a, x_b) = jnp.unstack(distance, axis=-1), jnp.unstack(positions, axis=-2)
    gap = s_b - s_a
    # The slope of t is at most 1 / gap: where both distances all but vanish, the floor keeps it finite.
    floor = jnp.sqrt(jnp.finfo(distance.dtype).tiny)
    cut = ((s_a < 0) != (s_b < 0)) & (jnp.abs(gap) > floor)
    t = jnp.where(cut, -s_a / jnp.where(cut, gap, 1.0), 0.0)
    return x_a + t[:, None] * (x_b - x_a)


def _cut_edges(grid: Tetrahedra, inside: Bool[Array, " v"], capacity: int) -> tuple[Array, Array]:
    """The edges whose ends differ in sign, [capacity], 0 beyond the last; and how many there are."""
    ends = _take(inside, grid.edges)
    edges, count = true_positions(_padded(ends[:, 0] != ends[:, 1]), capacity)
    return jnp.where(jnp.arange(capacity) < count, edges, 0), count


def _cut_faces(grid: Tetrahedra, inside: Bool[Array, " v"], capacity: int) -> tuple[Array, Array]:
    """The edges of the grid that are cut at the corners of the triangles, [capacity, 3]; and how many triangles."""
    negative = jnp.sum(_take(inside, grid.tetrahedra), axis=-1, keepdims=True)
    wanted = jnp.arange(2) < jnp.minimum(negative, 4 - negative)  # none, a triangle, or two for a quadrilateral
    places, count = true_positions(_padded(wanted.reshape(-1)), capacity)
    places = jnp.where(jnp.arange(capacity) < count, places, 0)
    tetrahedron, which = places // 2, places % 2
    case = jnp.sum(_take(inside, _take(grid.tetrahedra, tetrahedron)) << jnp.arange(4), axis=-1)
    sides = _take(jnp.asarray(TRIANGLES.reshape(-1, 3)), 2 * case + which)
    return _take(jnp.reshape(grid.edges_of, -1), 6 * tetrahedron[:, None] + sides), count


def _take(array: Array | np.ndarray, rows: Array | np.ndarray) -> Array:
    return jnp.asarray(array).at[rows].get(mode="promise_in_bounds", wrap_negative_indices=False)


def _padded(mask: Bool[Array, " n"]) -> Bool[Array, " m"]:
    return jnp.pad(mask, (0, -mask.shape[0] % 32))


def _triangles() -> Int[np.ndarray, "16 2 3"]:
    """Per case, whose bit k says that corner k is inside: two triangles as cut edges; zeros where there is none."""
    corners = np.vstack([np.zeros(3), np.eye(3)])  # of positive determinant
    found = np.zeros((16, 2, 3), int)
    for case in range(1, 15):
        inside = [corner for corner in range(4) if case >> corner & 1]
        outside = [corner for corner in range(4) if corner not in inside]
        polygon = list(itertools.product(inside, outside))
        if len(polygon) == 4:  # ac, ad, bd, bc: neighbours in the polygon share a corner of the tetrahedron
            polygon = [polygon[k] for k in (0, 1, 3, 2)]
        middle = corners[np.array(polygon)].mean(axis=1)
        normal = np.cross(middle[1] - middle[0], middle[2] - middle[0])
        if normal @ (corners[outside].mean(axis=0) - corners[inside].mean(axis=0)) < 0:
            polygon.reverse()
        numbers = [EDGES.tolist().index(sorted(edge)) for edge in polygon]
        for k in range(len(polygon) - 2):
            found[case, k] = numbers[0], numbers[k + 1], numbers[k + 2]
    return found


TRIANGLES = _triangles()
