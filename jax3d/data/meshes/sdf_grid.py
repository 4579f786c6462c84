"""A solid's signed distances on the nodes of a grid, negative inside as in math/sdf.py, nodes as in math/grid.py.

The size is the distance to the pieces that bound the solid (pieces.py), the sign says on which side of winding number
1/2 a node is (winding.py). Around a closed mesh the winding number is constant between surfaces, and no surface
passes between neighbours that are both farther than half a cell from it: so one node speaks for each such region, and
only those near the surface are asked one by one. An open mesh's winding number varies everywhere and all are asked.
"""

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from jax3d.data.meshes.pieces import Pieces, distances
from jax3d.data.meshes.winding import winding_numbers

EXACT_CELLS = 2.0
"""Distances are exact up to this many cells, farther off to a fraction of a cell."""


def cell(resolution: int) -> float:
    """Edge of a grid's cells. ValueError for fewer than 4 nodes an axis."""
    if resolution < 4:
        raise ValueError(f"a grid of distances needs a resolution of 4 nodes or more, got {resolution}.")
    return 2 / (resolution - 1)


def sdf_grid(
    triangles: Float[np.ndarray, "f 3 3"], pieces: Pieces, resolution: int, *, is_closed: bool
) -> Float[np.ndarray, "r r r"]:
    """Signed distances at resolution^3 nodes of [-1, 1]^3, float32, first axis x.

    `pieces` are those of the triangles (`bounding_pieces`), `is_closed` whether all winding numbers are whole.
    """
    size = cell(resolution)
    axis = np.linspace(-1, 1, resolution)
    nodes = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    distance = distances(nodes, pieces, exact_within=EXACT_CELLS * size)
    regions, asked = np.zeros(len(nodes), int), np.ones(len(nodes), bool)
    if is_closed:
        away = (distance > 0.5 * size).reshape((resolution,) * 3)
        regions = ndimage.label(away)[0].reshape(-1)
        first = np.unique(regions, return_index=True)[1]
        asked = regions == 0
        asked[first] = True
    inside = np.zeros(len(nodes), bool)
    inside[asked] = winding_numbers(nodes[asked], triangles) > 0.5
    if is_closed:
        inside = np.where(regions == 0, inside, inside[first][regions - regions[first].min()])
    return np.where(inside, -distance, distance).astype(np.float32).reshape((resolution,) * 3)
