"""Meshes as what 3D-native models train on: points with colours and normals, grids of signed distances, captions.

`mesh_dataset` makes it from a folder of files, `procedural_dataset` from the built-in world; both give the same arrays,
of objects with z up inside the ball of radius 0.9, and data/batches.py makes batches of them.
"""

from jax3d.data.meshes.dataset import mesh_dataset
from jax3d.data.meshes.pieces import Pieces, bounding_pieces, distances
from jax3d.data.meshes.sample import sample
from jax3d.data.meshes.sdf_grid import sdf_grid
from jax3d.data.meshes.shape import closed, prepare
from jax3d.data.meshes.surface import Surface, read_surface
from jax3d.data.meshes.winding import winding_numbers
from jax3d.data.meshes.world import procedural_dataset

__all__ = [
    "Pieces",
    "Surface",
    "bounding_pieces",
    "closed",
    "distances",
    "mesh_dataset",
    "prepare",
    "procedural_dataset",
    "read_surface",
    "sample",
    "sdf_grid",
    "winding_numbers",
]
