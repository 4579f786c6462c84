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

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

fan_in = nn.initializers.lecun_normal()

PIXELS = 512
"""Of images whose gradient in a kernel is one matrix product on CPUs."""


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


def product(x: Float[Array, "*lead c"], kernel: Float[Array, "c d"]) -> Float[Array, "*lead d"]:
    """x W with all lead axes as one: for more, XLA's CPU code transposes x and y when it makes the gradient in W."""
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[1])


class Conv(nn.Module):
    """x [b, *space, in] -> [b, *space', features], zero padding of (before, after) on each of 1 to 3 axes of space."""

    features: int
    size: int = 3
    stride: int = 1
    padding: tuple[int, int] = (1, 1)
    use_bias: bool = True
    kernel_init: Callable = fan_in

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *space2 d"]:
        taps = (self.size,) * (x.ndim - 2)
        kernel = self.param("kernel", self.kernel_init, (*taps, x.shape[-1], self.features))
        y = convolve(x.astype(kernel.dtype), kernel, self.stride, self.padding)
        return y + self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else y


def convolve(
    x: Float[Array, "b *space c"], kernel: Float[Array, "*taps c d"], stride: int = 1, padding: tuple[int, int] = (0, 0)
) -> Float[Array, "b *space2 d"]:
    """Cross-correlation, channels last; a kernel of one tap is a matrix product."""
    axes = kernel.ndim - 2
    if kernel.shape[0] == 1 and stride == 1 and padding == (0, 0):
        return product(x, kernel[(0,) * axes])
    if axes == 2 and stride <= 2 and max(padding) < min(kernel.shape[:2]):
        return _convolve_image(x, kernel, stride, padding)
    if axes == 3:
        return _convolve_volume(x, kernel, stride, padding)
    return _convolve(x, kernel, stride, (padding,) * axes)


