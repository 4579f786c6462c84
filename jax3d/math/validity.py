"""Whether triangles bound one solid, as printing, simulation and signed distances need.

closed      each edge belongs to exactly two triangles: no border, and no place where more than two sheets meet
oriented    no two triangles run along an edge in the same direction, and a closed surface encloses a positive volume,
            so that triangles are counter-clockwise seen from outside;  volume = sum over triangles of det(a, b, c) / 6
components  classes of triangles connected through shared edges; solids that touch in a corner alone are two

These are properties of the surface, not of its file: corners of one position are one (exporters part them along seams
of texture and normals), and triangles with two corners in one place are no triangles (marching cubes makes some).
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from jax3d.types import Mesh


class Validity(NamedTuple):
    """What `validity` finds."""

    closed: bool
    oriented: bool
    components: int

    @property
    def valid(self) -> bool:
        """Whether the mesh is the outward boundary of one solid."""
        return self.closed and self.oriented and self.components == 1


def validity(mesh: Mesh) -> Validity:
    """Closedness, orientation and number of components. Raises ValueError for a mesh without a proper triangle."""
    positions, welded = np.unique(mesh.vertices, axis=0, return_inverse=True)
    faces = welded.reshape(-1)[mesh.faces].astype(np.int64)
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]
    if not len(faces):
        raise ValueError(f"a mesh needs triangles with three corners apart, none of {len(mesh.faces)} is; check it.")
    start, end = faces.reshape(-1), np.roll(faces, -1, axis=1).reshape(-1)
    directed, low, high = (start * len(positions) + end, np.minimum(start, end), np.maximum(start, end))
    _, edge, uses = np.unique(low * len(positions) + high, return_inverse=True, return_counts=True)
    closed = bool((uses == 2).all())
    consistent = len(np.unique(directed)) == len(directed)
    corners = (positions - positions.mean(axis=0, dtype=np.float64))[faces]
    outward = np.linalg.det(corners).sum() > 0
    face = np.repeat(np.arange(len(faces)), 3)
    nodes = len(faces) + len(uses)  # a graph of triangles and edges
    graph = coo_array((np.ones(len(face)), (face, len(faces) + edge.reshape(-1))), (nodes, nodes))
    components = connected_components(graph, directed=False, return_labels=False)
    return Validity(closed, bool(consistent and (outward or not closed)), int(components))
