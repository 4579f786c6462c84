"""A surface made ready: welded, wound outwards, and moved into the cube [-1, 1]^3.

Winding. Two faces that share an edge agree when they run along it in opposite directions. Take every face twice, as it
is and turned, and join those that agree: an orientable part falls into two components, mirrors of each other, of
which the one that turns the lesser area is kept. A closed part (its edges are run along equally often both ways) of
negative volume is then turned, unless it lies inside another one, where it is the wall of a cavity; before that the
whole mesh is, if its volume is negative. Open parts have no outside of their own and go with the whole. A mesh that is
drawn from both sides, each face twice, would cancel out and keeps one of each two.

Place. The centre of the bounding box goes to the origin and the farthest vertex to the radius 0.9, as in the
procedural world, so that a turntable never cuts the object off and the SDF grid has a margin around it.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from jax3d.data.meshes.surface import Surface
from jax3d.data.meshes.winding import winding_numbers
from jax3d.data.posed_images import Similarity
from jax3d.io.mesh import FROM_GLTF

RADIUS = 0.9
FLAT = 1e-9
"""A lesser volume, in our units, says nothing about the winding."""


def prepare(surface: Surface, *, y_up: bool = False) -> tuple[Surface, Similarity]:
    """The surface in our world (z up, radius 0.9, outward faces, corners of one position welded), and the way there.

    Raises ValueError where its triangles have no area.
    """
    corners = surface.vertices[surface.faces]
    low, high = corners.min((0, 1)), corners.max((0, 1))
    centre = (low + high) / 2
    reach = np.linalg.norm(corners - centre, axis=-1).max()
    if not np.isfinite(reach) or twice_area(corners / (reach or 1.0)).sum() < 1e-12:
        raise ValueError(f"a mesh needs triangles with an area, these span {high - low} without any; export it again.")
    similarity = Similarity(RADIUS / reach, centre, np.eye(3)[FROM_GLTF if y_up else [0, 1, 2]])
    positions, welded = np.unique(similarity.to_ours(surface.vertices), axis=0, return_inverse=True)
    faces = welded.reshape(-1)[surface.faces]
    rows = _single(faces)
    kept = surface._replace(vertices=positions, faces=faces[rows])
    kept = kept._replace(colors=surface.colors[rows], uv=surface.uv[rows], texture=surface.texture[rows])
    return _turned(kept, inside_out(kept.vertices, kept.faces)), similarity


def _single(faces: np.ndarray) -> np.ndarray:
    """The faces with three corners; one of each two where the mesh is drawn from both sides, which would cancel out."""
    rows = np.flatnonzero((faces != np.roll(faces, 1, axis=1)).all(1))
    _, first = np.unique(np.sort(faces[rows], axis=1), axis=0, return_index=True)
    return rows[np.sort(first)] if 2 * len(first) <= len(rows) else rows


def twice_area(corners: Float[np.ndarray, "f 3 3"]) -> Float[np.ndarray, " f"]:
    """Twice the area of each triangle."""
    return np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1)


def closed(faces: Int[np.ndarray, "f 3"]) -> bool:
    """Whether every edge is run along equally often in both directions, so that winding numbers are whole."""
    start, end = faces.reshape(-1), np.roll(faces, -1, axis=1).reshape(-1)
    count = faces.max() + 1
    edge, which = np.unique(np.minimum(start, end) * count + np.maximum(start, end), return_inverse=True)
    return not np.bincount(which, np.where(start < end, 1, -1), len(edge)).any()


def inside_out(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Bool[np.ndarray, " f"]:
    """Which faces are to be turned."""
    corners = vertices[faces]
    part, turn, is_open = _consistent(faces, twice_area(corners))
    volume = np.linalg.det(corners) / 6 * np.where(turn, -1, 1)
    volume = np.bincount(part, volume)
    whole = volume.sum() if is_open.all() else volume[~is_open].sum()
    if whole < -FLAT:
        turn, volume = ~turn, -volume
    inward = np.flatnonzero(~is_open & (volume < -FLAT))
    if not len(inward):
        return turn
    _, first = np.unique(part, return_index=True)
    others = (~is_open & (volume > FLAT))[part]
    walls = np.where(turn[:, None, None], corners[:, ::-1], corners)[others]
    alone = winding_numbers(corners[first[inward], 0], walls) < 0.5
    return turn ^ np.isin(part, inward[alone])


def _consistent(faces: np.ndarray, area: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The part of each face [f], whether it must turn to agree with its part [f], and which parts are open [p]."""
    count = len(faces)
    start, end = faces.reshape(-1), np.roll(faces, -1, axis=1).reshape(-1)
    pair = np.minimum(start, end) * (faces.max() + 1) + np.maximum(start, end)
    _, edge, uses = np.unique(pair, return_inverse=True, return_counts=True)
    order, first = np.argsort(edge, kind="stable"), np.cumsum(uses) - uses
    one, two = order[first[uses == 2]], order[first[uses == 2] + 1]  # edges of more than two faces join none
    f, g, against = one // 3, two // 3, (start[one] < end[one]) == (start[two] < end[two])
    rows = np.concatenate([f, f + count])
    columns = np.concatenate([g + count * against, g + count * ~against])
    _, label = connected_components(coo_array((np.ones(len(rows)), (rows, columns)), shape=(2 * count,) * 2), False)
    as_is, turned = label[:count], label[count:]
    _, part = np.unique(np.minimum(as_is, turned), return_inverse=True)
    first_mirror = as_is <= turned  # of a one-sided part, as a Moebius strip is, both are the same and all stay
    for_it = np.bincount(part, np.where(first_mirror, area, -area)) >= 0
    turn = first_mirror != for_it[part]
    own_edge, which = np.unique(np.repeat(part, 3) * len(uses) + edge, return_inverse=True)
    unbalanced = np.bincount(which, np.where((start < end) ^ np.repeat(turn, 3), 1, -1)) != 0
    return part, turn, np.bincount(own_edge // len(uses), unbalanced) > 0


def _turned(surface: Surface, turn: np.ndarray) -> Surface:
    order = np.where(turn[:, None], [2, 1, 0], [0, 1, 2])
    faces, colors, uv = (
        np.take_along_axis(values, order.reshape(order.shape + (1,) * (values.ndim - 2)), axis=1)
        for values in (surface.faces, surface.colors, surface.uv)
    )
    return surface._replace(faces=faces, colors=colors, uv=uv)
