"""The spatial transformer of the Stable Diffusion UNet (arXiv:2112.10752; diffusers transformer_2d.py, attention.py).

Pixels are tokens. A block is three residual steps: attention among the tokens, attention to the context, and a
gated feed-forward  W2 (a * gelu(g)),  [a, g] = W1 x  (arXiv:2002.05202). With `frames` > 1 the batch is
[scenes * frames] and the first attention runs over the tokens of all frames of a scene (MVDream, arXiv:2308.16512).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jax3d.nn.attention import attention
from jax3d.nn.layers import Conv, Dense, GroupNorm, LayerNorm, fan_in


def attend(
    x: Array, context: Array, heads: int, use_bias: bool = False, ask_init: nn.initializers.Initializer = fan_in
) -> Array:
    """Queries from x [b, t, c], keys and values from context [b, s, d]; its layers belong to the calling module.

    `ask_init` is of the kernels of q and k.
    """
    channels = x.shape[-1]

    def project(name: str, y: Array, init: nn.initializers.Initializer = fan_in) -> Array:
        y = Dense(channels, use_bias=use_bias, kernel_init=init, name=name)(y)
        return y.reshape(*y.shape[:-1], heads, channels // heads)

    y = attention(project("to_q", x, ask_init), project("to_k", context, ask_init), project("to_v", context))
    return Dense(channels, name="to_out.0")(y.reshape(x.shape))


class Attention(nn.Module):
    """`attend` under a name of its own."""

    heads: int

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"], context: Float[Array, "b s d"]) -> Float[Array, "b t c"]:
        return attend(x, context, self.heads)


class TransformerBlock(nn.Module):
    """Self-attention over frames x tokens, cross-attention, gated feed-forward."""

    heads: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t c"], context: Float[Array, "b s d"], frames: int = 1
    ) -> Float[Array, "b t c"]:
        shape, channels = x.shape, x.shape[-1]
        y = LayerNorm(name="norm1")(x).reshape(-1, frames * shape[1], channels)
        x = x + Attention(self.heads, name="attn1")(y, y).reshape(shape)
        x = x + Attention(self.heads, name="attn2")(LayerNorm(name="norm2")(x), context)
        y = Dense(8 * channels, name="ff.net.0.proj")(LayerNorm(name="norm3")(x))
        value, gate = jnp.split(y, 2, -1)
        return x + Dense(channels, name="ff.net.2")(value * jax.nn.gelu(gate, approximate=False))


class SpatialTransformer(nn.Module):
    """[b, h, w, c] -> the same; `linear` tells a matrix from a 1 x 1 convolution in the published layout only."""

    heads: int
    groups: int
    linear: bool
    layers: int = 1

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], context: Float[Array, "b s d"], frames: int = 1
    ) -> Float[Array, "b h w c"]:
        b, h, w, c = x.shape

        def project(name: str, init: nn.initializers.Initializer) -> nn.Module:
            return (
                Dense(c, kernel_init=init, name=name)
                if self.linear
                else Conv(c, 1, padding=(0, 0), kernel_init=init, name=name)
            )

        y = project("proj_in", fan_in)(GroupNorm(self.groups, 1e-6, name="norm")(x)).reshape(b, h * w, c)
        for i in range(self.layers):
            y = TransformerBlock(self.heads, name=f"transformer_blocks.{i}")(y, context, frames)
        return x + project("proj_out", nn.initializers.zeros)(y.reshape(b, h, w, c))


class Attend(nn.Module):
    """Self-attention among all places of [b, *space, c], at first the identity; arXiv:2105.05233."""

    heads: int
    groups: int
    positions: bool = False
    """Give each place an embedding of its own; the module is then for the size that it was initialised with."""

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *space c"]:
        h = GroupNorm(self.groups, name="norm")(x)
        if self.positions:
            h = h + self.param("positions", nn.initializers.normal(0.1), h.shape[1:])
        tokens = h.reshape(h.shape[0], -1, h.shape[-1])
        qkv = Dense(3 * x.shape[-1], name="qkv")(tokens).reshape(*tokens.shape[:2], 3, self.heads, -1)
        y = attention(*jnp.moveaxis(qkv, 2, 0)).reshape(x.shape)
        return x + Dense(x.shape[-1], kernel_init=nn.initializers.zeros, name="out")(y)
