"""The contraction of unbounded space into a cube that a field covers (mip-NeRF 360, arXiv 2111.12077, eq. 10), halved:

y = x / 2                        where |x| <= 1
y = (1 - 1 / (2 |x|)) x / |x|    elsewhere: the whole of space in the ball of radius 1, continuously differentiable
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.math import linalg


def contract(points: Float[Array, "... 3"]) -> Float[Array, "... 3"]:
    """Points of space -> points of the unit ball; what is within 1 of the origin keeps its shape at half the size."""
    length = jnp.maximum(linalg.safe_norm(points), 1.0)[..., None]
    return points / length * (1.0 - 0.5 / length)
