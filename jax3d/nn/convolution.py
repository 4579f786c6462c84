"""Convolutions, channels last, and the forms of them that XLA's CPU code makes at the rate of the cores.

On other platforms they are XLA's own. On CPUs, large ones in float32 of three taps an axis are Toom-Cook's along the
first axis of space (Winograd's minimal filters, arXiv:1509.09308), with four outputs of six products, not twelve:

    y [4] = A ((G kernel [3]) * (B x [6]))

for the products of the values at six points of two polynomials are those of their product. Each of the six is a
convolution along the other axes. The points are 0, 2/3, -2/3, 3/2, -3/2 and infinity: float32 then errs 2.4 times as
much as the sum itself, and not 3.6 times as with 1 and 2 for 2/3 and 3/2 (root mean square, random numbers).
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

PIXELS = 512
"""Of images whose gradient in a kernel is one matrix product on CPUs."""
MANY_PIXELS, MANY_PRODUCTS = 4096, 2**30
"""From where on images and volumes are worth what Toom-Cook costs: transforming the kernel, and 0.2 s of compiling."""
STRIP = 2**21
"""Numbers of the strips it takes of images, so that the caches hold them."""


def toom_cook(points: Sequence[float], outputs: int, taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A [outputs, n], G [n, taps], B [n, n]) of the text above for points and infinity; n = outputs + taps - 1."""
    a = np.array(points)
    gap = a[:, None] - a + np.eye(len(a))
    last = lambda size: np.eye(size)[-1:]  # noqa: E731  the leading coefficient: the value at infinity
    A = np.concatenate([a[:, None] ** np.arange(outputs), last(outputs)]).T
    G = np.concatenate([a[:, None] ** np.arange(taps) / gap.prod(1, keepdims=True), last(taps)])
    through = [np.append(np.poly(np.delete(a, i))[::-1], 0) for i in range(len(a))]
    return A, G, np.array([*through, np.poly(a)[::-1]])


A, G, B = (np.where(abs(matrix) > 1e-9, matrix, 0) for matrix in toom_cook((0.0, 2 / 3, -2 / 3, 3 / 2, -3 / 2), 4, 3))


def product(x: Float[Array, "*lead c"], kernel: Float[Array, "c d"]) -> Float[Array, "*lead d"]:
    """x W with all lead axes as one: for more, XLA's CPU code transposes x and y when it makes the gradient in W."""
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[1])


def convolve(
    x: Float[Array, "b *space c"], kernel: Float[Array, "*taps c d"], stride: int = 1, padding: tuple[int, int] = (0, 0)
) -> Float[Array, "b *space2 d"]:
    """Cross-correlation, channels last; a kernel of one tap is a matrix product."""
    axes = kernel.ndim - 2
    if kernel.shape[0] == 1 and stride == 1 and padding == (0, 0):
        return product(x, kernel[(0,) * axes])
    if axes == 2 and stride <= 2 and max(padding) < min(kernel.shape[:2]):
        return _convolve_image(x, kernel, stride, padding, _six_pays(x, kernel, stride, padding))
    if axes == 3:
        return _convolve_volume(x, kernel, stride, padding)
    return _convolve(x, kernel, stride, (padding,) * axes)


