"""Point-E's cloud as a mesh: the zero of a regressed signed distance, coloured by the nearest point (arXiv:2212.08751).

The distance, positive inside, is read at the nodes of a grid over a cube of side 1.02 about the origin, where clouds
lie in one of side 1; its surface is marching cubes' (Lewiner et al. 2003, as published; point-e util/pc_to_mesh.py).
All that has published units, half as long as ours, and published axes (math/axes), until it is brought into our world.
"""

import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float
from scipy.spatial import cKDTree
from skimage import measure

from jax3d.math.axes import Vectors, from_blender, to_blender
from jax3d.math.isosurface import evaluate
from jax3d.types import Mesh, Points

SIDE = 1.02
SCALE = 2.0
"""Our lengths of one of theirs."""


def surface(distance: Partial, cloud: Points, *, resolution: int = 128) -> Mesh:
    """The mesh of distance(places [n, 3]) -> [n] with the cloud's colours; ValueError where there is no surface."""
    values = evaluate(distance, resolution, SIDE / 2)
    if not values.min() < 0 < values.max():
        raise ValueError(
            f"the cloud gives no surface: its signed distances reach from {values.min():.3g} to {values.max():.3g}; "
            "sample another cloud."
        )
    spacing = (SIDE / (resolution - 1),) * 3
    vertices, faces, normals, _ = measure.marching_cubes(
        values, 0.0, spacing=spacing, gradient_direction="ascent", allow_degenerate=False
    )
    vertices = (vertices - SIDE / 2).astype(np.float32)
    nearest = cKDTree(cloud.positions).query(vertices)[1]
    colors = None if cloud.colors is None else cloud.colors[nearest]
    return Mesh(vertices, faces.astype(np.int32), colors, normals.astype(np.float32))


def to_published(positions: Vectors) -> Vectors:
    """Positions of our cube [-1, 1]^3 in the cube of side 1 where the networks see them, in Blender's axes."""
    return to_blender(positions) / SCALE


def points_of(cloud: Float[np.ndarray, "n 6"]) -> Points:
    """A published cloud, positions and colours of 255, in our world."""
    positions = from_blender(SCALE * np.asarray(cloud[:, :3], np.float32))
    return Points(positions, np.clip(np.asarray(cloud[:, 3:6], np.float32) / 255, 0, 1))


def mesh_of(mesh: Mesh) -> Mesh:
    """A mesh in published units in our world."""
    return mesh._replace(vertices=from_blender(SCALE * mesh.vertices), normals=from_blender(mesh.normals))
