"""Even triangles on a surface that has been bent, on the host.

Botsch & Kobbelt 2004, "A remeshing approach to multiresolution modeling". For edges of one length, some times over:

    split       every edge longer than 4/3 of it, in the middle
    collapse    edges shorter than 4/5 of it, to their middle
    flip        edges where that brings the numbers of neighbours nearer to 6
    relax       x <- x + (1 - n n^T) (mean of the neighbours - x) / 2

All splits happen at once: a face with k split sides becomes k + 1. Collapses and flips happen together where no two
touch the same face (the shortest, or the most useful, of those that do), each as if alone. An edge collapses only if
its ends have just the two neighbours in common that are opposite to it (the link condition), those more than three
neighbours each, and if no edge becomes too long and no face turns: a manifold stays one, of the same Euler number.
Edges of one face or of more than two stay, as do their ends.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from scipy import sparse

from jax3d.types import Mesh

LONG, SHORT = 4 / 3, 4 / 5
STEEPEST, FLATTEST = 0.3, 0.9
"""Least cosines between the normals of faces before and after a collapse and a flip."""


class _Edges(NamedTuple):
    ends: np.ndarray  # [e, 2], the lower first
    faces: np.ndarray  # [e, 2]: one that runs from the first end to the second, and one that runs back
    opposite: np.ndarray  # [e, 2] their third vertices
    of_faces: np.ndarray  # [f, 3]: the edges 01, 12, 20
    inner: np.ndarray  # [e] whether there are two faces, one each way


def remesh(mesh: Mesh, length: float | None = None, *, rounds: int = 5) -> Mesh:
    """The surface with edges of about this length; None = as they are in the mean. ValueError unless it is positive.

    Positions and faces only. What bends tighter than the edges are long is lost.
    """
    vertices, faces = mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64)
    if length is None:
        length = float(_lengths(vertices, _edges(faces).ends).mean())
    if not length > 0:
        raise ValueError(f"edges have a length above 0, got {length}; None takes that of the mean edge.")
    for _ in range(rounds):
        vertices, faces = _split(vertices, faces, LONG * length)
        for _ in range(4):
            vertices, faces = _collapse(vertices, faces, SHORT * length, LONG * length)
        for _ in range(4):
            faces = _flip(vertices, faces)
        vertices = _relax(vertices, faces)
    return Mesh(vertices.astype(np.float32), faces.astype(np.int32))


def _edges(faces: Int[np.ndarray, "f 3"]) -> _Edges:
    sides = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2)
    ends, place, count = np.unique(np.sort(sides, axis=1), axis=0, return_inverse=True, return_counts=True)
    place, way = place.reshape(-1), (sides[:, 0] > sides[:, 1]).astype(int)
    face = np.full((len(ends), 2), -1)
    face[place, way] = np.arange(len(sides)) // 3
    inner = (count == 2) & (face >= 0).all(axis=1)
    opposite = np.where(inner[:, None], faces[face].sum(axis=-1) - ends.sum(axis=1, keepdims=True), 0)
    return _Edges(ends, face, opposite, place.reshape(-1, 3), inner)


def _lengths(vertices: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vertices[ends[:, 0]] - vertices[ends[:, 1]], axis=-1)


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    normals = np.cross(b - a, c - a)
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-30)


def _split(vertices: np.ndarray, faces: np.ndarray, longest: float) -> tuple[np.ndarray, np.ndarray]:
    edges = _edges(faces)
    cut = _lengths(vertices, edges.ends) > longest
    number = np.where(cut, len(vertices) + np.cumsum(cut) - 1, -1)
    vertices = np.concatenate([vertices, vertices[edges.ends[cut]].mean(axis=1)])
    middle = number[edges.of_faces]
    made = [faces[(middle < 0).all(axis=1)]]
    for k in range(3):  # turned so that the pattern of split sides is one of three
        (a, b, c), (ab, bc, ca) = np.roll(faces, -k, axis=1).T, np.roll(middle, -k, axis=1).T
        one, two = (ab >= 0) & (bc < 0) & (ca < 0), (ab >= 0) & (bc >= 0) & (ca < 0)
        made += [np.stack(corners, -1)[one] for corners in ((a, ab, c), (ab, b, c))]
        made += [np.stack(corners, -1)[two] for corners in ((ab, b, bc), (a, ab, bc), (a, bc, c))]
    (a, b, c), (ab, bc, ca) = faces.T, middle.T
    three = (middle >= 0).all(axis=1)
    made += [np.stack(n, -1)[three] for n in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    return vertices, np.concatenate(made)


def _collapse(
    vertices: np.ndarray, faces: np.ndarray, shortest: float, longest: float
) -> tuple[np.ndarray, np.ndarray]:
    edges, near, many, free = _around(faces, len(vertices))
    length = _lengths(vertices, edges.ends)
    rows = np.flatnonzero(edges.inner & (length < shortest) & free[edges.ends].all(axis=1))
    rows = rows[(many[edges.opposite[rows]] > 3).all(axis=1)]
    shared = near[edges.ends[rows, 0]].multiply(near[edges.ends[rows, 1]]).sum(axis=1)
    rows = rows[np.asarray(shared).reshape(-1) == 2]
    rows = rows[_alone(length[rows], edges.ends[rows], faces, len(vertices))]
    kept, gone = edges.ends[rows].T
    moved, target, owner = vertices.copy(), np.arange(len(vertices)), np.full(len(vertices), -1)
    moved[kept] = moved[gone] = vertices[edges.ends[rows]].mean(axis=1)
    owner[kept] = owner[gone] = np.arange(len(rows))
    target[gone] = kept
    there = faces[(owner[faces] >= 0).any(axis=1) & _proper(target[faces])]
    turned = np.sum(_normals(vertices, there) * _normals(moved, there), axis=-1) < STEEPEST
    sides = np.linalg.norm(moved[there] - moved[np.roll(there, 1, axis=1)], axis=-1).max(axis=1)
    good = np.ones(len(rows), bool)
    good[owner[there[turned | (sides > longest)]].max(axis=1)] = False
    target[gone[~good]] = gone[~good]
    fixed = np.concatenate([kept[~good], gone[~good]])
    moved[fixed] = vertices[fixed]
    faces = target[faces]
    used, faces = np.unique(faces[_proper(faces)], return_inverse=True)
    return moved[used], faces.reshape(-1, 3)


def _flip(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    edges, _, many, free = _around(faces, len(vertices))
    quads = np.concatenate([edges.ends, edges.opposite], axis=1)
    change = np.array([-1, -1, 1, 1])
    excess = many - np.where(free, 6, 4)
    gain = np.sum(excess[quads] ** 2 - (excess[quads] + change) ** 2, axis=1)
    rows = np.flatnonzero(edges.inner & (gain > 0))
    new, number = np.sort(quads[rows, 2:], axis=1), len(vertices)
    taken = np.isin(new[:, 0] * number + new[:, 1], edges.ends[:, 0] * number + edges.ends[:, 1])
    rows = rows[(new[:, 0] != new[:, 1]) & ~taken]
    a, b, c, d = quads[rows].T
    before = [_normals(vertices, faces[edges.faces[rows, k]]) for k in range(2)]
    after = [np.stack([a, d, c], axis=-1), np.stack([d, b, c], axis=-1)]
    cosines = [np.sum(old * _normals(vertices, new), axis=-1) for old in before for new in after]
    rows = rows[np.min(cosines, axis=0) > FLATTEST]
    rows = rows[_alone(-gain[rows], quads[rows], faces, len(vertices))]
    a, b, c, d = quads[rows].T
    faces = faces.copy()
    faces[edges.faces[rows, 0]], faces[edges.faces[rows, 1]] = np.stack([a, d, c], -1), np.stack([d, b, c], -1)
    return faces


def _relax(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    _, near, many, free = _around(faces, len(vertices))
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    normals = np.zeros_like(vertices)
    np.add.at(normals, faces, np.cross(b - a, c - a)[:, None])
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-30)
    way = near @ vertices / np.maximum(many, 1)[:, None] - vertices
    way -= np.sum(way * normals, axis=-1, keepdims=True) * normals
    return vertices + np.where(free[:, None], way / 2, 0.0)


def _around(faces: np.ndarray, count: int) -> tuple[_Edges, sparse.csr_array, np.ndarray, np.ndarray]:
    """The edges, the neighbours of each vertex as a matrix, how many these are, and which vertices may move."""
    edges = _edges(faces)
    a, b = edges.ends.T
    near = sparse.csr_array((np.ones(2 * len(a), int), (np.r_[a, b], np.r_[b, a])), shape=(count, count))
    free = np.ones(count, bool)
    free[edges.ends[~edges.inner]] = False
    return edges, near, np.bincount(edges.ends.reshape(-1), minlength=count), free


def _alone(cost: np.ndarray, touched: np.ndarray, faces: np.ndarray, count: int) -> np.ndarray:
    """Of things that touch vertices [n, k], those that cost less than any other that touches a face in common."""
    rank = np.argsort(np.argsort(cost, kind="stable"))
    least, around = np.full(count, len(cost)), np.full(count, len(cost))
    np.minimum.at(least, touched, rank[:, None])
    np.minimum.at(around, faces, least[faces].min(axis=1, keepdims=True))
    return around[touched].min(axis=1, initial=len(cost)) == rank


def _proper(faces: np.ndarray) -> np.ndarray:
    return (faces != np.roll(faces, 1, axis=1)).all(axis=1)
