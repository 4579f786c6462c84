"""Initial weights with which tokens attend, in the first layer, to those whose inputs are near.

Drawn weights leave it to training to find that near points belong together, which takes thousands of steps. Here inputs
x enter by a map of orthogonal rows with an offset, W x + b, and are asked by one map, q = k = a U (norm of what
entered), U orthogonal, so that q . k grows with the cosine between (b, W x) and (b, W p): with |b| = 1 and stretches s,
about 1 - |s (x - p)|^2 / 2.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.types import Key, Params

POSITION, OTHER, SHARPNESS = 1.5, 0.75, 2.0
"""Stretch of the positions of points and of all else they have, and the size of q and k, that serve denoisers well."""


def entrance(key: Key, stretch: Sequence[float], width: int) -> Params:
    """A Dense of len(stretch) features into `width`."""
    rows = jax.random.orthogonal(key, width)[: len(stretch) + 1] * width**0.5
    return {"kernel": jnp.array(stretch)[:, None] * rows[1:], "bias": rows[0]}


def question(key: Key, sharpness: float, width: int) -> Float[Array, "w w"]:
    """The kernel of q and of k; `sharpness` is a."""
    return sharpness * jax.random.orthogonal(key, width)


def asked(kernel: Float[Array, "w n"], question: Float[Array, "w w"], heads: int, keys: Sequence[int]) -> Array:
    """A kernel of several maps whose columns stand by head, with those of the numbers `keys` replaced by `question`."""
    width = len(kernel)
    parts = kernel.reshape(width, heads, -1, width // heads)
    for number in keys:
        parts = parts.at[:, :, number].set(question.reshape(width, heads, -1))
    return parts.reshape(kernel.shape)