def _convolve(x: Array, kernel: Array, stride: int, padding: tuple[tuple[int, int], ...]) -> Array:
    space = "DHW"[-len(padding) :]
    return jax.lax.conv_general_dilated(
        x, kernel, (stride,) * len(padding), padding, dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C")
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve_image(x: Array, kernel: Array, stride: int, padding: tuple[int, int]) -> Array:
    """On CPUs with gradients of its own, where XLA's take up to 4 times (stride 2) and 9 times (stride 1) as long."""
    return _convolve(x, kernel, stride, (padding, padding))


def _backward_image(stride: int, padding: tuple[int, int], saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    def plain(x: Array, kernel: Array) -> Array:
        return _convolve(x, kernel, stride, (padding, padding))

    def x_bar(x: Array, kernel: Array, g: Array) -> Array:
        return jax.vjp(lambda x: plain(x, kernel), x)[1](g)[0]

    def kernel_bar(x: Array, kernel: Array, g: Array) -> Array:
        return jax.vjp(lambda kernel: plain(x, kernel), kernel)[1](g)[0]

    if stride == 2:
        cpu = lambda x, kernel, g: _input_gradient_by_2(x.shape, kernel, g, padding[0])  # noqa: E731
        return jax.lax.platform_dependent(*saved, g, cpu=cpu, default=x_bar), kernel_bar(*saved, g)
    cpu = lambda x, kernel, g: _kernel_gradient(x, kernel.shape, g, padding[0])  # noqa: E731
    return x_bar(*saved, g), jax.lax.platform_dependent(*saved, g, cpu=cpu, default=kernel_bar)


_convolve_image.defvjp(
    lambda x, kernel, stride, padding: (_convolve_image(x, kernel, stride, padding), (x, kernel)), _backward_image
)


def _kernel_gradient(x: Array, shape: tuple[int, ...], g: Array, before: int) -> Array:
    """The gradient in the kernel of a convolution of stride 1, some images at a time so that they stay in the cache.

    kernel_bar[i, j] = sum_ab  x[a + i - before, b] g[a, b + before - j]^T
    """
    rows, columns, inputs, outputs = shape
    (_, tall, wide, _), height = x.shape, g.shape[1]
    some = max(n for n in range(1, len(x) + 1) if len(x) % n == 0 and (n == 1 or n * height * wide <= PIXELS))
    kind = jnp.promote_types(x.dtype, jnp.float32)

    def part(total: Array, images: tuple[Array, Array]) -> tuple[Array, None]:
        x, g = images
        x = jnp.pad(x, ((0, 0), (before, height + rows - 1 - before - tall), (0, 0), (0, 0)))
        left = columns - 1 - before
        g = jnp.pad(g, ((0, 0), (0, 0), (left, wide + columns - 1 - left - g.shape[2]), (0, 0)))
        moved = jnp.concatenate([g[:, :, j : j + wide] for j in reversed(range(columns))], axis=-1)
        moved = moved.reshape(-1, columns * outputs)
        bands = [x[:, i : i + height].reshape(-1, inputs).T for i in range(rows)]
        return total + jnp.stack([jnp.dot(band, moved, preferred_element_type=kind) for band in bands]), None

    groups = tuple(y.reshape(-1, some, *y.shape[1:]) for y in (x, g))
    total, _ = jax.lax.scan(part, jnp.zeros((rows, inputs, columns * outputs), kind), groups)
    return total.reshape(rows, inputs, columns, outputs).swapaxes(1, 2).astype(x.dtype)


def _input_gradient_by_2(shape: tuple[int, ...], kernel: Array, g: Array, before: int) -> Array:
    """The gradient in the input of a convolution of stride 2, its even and odd rows and columns each by themselves.

    Input 2 i + a meets tap k at output i + (a + before - k) / 2, where that is whole: a dense convolution of the few
    taps of that parity. XLA's CPU code puts zeros between the outputs instead and multiplies them: 4 times the work.
    """

    def parity(a: int, size: int, outputs: int) -> tuple[int, tuple[int, int]]:  # the last such tap, and the padding
        taps = [k for k in range(kernel.shape[0]) if (a + before - k) % 2 == 0]
        first, last = ((a + before - k) // 2 for k in (taps[-1], taps[0]))
        return taps[-1], (-first, (size + 1) // 2 + last - outputs)

    def part(a: int, b: int) -> Array:
        (k_row, rows), (k_column, columns) = parity(a, shape[1], g.shape[1]), parity(b, shape[2], g.shape[2])
        return _convolve(g, kernel[k_row::-2, k_column::-2].swapaxes(2, 3), 1, (rows, columns))

    whole = jnp.stack([jnp.stack([part(a, b) for b in (0, 1)], axis=3) for a in (0, 1)], axis=2)
    return whole.reshape(shape[0], 2 * whole.shape[1], 2 * whole.shape[3], -1)[:, : shape[1], : shape[2]]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve_volume(x: Array, kernel: Array, stride: int, padding: tuple[int, int]) -> Array:
    """On CPUs by planes, for XLA's code for three axes runs at a third of the speed of that for two."""
    return jax.lax.platform_dependent(x, kernel, **_volumes(stride, padding))


def _volumes(stride: int, padding: tuple[int, int]) -> dict[str, Callable[[Array, Array], Array]]:
    return {
        "cpu": lambda x, kernel: _convolve_by_planes(x, kernel, stride, padding),
        "default": lambda x, kernel: _convolve(x, kernel, stride, (padding,) * 3),
    }


def _convolve_by_planes(x: Array, kernel: Array, stride: int, padding: tuple[int, int]) -> Array:
    """The sum over the taps along the first axis of space of convolutions of planes."""
    x = jnp.pad(x, ((0, 0), padding, (0, 0), (0, 0), (0, 0)))
    count = (x.shape[1] - kernel.shape[0]) // stride + 1

    def tap(i: int) -> Array:
        planes = x[:, i : i + stride * count : stride]
        y = convolve(planes.reshape(-1, *planes.shape[2:]), kernel[i], stride, padding)
        return y.reshape(x.shape[0], count, *y.shape[1:])

    return sum(tap(i) for i in range(kernel.shape[0]))


def _backward_volume(
    stride: int, padding: tuple[int, int], saved: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    # Left to autodiff, the choice of platform would keep what the gradient of every platform's code needs.
    back = {
        name: lambda x, kernel, g, plain=plain: jax.vjp(plain, x, kernel)[1](g)
        for name, plain in _volumes(stride, padding).items()
    }
    return jax.lax.platform_dependent(*saved, g, **back)


_convolve_volume.defvjp(
    lambda x, kernel, stride, padding: (_convolve_volume(x, kernel, stride, padding), (x, kernel)), _backward_volume
)


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
