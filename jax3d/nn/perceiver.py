"""The transformer blocks that Point-E and Shap-E share (arXiv:2212.08751, arXiv:2305.02463; names as published).

    block        x <- x + attend(ln_1 x, ln_1 x),    x <- x + mlp(ln_2 x)
    cross block  x <- x + attend(ln_1 x, ln_2 y),    x <- x + mlp(ln_3 x),     mlp = W2 gelu(W1 .)

A row of the published projections holds q, k and v of the first head, then of the next one. Kernels begin as normal
numbers of standard deviation s / sqrt(width), s = 0.25, whatever they read.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jax3d.nn.attention import attention
from jax3d.nn.layers import Dense, LayerNorm

INIT_SCALE = 0.25


def begin(width: int, scale: float = INIT_SCALE) -> nn.initializers.Initializer:
    """Normal numbers of standard deviation scale / sqrt(width)."""
    return nn.initializers.normal(scale * width**-0.5)


class MLP(nn.Module):
    """[..., c] -> [..., features], four times as wide in between."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "*lead c"]) -> Float[Array, "*lead d"]:
        init = begin(self.features)
        x = jax.nn.gelu(Dense(4 * self.features, kernel_init=init, name="c_fc")(x), approximate=False)
        return Dense(self.features, kernel_init=init, name="c_proj")(x)


class Block(nn.Module):
    """Attention among the tokens."""

    heads: int

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        width = x.shape[-1]
        qkv = Dense(3 * width, kernel_init=begin(width), name="attn.c_qkv")(LayerNorm(name="ln_1")(x))
        y = attention(*jnp.split(by_head(qkv, self.heads), 3, -1)).reshape(x.shape)
        x = x + Dense(width, kernel_init=begin(width), name="attn.c_proj")(y)
        return x + MLP(width, name="mlp")(LayerNorm(name="ln_2")(x))


class CrossBlock(nn.Module):
    """Attention of the tokens x to data."""

    heads: int

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"], data: Float[Array, "b s d"]) -> Float[Array, "b t c"]:
        width = x.shape[-1]
        q = Dense(width, kernel_init=begin(width), name="attn.c_q")(LayerNorm(name="ln_1")(x))
        kv = Dense(2 * width, kernel_init=begin(width), name="attn.c_kv")(LayerNorm(name="ln_2")(data))
        y = attention(by_head(q, self.heads), *jnp.split(by_head(kv, self.heads), 2, -1)).reshape(x.shape)
        x = x + Dense(width, kernel_init=begin(width), name="attn.c_proj")(y)
        return x + MLP(width, name="mlp")(LayerNorm(name="ln_3")(x))


def by_head(x: Float[Array, "b t c"], heads: int) -> Float[Array, "b t h d"]:
    """A row as one row for each head."""
    return x.reshape(*x.shape[:-1], heads, -1)


class Blocks(nn.Module):
    """Blocks one after the other."""

    layers: int
    heads: int

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        for i in range(self.layers):
            x = Block(self.heads, name=f"resblocks.{i}")(x)
        return x


class CrossBlocks(nn.Module):
    """Cross blocks one after the other, all reading the same data; the tokens do not see each other."""

    layers: int
    heads: int

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"], data: Float[Array, "b s d"]) -> Float[Array, "b t c"]:
        for i in range(self.layers):
            x = CrossBlock(self.heads, name=f"resblocks.{i}")(x, data)
        return x
