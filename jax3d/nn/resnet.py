"""Residual block and resampling of the Stable Diffusion networks (diffusers resnet.py, names as published).

    h = conv1(silu(norm1(x))) + time_emb_proj(silu(e))
    y = shortcut(x) + conv2(silu(norm2(h)))

The last convolution of a block starts at zero in the denoising UNet, so that an untrained block is its shortcut.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jax3d.nn.layers import Conv, Dense, GroupNorm, fan_in


class ResnetBlock(nn.Module):
    """x [b, h, w, c] and an optional time embedding [b, n] -> [b, h, w, features]."""

    features: int
    groups: int
    eps: float
    zero: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], e: Float[Array, "b n"] | None = None) -> Float[Array, "b h w d"]:
        h = jax.nn.silu(GroupNorm(self.groups, self.eps, name="norm1")(x))
        h = Conv(self.features, name="conv1")(h)
        if e is not None:
            h = h + Dense(self.features, name="time_emb_proj")(jax.nn.silu(e))[:, None, None, :]
        h = jax.nn.silu(GroupNorm(self.groups, self.eps, name="norm2")(h))
        h = Conv(self.features, kernel_init=nn.initializers.zeros if self.zero else fan_in, name="conv2")(h)
        if x.shape[-1] != self.features:
            x = Conv(self.features, size=1, padding=(0, 0), name="conv_shortcut")(x)
        return x + h


def double(x: Float[Array, "b h w c"], height: int, width: int) -> Float[Array, "b h2 w2 c"]:
    """Nearest-neighbour enlargement to (height, width), where height is 2h or 2h - 1 and width likewise.

    For 2h - 1 rows the nearest source of row i is floor(i h / (2h - 1)) = floor(i / 2): doubling, one row cut.
    """
    b, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)
    return x[:, :height, :width]
