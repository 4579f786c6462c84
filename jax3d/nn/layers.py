"""Linear maps and normalisations that compute in the dtype of their own parameters.

Every layer casts its input to the dtype of its kernel (so float16 or bfloat16 weights give a float16 or bfloat16
network and nothing else has to say so); the statistics of the norms are always float32.

    Dense      y = x W + b                              W [in, out]
    Conv       y = x * W + b, channels last             W [k, .., k, in, out], one k for each axis of space
    GroupNorm  y = (x - m_g) / sqrt(v_g + eps) s + b    over pixels and the channels of a group (arXiv:1803.08494)
    LayerNorm  the same over the last axis              (arXiv:1607.06450)

GroupNorm reads its input once for both moments: with d = x - r for any constant r of the group,
m = r + E[d] and v = E[d^2] - E[d]^2; taking r from the first pixel keeps the difference free of cancellation
where the mean is large against the spread.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from jax3d.nn.convolution import convolve, convolve_doubled, product

fan_in = nn.initializers.lecun_normal()


class Dense(nn.Module):
    """x [..., in] -> [..., features]."""

    features: int
    use_bias: bool = True
    kernel_init: Callable = fan_in

    @nn.compact
    def __call__(self, x: Float[Array, "*lead c"]) -> Float[Array, "*lead d"]:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        y = product(x.astype(kernel.dtype), kernel)
        return y + self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else y


class Conv(nn.Module):
    """x [b, *space, in] -> [b, *space', features], zero padding of (before, after) on each of 1 to 3 axes of space."""

    features: int
    size: int = 3
    stride: int = 1
    padding: tuple[int, int] = (1, 1)
    use_bias: bool = True
    kernel_init: Callable = fan_in
    doubled: bool = False
    """Of x enlarged to twice its size by repetition; with size 3, stride 1 and padding by 1."""

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *space2 d"]:
        taps = (self.size,) * (x.ndim - 2)
        kernel = self.param("kernel", self.kernel_init, (*taps, x.shape[-1], self.features))
        x = x.astype(kernel.dtype)
        y = convolve_doubled(x, kernel) if self.doubled else convolve(x, kernel, self.stride, self.padding)
        return y + self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else y


class GroupNorm(nn.Module):
    """Normalises [b, ..., c] over all but b within each of `groups` runs of channels."""

    groups: int
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *space c"]:
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,)).astype(jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,)).astype(jnp.float32)
        a, b = group_affine(x, scale, bias, self.groups, self.eps)
        return (x.astype(jnp.float32) * a + b).astype(x.dtype)


def group_affine(
    x: Float[Array, "b *space c"], scale: Float[Array, " c"], bias: Float[Array, " c"], groups: int, eps: float
) -> tuple[Float[Array, "b *ones c"], Float[Array, "b *ones c"]]:
    """The (a, b) per example and channel with GroupNorm(x) = a x + b."""
    batch, channels, space = x.shape[0], x.shape[-1], tuple(range(1, x.ndim - 1))

    def per_group(y: Array) -> Array:  # [b, c] -> mean over the group, repeated to [b, c]
        y = y.reshape(batch, groups, -1).mean(-1, keepdims=True)
        return jnp.broadcast_to(y, (batch, groups, channels // groups)).reshape(batch, channels)

    def wide(y: Array) -> Array:  # [b, c] -> [b, 1, .., c]
        return y.reshape(batch, *(1 for _ in space), channels)

    x = x.astype(jnp.float32)
    first = jax.lax.stop_gradient(per_group(x.reshape(batch, -1, channels)[:, 0]))
    d = x - wide(first)
    mean, square = per_group(d.mean(space)), per_group(jnp.square(d).mean(space))
    a = scale * jax.lax.rsqrt(jnp.maximum(square - jnp.square(mean), 0.0) + eps)
    return wide(a), wide(bias - (mean + first) * a)


class LayerNorm(nn.Module):
    """Normalises the last axis. `eps` is PyTorch's default, not linen's."""

    eps: float = 1e-5
    scale_init: Callable = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Float[Array, "*lead c"]) -> Float[Array, "*lead c"]:
        scale = self.param("scale", self.scale_init, (x.shape[-1],)).astype(jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],)).astype(jnp.float32)
        d = x.astype(jnp.float32)
        d = d - d.mean(-1, keepdims=True)
        rstd = jax.lax.rsqrt(jnp.square(d).mean(-1, keepdims=True) + self.eps)
        return (d * rstd * scale + bias).astype(x.dtype)


class Embed(nn.Module):
    """Integer ids [...] -> rows of a table [entries, features]."""

    entries: int
    features: int
    kernel_init: Callable = nn.initializers.normal(0.02)

    @nn.compact
    def __call__(self, ids: Int[Array, "*lead"]) -> Float[Array, "*lead c"]:
        return self.param("embedding", self.kernel_init, (self.entries, self.features))[ids]
