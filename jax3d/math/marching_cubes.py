"""Marching cubes that cut every polygon as Shap-E's do (Lorensen & Cline 1987; shap-e rendering/mc.py).

Nodes are inside where the field is above 0. An edge whose ends differ has one vertex, where the linear field is 0. On
the face of a cube, seen from outside, a line goes from each edge where the way around leaves the inside to the edge
where it last entered it: where all four edges are cut, the inside falls apart. The lines of a cube close to polygons,
two cubes draw the same lines on their common face, and so the surface is closed, wherever it does not leave the grid.

A polygon of k corners is cut into triangles in one of 2, 5, 14 or 42 ways, which matters where it is not flat. `CUTS`
has the way of each polygon of more than three corners, in the order of the 254 cases and of the polygons in them, as
measured from meshes of the published program: there is no rule in it.
"""

import functools

import numpy as np
from jaxtyping import Bool, Float, Int

CUTS = (
    "100110211100c11202120300b03022411211b24112211qq01141b110cb2030211130311qb4f1031411q030cld03b4b2v003Cdld100003b4b"
    "31100c0113l4C3d11421114C2210bv203bc13lcdbf41ad000113b3l442f1301424C3134b3320033232aacc1014110300141001"
)
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
MOST = 5  # triangles of a cube
Edge = tuple[int, int]
"""Corner x + 2 y + 4 z of the cube where an edge begins, and its axis."""


def march(field: Float[np.ndarray, "x y z"]) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Vertices in units of the grid, and faces that are counter-clockwise seen from outside, of {field = 0}."""
    inside = field > 0
    numbers, vertices = [], []
    for axis in range(3):
        ends = (0, -1), (1, None)
        low, high = (np.moveaxis(np.moveaxis(field, axis, 0)[slice(*end)], 0, axis) for end in ends)
        cut = (low > 0) != (high > 0)
        start = sum(len(v) for v in vertices)
        numbers.append(np.where(cut, start - 1 + np.cumsum(cut).reshape(cut.shape), -1))
        place = np.argwhere(cut).astype(np.float32)
        place[:, axis] += low[cut] / (low[cut] - high[cut])
        vertices.append(place)
    cases = sum(corner(inside, i).astype(np.int32) << i for i in range(8))
    cubes = np.argwhere((cases > 0) & (cases < 255))
    edges = table()[cases[tuple(cubes.T)]]  # [c, MOST, 3]
    kept = edges[..., 0] >= 0
    cubes, edges = np.broadcast_to(cubes[:, None], (*kept.shape, 3))[kept], edges[kept]
    begin, axis = edges // 3, edges % 3
    at = [cubes[:, None, i] + ((begin >> i) & 1) for i in range(3)]
    faces = np.empty(edges.shape, np.int32)
    for i in range(3):
        mine = axis == i
        faces[mine] = numbers[i][tuple(a[mine] for a in at)]
    return np.concatenate(vertices), faces


def corner(inside: Bool[np.ndarray, "x y z"], i: int) -> Bool[np.ndarray, "x1 y1 z1"]:
    """What corner i of every cube is."""
    return inside[tuple(slice(1, None) if i >> axis & 1 else slice(-1) for axis in range(3))]


@functools.cache
def table() -> Int[np.ndarray, "256 5 3"]:
    """The triangles of each case as edges, 3 * corner + axis; -1 where there are none."""
    out, cuts = np.full((256, MOST, 3), -1), iter(CUTS)
    for case in range(1, 255):
        triangles = []
        for polygon in polygons(case):
            way = DIGITS.index(next(cuts)) if len(polygon) > 3 else 0
            triangles += [
                [3 * polygon[i][0] + polygon[i][1] for i in t] for t in triangulations(0, len(polygon) - 1)[way]
            ]
        out[case, : len(triangles)] = triangles
    return out


def polygons(case: int) -> list[list[Edge]]:
    """The polygons of a case, each from its first edge on, counter-clockwise seen from outside."""
    follows: dict[Edge, Edge] = {}
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        for side in (0, 1):
            ring = [(side << axis) + (p << u) + (q << v) for p, q in ((0, 0), (1, 0), (1, 1), (0, 1))][:: 2 * side - 1]
            steps = zip(ring, ring[1:] + ring[:1], strict=True)
            crossed = [(edge(a, b), case >> a & 1) for a, b in steps if case >> a & 1 != case >> b & 1]
            for k, (out, leaves) in enumerate(crossed):
                if leaves:
                    follows[crossed[k - 1][0]] = out
    found = []
    while follows:
        polygon = [min(follows)]
        while (following := follows.pop(polygon[-1])) != polygon[0]:
            polygon.append(following)
        found.append(polygon)
    return found


def edge(a: int, b: int) -> Edge:
    """The edge between two corners."""
    return min(a, b), (a ^ b).bit_length() - 1


def triangulations(first: int, last: int) -> list[list[tuple[int, int, int]]]:
    """All ways to cut the polygon of the corners first .. last, by the corner of the triangle at its closing side."""
    if last - first < 2:
        return [[]]
    return [
        [(first, apex, last), *left, *right]
        for apex in range(first + 1, last)
        for left in triangulations(first, apex)
        for right in triangulations(apex, last)
    ]
