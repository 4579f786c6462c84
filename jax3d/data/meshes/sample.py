"""Points drawn evenly from a painted surface, with the normals of their faces and the colours of their places.

The colour is that of the corners, weighted as the point is, or the texture's at the weighted coordinates: bilinear
between texel centres, repeating (glTF 2.0, sec. 3.8.4; OBJ has v upwards too once trimesh has read it).
"""

import numpy as np
from jaxtyping import Float

from jax3d.data.meshes.pieces import Pieces
from jax3d.data.meshes.surface import Surface
from jax3d.math.triangles import draw
from jax3d.types import Points


def sample(surface: Surface, pieces: Pieces, count: int, rng: np.random.Generator) -> Points:
    """`count` points of the surface, uniform in the area of those of its pieces."""
    drawn, within = draw(pieces.corners, count, rng)
    positions = np.einsum("nk,nkd->nd", within, pieces.corners[drawn])
    face = pieces.face[drawn]
    corners = surface.vertices[surface.faces[face]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    weights = _weights(positions, corners, normals)
    colors = np.einsum("nk,nkd->nd", weights, surface.colors[face])
    uv = np.einsum("nk,nkd->nd", weights, surface.uv[face])
    for index, texture in enumerate(surface.textures):
        rows = surface.texture[face] == index
        colors[rows] = lookup(texture, uv[rows])
    return Points(*(values.astype(np.float32) for values in (positions, colors, normals)))


def lookup(texture: np.ndarray, uv: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """Colours in [0, 1] of a texture [h, w, 3] of bytes at (u, v), v = 0 at its lower edge."""
    height, width = texture.shape[:2]
    column, row = uv[:, 0] * width - 0.5, (1 - uv[:, 1]) * height - 0.5
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    right_share, below_share = (column - left)[:, None], (row - top)[:, None]
    upper, lower = (
        (1 - right_share) * texture[y % height, left % width] + right_share * texture[y % height, (left + 1) % width]
        for y in (top, top + 1)
    )
    return ((1 - below_share) * upper + below_share * lower) / 255


def _weights(points: np.ndarray, corners: np.ndarray, normals: np.ndarray) -> Float[np.ndarray, "n 3"]:
    """Barycentric coordinates: the areas opposite to the corners, cut from the triangle's, as shares."""
    to = corners - points[:, None]
    opposite = np.cross(np.roll(to, -1, axis=1), np.roll(to, -2, axis=1))
    area = np.maximum(np.einsum("nkd,nd->nk", opposite, normals), 0)
    return area / area.sum(-1, keepdims=True)
