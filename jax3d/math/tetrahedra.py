"""Tetrahedral grids of any resolution, made on the host: the cells of DMTet (Shen et al. 2021, arXiv 2111.04276).

Freudenthal's (Kuhn's) triangulation. Each of n^3 cubes of spacing h = 2 / n in [-1, 1]^3 falls into 6 tetrahedra, one
for each order in which the three axes can be walked from the cube's lowest corner to its highest,

    p_0,   p_1 = p_0 + h e_i,   p_2 = p_1 + h e_j,   p_3 = p_2 + h e_k.

All cubes are cut alike, so faces of neighbours match. Each edge leads from its lower node along one of 7 directions
b in {0, 1}^3, b != 0; with the edges of one direction in the order of their lower nodes, the number of an edge is
arithmetic and no list of edges has to be sorted. Where walking the axes is an odd permutation, p_0 and p_2 change
places: all determinants det(x_1 - x_0, x_2 - x_0, x_3 - x_0) are positive.

Deformation. Nodes move by at most delta along each axis. The determinant is affine in every coordinate, so it is least
where all nodes are in corners of their boxes; at the worst of these it is h^2 (h - 6 delta). So no tetrahedron inverts
exactly as long as delta < h / 6.

Subdivision (edgewise: Edelsbrunner & Grayson 2000). With m_ij = (x_i + x_j) / 2, eight children tile a tetrahedron:
start at m_0a, then raise a times the first index and 3 - a times the second, in any order; a = 0 ... 3 gives
1 + 3 + 3 + 1 of these walks. They cut the inner octahedron along m_02 m_13. The edges 02 and 13 of a Kuhn tetrahedron
are diagonals of squares, before and after p_0 and p_2 change places, and so are those of its children: they are Kuhn
tetrahedra of spacing h / 2, any number of times.
"""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

EDGES = np.array([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])
"""The corners at the ends of a tetrahedron's six edges."""
REACH = 0.16
"""How far nodes may move along each axis, in spacings: under 1/6, which is where the first tetrahedron is flat."""
SWAPPED = (2, 1, 0, 3)
"""The order of the corners that turns a negative determinant positive and keeps the pairs 02 and 13."""
Corner = tuple[int, ...]
"""A corner of a cube, in {0, 1}^3."""
CORNERS = tuple(itertools.product((0, 1), repeat=3))


class Tetrahedra(NamedTuple):
    """A tetrahedral grid; of host arrays, which `jax.device_put` brings to the device once and not at each call."""

    vertices: np.ndarray | jax.Array  # [v, 3] float32
    tetrahedra: np.ndarray | jax.Array  # [t, 4] int32: corners, with a positive determinant
    edges: np.ndarray | jax.Array  # [e, 2] int32: each pair of neighbours once, the lower number first
    edges_of: np.ndarray | jax.Array  # [t, 6] int32: the edges of each tetrahedron in the order of EDGES


def kuhn(cells: int) -> Tetrahedra:
    """The grid of 6 cells^3 tetrahedra over [-1, 1]^3; nodes in the order of math/grid, (cells + 1)^3 of them.

    Raises ValueError unless 1 <= cells <= 256.
    """
    if not 1 <= cells <= 256:
        raise ValueError(f"a tetrahedral grid has 1 to 256 cells along an axis, got {cells}.")
    line = np.linspace(-1.0, 1.0, cells + 1, dtype=np.float32)
    vertices = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).reshape(-1, 3)
    node = {corner: _numbers((cells + 1,) * 3, cells, corner) for corner in CORNERS}
    edges, edge = _lattice_edges(cells)
    walks = [_walk(axes) for axes in itertools.permutations(range(3))]
    tetrahedra = np.stack([node[corner] for walk in walks for corner in walk], axis=-1)
    edges_of = np.stack([edge[_span(walk[a], walk[b])] for walk in walks for a, b in EDGES], axis=-1)
    return Tetrahedra(vertices, tetrahedra.reshape(-1, 4), edges, edges_of.reshape(-1, 6))


def _walk(axes: tuple[int, ...]) -> list[Corner]:
    """The corners of one of the tetrahedra of a cube."""
    path = np.vstack([np.zeros(3, int), np.cumsum(np.eye(3, dtype=int)[list(axes)], axis=0)])
    return [tuple(corner) for corner in _positive(path).tolist()]


def _span(a: Corner, b: Corner) -> tuple[Corner, Corner]:
    """The lower end of an edge of a cube, and its direction."""
    low, high = min(a, b), max(a, b)
    return low, tuple(y - x for x, y in zip(low, high, strict=True))


def _lattice_edges(cells: int) -> tuple[Int[np.ndarray, "e 2"], dict[tuple[Corner, Corner], Int[np.ndarray, " cubes"]]]:
    """All edges, and in each cube the numbers of those from a corner along a direction."""
    size, edges, numbers, count = (cells + 1,) * 3, [], {}, 0
    nodes = np.arange(math.prod(size), dtype=np.int32).reshape(size)
    for direction in CORNERS[1:]:
        sizes = tuple(cells + 1 - step for step in direction)
        low = nodes[tuple(map(slice, sizes))].reshape(-1)
        edges.append(np.stack([low, low + nodes[direction]], axis=-1))
        for corner in CORNERS:
            if max(map(sum, zip(corner, direction, strict=True))) == 1:
                numbers[corner, direction] = count + _numbers(sizes, cells, corner)
        count += len(low)
    return np.concatenate(edges), numbers


