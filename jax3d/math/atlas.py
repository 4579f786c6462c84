"""Texture atlases on the host: coordinates (u, v) for the vertices of a mesh, and where on the mesh each texel lies.

(u, v) in [0, 1]^2 with v upwards; a texture's row 0 is its upper edge, so texel (row i, column j) of [h, w] has its
centre at u = (j + 1/2) / w, v = 1 - (i + 1/2) / h.

Charts come from xatlas (J. Young, MIT licence). Where it takes longer than it may, crashes, or drops faces, each face
gets half a square cell of its own instead: wasteful, but there is an atlas for every mesh, manifold or not.

Tangents (glTF 2.0, sec. 3.7.2.1): with edges e1, e2 of a face and their (du, dv), the direction in which u grows is
t ~ dv2 e1 - dv1 e2; at a vertex it is the sum over its faces, made orthogonal to the normal n, and the handedness is
w = sign <n x t, b>, b ~ du1 e2 - du2 e1.
"""

import io
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from jax3d.types import Mesh

PADDING = 2
"""Texels between charts."""
CELL = 5
"""Texels along the edge of a cell for two faces, at least."""
CANDIDATES = 1 << 22
"""Pairs of texel and face looked at together."""


def most_faces(size: int) -> int:
    """So many faces fit into a texture of `size` texels along an edge, whatever they are like."""
    return 2 * (size // CELL) ** 2


def unwrap(mesh: Mesh, size: int, *, seconds: float = 30.0) -> Mesh:
    """The mesh with `uv` for a texture of `size` texels along an edge; vertices are split where charts meet.

    Faces keep their order. xatlas may take so many seconds; ValueError where `size` is too small for the faces.
    """
    given = io.BytesIO()
    np.savez(given, positions=mesh.vertices, faces=mesh.faces.astype(np.uint32), size=size, padding=PADDING)
    worker = [sys.executable, "-P", str(Path(__file__).with_name("charts.py"))]
    try:
        done = subprocess.run(worker, input=given.getvalue(), capture_output=True, timeout=seconds, check=True)
        made = np.load(io.BytesIO(done.stdout))
        origin, faces, uv = (made[name] for name in ("origin", "faces", "uv"))
        whole = faces.shape == mesh.faces.shape and (origin[faces] == mesh.faces).all() and np.isfinite(uv).all()
    except (subprocess.SubprocessError, ValueError, KeyError, OSError):
        whole = False
    if not whole:
        warnings.warn(
            f"xatlas did not unwrap {len(mesh.faces)} faces in {seconds:g} s: each pair gets its own square of "
            "the texture, which is coarser; decimate the mesh for charts.",
            stacklevel=2,
        )
        origin, faces, uv = _cells(mesh.faces, size)
    split = {name: getattr(mesh, name)[origin] for name in ("colors", "normals") if getattr(mesh, name) is not None}
    return mesh._replace(
        vertices=mesh.vertices[origin], faces=faces.astype(np.int32), uv=np.clip(uv, 0, 1).astype(np.float32), **split
    )


def _cells(faces: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An atlas of two faces a cell: the corners of each are a half texel and more from its border."""
    count = len(faces)
    along = int(np.ceil(np.sqrt((count + 1) // 2)))
    edge = size // along
    if edge < CELL:
        raise ValueError(
            f"a texture of {size} x {size} texels is too small for {count} faces; take {CELL * along} texels or more, "
            f"or at most {most_faces(size)} faces."
        )
    lower = np.array([[1.0, 1.0], [edge - 3.0, 1.0], [1.0, edge - 3.0]])  # texels from the cell's corner
    corners = np.where((np.arange(count) % 2 == 0)[:, None, None], lower, edge - lower)
    cell = np.arange(count) // 2
    start = edge * np.stack([cell % along, cell // along], axis=-1)
    uv = (start[:, None] + corners) / size
    return faces.reshape(-1), np.arange(3 * count).reshape(-1, 3), uv.reshape(-1, 2)


def texels(
    uv: Float[np.ndarray, "v 2"], faces: Int[np.ndarray, "f 3"], size: int
) -> tuple[Int[np.ndarray, "s s"], Float[np.ndarray, "s s 3"]]:
    """For each texel of a square texture the face over its centre, -1 for none, and its corners' weights there."""
    place = uv[faces].astype(np.float64) * [size, -size] + [-0.5, size - 0.5]  # columns and rows
    first = np.clip(np.ceil(place.min(1)), 0, size).astype(int)
    spans = np.maximum(np.clip(np.floor(place.max(1)), -1, size - 1).astype(int) - first + 1, 0)
    counts = spans.prod(-1)
    covering, weights = np.full((size, size), -1), np.zeros((size, size, 3))
    for part in np.split(np.arange(len(faces)), _cuts(counts)):
        face = np.repeat(part, counts[part])
        within = np.arange(len(face)) - np.repeat(np.cumsum(counts[part]) - counts[part], counts[part])
        column = first[face, 0] + within % np.maximum(spans[face, 0], 1)
        row = first[face, 1] + within // np.maximum(spans[face, 0], 1)
        shares = _shares(np.stack([column, row], axis=-1), place[face])
        inside = (shares >= -1e-9).all(-1)
        covering[row[inside], column[inside]] = face[inside]
        weights[row[inside], column[inside]] = shares[inside]
    return covering, weights


def _cuts(counts: np.ndarray) -> np.ndarray:
    """Where to cut a list of faces into parts with about `CANDIDATES` texels each."""
    return np.flatnonzero(np.diff(np.cumsum(counts) // CANDIDATES)) + 1


def _shares(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentric coordinates [n, 3] of points [n, 2] in triangles [n, 3, 2]; NaN for those without an area."""
    a, b = np.moveaxis(corners[:, 1:] - corners[:, :1], 1, 0)
    p = points - corners[:, 0]
    cross = lambda x, y: x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]  # noqa: E731
    with np.errstate(divide="ignore", invalid="ignore"):
        second, third = cross(p, b) / cross(a, b), cross(a, p) / cross(a, b)
    return np.stack([1 - second - third, second, third], axis=-1)


def filled(image: Float[np.ndarray, "h w c"], known: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w c"]:
    """The image with each unknown texel like the nearest known: filters mix in what lies between charts."""
    rows, columns = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return image[rows, columns]


def tangents(mesh: Mesh) -> Float[np.ndarray, "v 4"]:
    """Unit tangents of a mesh with `uv` and `normals`, and their handedness."""
    corner, place = mesh.vertices[mesh.faces].astype(np.float64), mesh.uv[mesh.faces].astype(np.float64)
    (e1, e2), (d1, d2) = (np.moveaxis(x[:, 1:] - x[:, :1], 1, 0) for x in (corner, place))
    along_u, along_v = d2[:, 1:] * e1 - d1[:, 1:] * e2, d1[:, :1] * e2 - d2[:, :1] * e1
    turned = np.sign(d1[:, :1] * d2[:, 1:] - d1[:, 1:] * d2[:, :1])
    total = np.zeros((2, *mesh.vertices.shape))
    for k in range(3):
        for sums, direction in zip(total, (along_u, along_v), strict=True):
            np.add.at(sums, mesh.faces[:, k], turned * direction)
    tangent = _orthogonal(total[0], mesh.normals)
    hand = np.where(np.einsum("vk,vk->v", np.cross(mesh.normals, tangent), total[1]) < 0, -1.0, 1.0)
    return np.concatenate([tangent, hand[:, None]], axis=-1).astype(np.float32)


def _orthogonal(directions: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Unit vectors orthogonal to the normals, along the directions or, where those say nothing, along any."""
    other = np.eye(3)[np.abs(normals).argmin(-1)]
    for direction in (other, directions):
        part = direction - np.einsum("vk,vk->v", direction, normals)[:, None] * normals
        length = np.linalg.norm(part, axis=-1, keepdims=True)
        other = np.where(length > 1e-12, part / np.maximum(length, 1e-12), other)
    return other
