"""Axes of the published 3D-native models against ours: both have z up, but their objects face -y and ours +x.

They learnt from what Blender shows of a glTF file, whose front (+z there) it turns to -y. With the front and the
object's left in either world

    (x, y, z) of ours  =  (y, -x, z) of theirs,      (x, y, z) of theirs  =  (-y, x, z) of ours

a quarter turn about the vertical. Lengths are the models' own and are no matter of this file.
"""

import numpy as np
from jaxtyping import Array, Float

Vectors = Float[Array | np.ndarray, "... 3"]
SWAPPED = np.array([1, 0, 2])


def to_blender(vectors: Vectors) -> Vectors:
    """Our positions or directions in the axes of Blender."""
    return vectors[..., SWAPPED] * np.array([1, -1, 1], vectors.dtype)


def from_blender(vectors: Vectors) -> Vectors:
    """Positions or directions in the axes of Blender in ours."""
    return vectors[..., SWAPPED] * np.array([-1, 1, 1], vectors.dtype)


def grid_to_blender(values: Float[np.ndarray, "n r r r"]) -> Float[np.ndarray, "n r r r"]:
    """Values at the nodes of a cube about the origin, by our axes, as values by those of Blender."""
    return np.swapaxes(values, 1, 2)[:, :, ::-1]