def _numbers(sizes: tuple[int, ...], cells: int, corner: Corner) -> Int[np.ndarray, " cubes"]:
    """For each cube, the number of the node at its `corner` in a row-major array of these sizes."""
    x, y, z = (np.arange(cells, dtype=np.int32) + bit for bit in corner)
    plane = y[:, None] * np.int32(sizes[2]) + z
    return (x[:, None, None] * np.int32(sizes[1] * sizes[2]) + plane).reshape(-1)


def _positive(corners: np.ndarray) -> np.ndarray:
    """The corners [4, ...] of a tetrahedron, two of them swapped if its determinant, in the first 3 columns, is < 0."""
    return corners if np.linalg.det(corners[1:, :3] - corners[0, :3]) > 0 else corners[list(SWAPPED)]


def deform(
    vertices: Float[Array, "v 3"], offsets: Float[Array, "v 3"], spacing: float, *, reach: float = REACH
) -> Float[Array, "v 3"]:
    """The moved nodes x + reach spacing tanh(offsets); the spacing of cubes is 2 / cells, and half after a subdivision.

    No tetrahedron inverts while reach < 1/6. Published systems let nodes go half a spacing, where many can.
    """
    if not 0 <= reach <= 0.5:
        raise ValueError(
            f"nodes meet if they move by more than half a spacing: reach must lie in [0, 0.5], is {reach}."
        )
    return vertices + reach * spacing * jnp.tanh(offsets)


def near_surface(grid: Tetrahedra, distance: Float[np.ndarray, " v"], *, rings: int = 1) -> Bool[np.ndarray, " t"]:
    """Which tetrahedra of a host grid have corners of both signs, and `rings` times those that share a corner."""
    negative = (distance < 0)[grid.tetrahedra].sum(axis=1)
    near = (negative > 0) & (negative < 4)
    for _ in range(rings):
        touched = np.zeros(len(grid.vertices), bool)
        touched[grid.tetrahedra[near]] = True
        near = touched[grid.tetrahedra].any(axis=1)
    return near


def subdivide(grid: Tetrahedra, kept: Bool[np.ndarray, " t"]) -> tuple[Tetrahedra, Int[np.ndarray, "w 2"]]:
    """The kept tetrahedra of a host grid in eight each, all others dropped; and the parents of the new vertices.

    A vertex lies in the middle of its two parents, which are one and the same for an old vertex: what is known at the
    old vertices, values [v, ...], is interpolated by values[parents].mean(axis=1). Interpolated distances have the
    surface they had before. Nothing closes a surface that later moves out of the kept tetrahedra: keep a ring or two.

    Raises ValueError if nothing is kept.
    """
    if not kept.any():
        raise ValueError("a grid without tetrahedra cannot be subdivided: keep one at least (is there a surface?).")
    old, corners = _renumbered(grid.tetrahedra[kept], len(grid.vertices))
    split, sides = _renumbered(grid.edges_of[kept], len(grid.edges))
    parents = np.concatenate([np.stack([old, old], axis=-1), grid.edges[split]])
    points = np.concatenate([corners, len(old) + sides], axis=-1)
    # Of the 48 edges of eight children 25 differ: sort only those.
    pairs, place = np.unique(np.sort(CHILDREN[:, EDGES]).reshape(-1, 2), axis=0, return_inverse=True)
    ends = np.sort(points[:, pairs].astype(np.int64))
    keys, numbers = np.unique(ends[..., 0] * len(parents) + ends[..., 1], return_inverse=True)
    edges = np.stack(np.divmod(keys, len(parents)), axis=-1).astype(np.int32)
    edges_of = numbers.reshape(-1, len(pairs)).astype(np.int32)[:, place.reshape(-1)].reshape(-1, 6)
    vertices = grid.vertices[parents].mean(axis=1)
    return Tetrahedra(vertices, points[:, CHILDREN].reshape(-1, 4), edges, edges_of), parents


def _renumbered(numbers: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Those of 0 ... count - 1 that occur, and their places among these instead of the numbers."""
    used = np.zeros(count, bool)
    used[numbers] = True
    return np.flatnonzero(used).astype(np.int32), (np.cumsum(used, dtype=np.int32) - 1)[numbers]


def _children() -> Int[np.ndarray, "8 4"]:
    """The corners of the children among the parent's 4 corners and 6 middles of edges."""
    points = [(corner, corner) for corner in range(4)] + [tuple(edge) for edge in EDGES.tolist()]
    where = np.vstack([np.zeros(3), np.eye(3)])[np.array(points)].mean(axis=1)
    children = []
    for steps in itertools.product((0, 1), repeat=3):
        first, second = np.cumsum((0, *steps)), sum(steps) + np.cumsum((0, *(1 - step for step in steps)))
        path = [points.index(point) for point in zip(first.tolist(), second.tolist(), strict=True)]
        children.append(_positive(np.column_stack([where[path], path]))[:, 3])
    return np.array(children, int)


CHILDREN = _children()