def _convolve(x: Array, kernel: Array, stride: int, padding: tuple[tuple[int, int], ...]) -> Array:
    space = "DHW"[-len(padding) :]
    return jax.lax.conv_general_dilated(
        x, kernel, (stride,) * len(padding), padding, dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C")
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve_image(x: Array, kernel: Array, stride: int, padding: tuple[int, int], six: bool) -> Array:
    """On CPUs with gradients of its own, where XLA's take up to 4 times (stride 2) and 9 times (stride 1) as long.

    six: on CPUs by Toom-Cook's form, where _six_pays.
    """
    plain = lambda x, kernel: _convolve(x, kernel, stride, (padding, padding))  # noqa: E731
    return jax.lax.platform_dependent(x, kernel, cpu=_convolve_strips, default=plain) if six else plain(x, kernel)


def _backward_image(
    stride: int, padding: tuple[int, int], six: bool, saved: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    def plain(x: Array, kernel: Array) -> Array:
        return _convolve(x, kernel, stride, (padding, padding))

    def x_bar(x: Array, kernel: Array, g: Array) -> Array:
        return jax.vjp(lambda x: plain(x, kernel), x)[1](g)[0]

    def kernel_bar(x: Array, kernel: Array, g: Array) -> Array:
        return jax.vjp(lambda kernel: plain(x, kernel), kernel)[1](g)[0]

    if stride == 2:
        cpu = lambda x, kernel, g: _input_gradient_by_2(x.shape, kernel, g, padding[0])  # noqa: E731
        return jax.lax.platform_dependent(*saved, g, cpu=cpu, default=x_bar), kernel_bar(*saved, g)
    turned = lambda x, kernel, g: _convolve_strips(g, kernel[::-1, ::-1].swapaxes(2, 3))  # noqa: E731
    cpu = lambda x, kernel, g: _kernel_gradient(x, kernel.shape, g, padding[0])  # noqa: E731
    in_x = jax.lax.platform_dependent(*saved, g, cpu=turned, default=x_bar) if six else x_bar(*saved, g)
    return in_x, jax.lax.platform_dependent(*saved, g, cpu=cpu, default=kernel_bar)


_convolve_image.defvjp(lambda x, kernel, *form: (_convolve_image(x, kernel, *form), (x, kernel)), _backward_image)


def _by_six(x: Array, kernel: Array, along: Callable[[Array, Array], Array]) -> Array:
    """Toom-Cook's form along the first axis of space: x [b, 4 n + 2, *others, c] -> [b, 4 n, *others, d].

    `along` convolves [m, *others, c] with a kernel [*taps, c, d] of the other axes.
    """

    def mixed(matrix: np.ndarray, arrays: Sequence[Array]) -> list[Array]:
        return [sum(float(w) * array for w, array in zip(row, arrays, strict=True) if w) for row in matrix]

    count = (x.shape[1] - 2) // 4
    rows = jnp.stack(mixed(B, [x[:, i : i + 4 * count - 3 : 4] for i in range(6)]))
    rows = jax.lax.optimization_barrier(rows)  # made once, and not in each of the six
    taps = jnp.tensordot(jnp.asarray(G, x.dtype), kernel, 1)
    products = [along(row.reshape(-1, *row.shape[2:]), tap) for row, tap in zip(rows, taps, strict=True)]
    y = jnp.stack(mixed(A, products), 1)
    y = y.reshape(x.shape[0], count, *y.shape[1:])
    return y.reshape(x.shape[0], 4 * count, *y.shape[3:])


def _six_pays(x: Array, kernel: Array, stride: int, padding: tuple[int, int]) -> bool:
    """Whether Toom-Cook's form can be taken and is faster, on CPUs; the same for the gradient in x, as sizes stay."""
    pixels = x.size // x.shape[-1]
    much = pixels >= MANY_PIXELS and pixels * kernel.size >= MANY_PRODUCTS
    form = stride, padding, set(kernel.shape[:-2]), x.shape[1] % 4, x.dtype
    return much and form == (1, (1, 1), {3}, 0, jnp.float32)


def _convolve_strips(x: Array, kernel: Array) -> Array:
    """Images with a kernel of 3 x 3 and padding by 1, some rows of one of them at a time."""
    images, height, width, channels = x.shape
    rows = max(n for n in range(4, height + 1, 4) if height % n == 0 and (n == 4 or n * width * channels <= STRIP))
    strips = height // rows
    x = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))

    def along(lines: Array, taps: Array) -> Array:
        return _convolve(lines[:, None], taps[None], 1, ((0, 0), (1, 1)))[:, 0]

    def strip(i: Array) -> Array:
        part = (1, rows + 2, width, channels)
        return _by_six(jax.lax.dynamic_slice(x, (i // strips, i % strips * rows, 0, 0), part), kernel, along)

    return jax.lax.map(strip, jnp.arange(images * strips)).reshape(images, height, width, -1)


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
    """The sum over the taps along the first axis of space of convolutions of planes, by Toom-Cook where it suits."""
    six = _six_pays(x, kernel, stride, padding)
    x = jnp.pad(x, ((0, 0), padding, (0, 0), (0, 0), (0, 0)))
    if six:
        return _by_six(x, kernel, lambda planes, taps: _convolve_image(planes, taps, stride, padding, False))
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
