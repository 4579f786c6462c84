"""What a 3D-native denoiser is told: its network time t = log(sigma) / 4 and a vector.

    e = W2 silu(W1 code(100 t)) + W3 c

c is a class as a one-hot vector, or CLIP's vector of a text or picture; c = 0 tells nothing, and dropping a condition
in training (arXiv:2207.12598) means setting it to 0. A factor of 100 spreads the t of every sigma in 0.002 .. 80 over
265 radians of the fastest wave.
"""

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from jax3d.nn.embedding import TimestepEmbedding, time_code
from jax3d.nn.layers import Dense

WAVES = 128


class Condition(nn.Module):
    """t [b] and condition [b, d] (d = 0: none) -> silu(e) [b, features], ready for linear maps into the blocks."""

    features: int

    @nn.compact
    def __call__(self, t: Float[Array, " b"], condition: Float[Array, "b d"]) -> Float[Array, "b features"]:
        e = TimestepEmbedding(self.features, name="time")(time_code(100 * t, WAVES))
        if condition.shape[-1]:
            e = e + Dense(self.features, use_bias=False, name="condition")(condition)
        return jax.nn.silu(e)
