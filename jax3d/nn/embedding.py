"""The sinusoidal code of a network time and the two-layer map that follows it.

    f_i = 10000^(-i / (n/2 - freq_shift)),  i < n/2
    code(t) = [cos t f, sin t f]  if flip_sin_to_cos  else  [sin t f, cos t f]

arXiv:2006.11239; names as in diffusers embeddings.py.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Shaped

from jax3d.nn.layers import Dense


def time_code(
    t: Shaped[Array, " b"], features: int, flip_sin_to_cos: bool = True, freq_shift: int | float = 0
) -> Float[Array, "b n"]:
    """Times (fractions allowed) -> [b, features] in float32; an odd last feature is 0."""
    half = features // 2
    frequencies = jnp.exp(-jnp.log(10000.0) * jnp.arange(half, dtype=jnp.float32) / (half - freq_shift))
    angles = t.astype(jnp.float32)[:, None] * frequencies
    waves = (jnp.cos(angles), jnp.sin(angles)) if flip_sin_to_cos else (jnp.sin(angles), jnp.cos(angles))
    return jnp.pad(jnp.concatenate(waves, -1), ((0, 0), (0, features % 2)))


class TimestepEmbedding(nn.Module):
    """linear_2(silu(linear_1(x)))."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b n"]) -> Float[Array, "b m"]:
        x = jax.nn.silu(Dense(self.features, name="linear_1")(x))
        return Dense(self.features, name="linear_2")(x)
