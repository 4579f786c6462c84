"""What shapes look like to CLIP: a vector each, for judging sets of them and captions.

f = the mean of the unit features of pictures from SIDES sides, of length 1 again
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jax3d.math.orbit import turntable
from jax3d.preview import picture
from jax3d.prior.clip import CLIPScore
from jax3d.types import Mesh, Points

SIDES, SIZE = 4, 64


def looks(judge: CLIPScore, shapes: Sequence[Mesh | Points]) -> Float[np.ndarray, "n d"]:
    """Unit vectors of shapes in [-1, 1]^3, z up; comparable with the judge's text features."""
    cameras = turntable(SIDES, start=35.0, elevation=20.0)
    cameras = [jax.tree.map(lambda leaf, k=k: leaf[k], cameras) for k in range(SIDES)]
    found = []
    for shape in shapes:
        seen = jnp.asarray(np.stack([picture(shape, camera, SIZE) for camera in cameras]))
        mean = np.asarray(judge.image_features(judge.params, seen)).mean(0)
        found.append(mean / np.linalg.norm(mean))
    return np.stack(found)
