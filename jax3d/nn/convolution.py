"""Convolutions, channels last, and the forms of them that XLA's CPU code makes at the rate of the cores.

On other platforms they are XLA's own. On CPUs, large ones in float32 of three taps an axis are Toom-Cook's
(nn/toom_cook). The six convolutions along the other axes are in volumes, whose channels are few, one matrix product
of [3 c, 3 d] each, from three pixels of a line side by side to what they add to three lines.
"""

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.nn.patches import unfold
from jax3d.nn.toom_cook import A, G, blocks, by_six, mixed, points_of

PIXELS = 512
"""Of images whose gradient in a kernel is one matrix product on CPUs."""
MANY = {2: (4096, 2**30), 3: (2048, 2**26)}
"""Pixels and products from where on images (2) and volumes (3) are worth what it costs: 0.2 s of compiling."""
STRIP, BLOCK = 2**21, 2**18
"""Numbers of the strips it takes of images, and of the blocks of volumes, so that the caches hold what it makes."""


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


def convolve_doubled(x: Float[Array, "b *space c"], kernel: Float[Array, "*taps c d"]) -> Float[Array, "b *space2 d"]:
    """With 3 taps an axis and padding by 1, of x enlarged to twice its size by repetition, which is not made.

    Of the three taps at an output two meet the same number: with those added, a convolution of two taps an axis gives
    all outputs between neighbours, in volumes for 8/27 of the products.
    """
    old, new, place = ("xyz"[: kernel.ndim - 2], "ijk"[: kernel.ndim - 2], "uvw"[: kernel.ndim - 2])
    merged = ",".join(f"{u}{i}{x}" for u, i, x in zip(place, new, old, strict=True))
    pairs = [jnp.asarray([[[1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1]]], kernel.dtype)] * len(old)
    taps = jnp.einsum(f"{merged},{old}cd->{new}c{place}d", *pairs, kernel)
    y = unfold(convolve(x, taps.reshape(*(2 for _ in old), x.shape[-1], -1), 1, (1, 1)), 2)
    return y[:, *(slice(1, -1) for _ in old)]


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


def _six_pays(x: Array, kernel: Array, stride: int, padding: tuple[int, int]) -> bool:
    """Whether Toom-Cook's form can be taken and is faster, on CPUs; the same for the gradient in x, as sizes stay."""
    pixels, (many_pixels, many_products) = x.size // x.shape[-1], MANY[x.ndim - 2]
    much = pixels >= many_pixels and pixels * kernel.size >= many_products
    form = stride, padding, set(kernel.shape[:-2]), x.shape[1] % 4, x.dtype
    return much and form == (1, (1, 1), {3}, 0, jnp.float32)


def _convolve_strips(x: Array, kernel: Array) -> Array:
    """Images with a kernel of 3 x 3 and padding by 1, some rows of one of them at a time."""
    count, block = blocks(x.shape, STRIP)
    padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))

    def along(rows: Array, taps: Array) -> Array:
        return jnp.stack(
            [_convolve(row[:, None], tap[None], 1, ((0, 0), (1, 1)))[:, 0] for row, tap in zip(rows, taps, strict=True)]
        )

    y = jax.lax.map(lambda i: by_six(block(padded, i, 2)[0], kernel, along), jnp.arange(count))
    return y.reshape(*x.shape[:-1], -1)


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
    """On CPUs in forms of our own, for XLA's code for three axes runs at a third of the speed of that for two."""
    return jax.lax.platform_dependent(x, kernel, **_volumes(stride, padding))


def _volumes(stride: int, padding: tuple[int, int]) -> dict[str, Callable[[Array, Array], Array]]:
    def cpu(x: Array, kernel: Array) -> Array:
        if _single(kernel, stride, padding):
            return _convolve_single(x, kernel)
        if _six_pays(x, kernel, stride, padding):
            return _convolve_blocks(x, kernel)
        return _convolve_by_planes(x, kernel, stride, padding)

    return {"cpu": cpu, "default": lambda x, kernel: _convolve(x, kernel, stride, (padding,) * 3)}


def _convolve_by_planes(x: Array, kernel: Array, stride: int, padding: tuple[int, int]) -> Array:
    """The sum over the taps along the first axis of space of convolutions of planes."""
    x = jnp.pad(x, ((0, 0), padding, (0, 0), (0, 0), (0, 0)))
    count = (x.shape[1] - kernel.shape[0]) // stride + 1

    def tap(i: int) -> Array:
        planes = x[:, i : i + stride * count : stride]
        y = convolve(planes.reshape(-1, *planes.shape[2:]), kernel[i], stride, padding)
        return y.reshape(x.shape[0], count, *y.shape[1:])

    return sum(tap(i) for i in range(kernel.shape[0]))


def _single(kernel: Array, stride: int, padding: tuple[int, int]) -> bool:
    """Whether there is one channel, before or after, so that its 27 taps are as many numbers as other volumes have."""
    form = stride, padding, set(kernel.shape[:3]), kernel.dtype
    return form == (1, (1, 1), {3}, jnp.float32) and 1 in kernel.shape[3:]


def _taps(x: Array) -> Array:
    """[b, *space] -> [27, b, *space]: what each tap of 3 x 3 x 3 meets, 0 outside."""
    depth, height, width = x.shape[1:]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1)))
    corners = itertools.product(range(3), repeat=3)
    return jnp.stack([x[:, i : i + depth, j : j + height, k : k + width] for i, j, k in corners])


def _convolve_single(x: Array, kernel: Array) -> Array:
    """One channel to some or some to one, with 3 x 3 x 3 and padding by 1, as one matrix product."""
    taps = kernel.reshape(27, -1)
    if x.shape[-1] == 1:
        return jnp.tensordot(_taps(x[..., 0]), taps, (0, 0))
    each = jnp.tensordot(taps[::-1], x, (1, 4))
    return jax.linear_transpose(_taps, each[0])(each)[0][..., None]


def _kernel_gradient_single(x: Array, g: Array) -> Array:
    """The gradient in the kernel of _convolve_single."""
    taps, other = (_taps(x[..., 0]), g) if x.shape[-1] == 1 else (_taps(g[..., 0])[::-1], x)
    return jnp.tensordot(taps, other, ((1, 2, 3, 4), (0, 1, 2, 3))).reshape(3, 3, 3, x.shape[-1], -1)


def _side_by_side(planes: Array) -> Array:
    """Three pixels of a line: [..., w + 2, c] -> [..., w, 3 c]."""
    width = planes.shape[-2] - 2
    return jnp.concatenate([planes[..., j : j + width, :] for j in range(3)], -1)


def _convolve_blocks(x: Array, kernel: Array) -> Array:
    """Volumes with a kernel of 3 x 3 x 3 and padding by 1, some planes of one of them at a time."""
    (count, block), height, (inputs, outputs) = blocks(x.shape, BLOCK), x.shape[2], kernel.shape[3:]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1), (0, 0)))
    taps = kernel.transpose(0, 2, 3, 1, 4).reshape(3, 3 * inputs, 3 * outputs)

    def along(rows: Array, taps: Array) -> Array:
        wide = _side_by_side(rows)
        parts = jnp.einsum("kpc,kcd->kpd", wide.reshape(6, -1, 3 * inputs), taps).reshape(*wide.shape[:-1], -1)
        return sum(parts[:, :, i : i + height, :, i * outputs : (i + 1) * outputs] for i in range(3))

    y = jax.lax.map(lambda i: by_six(block(padded, i, 2)[0], taps, along), jnp.arange(count))
    return y.reshape(*x.shape[:-1], -1)


def _kernel_gradient_by_blocks(x: Array, g: Array) -> Array:
    """The gradient in the kernel of _convolve_blocks: that of the six products, and through them."""
    (count, block), height, inputs, outputs = blocks(x.shape, BLOCK), x.shape[2], x.shape[-1], g.shape[-1]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1), (0, 0)))
    g = jnp.pad(g, ((0, 0), (0, 0), (2, 2), (0, 0), (0, 0)))

    def part(total: Array, i: Array) -> tuple[Array, None]:
        wide = _side_by_side(points_of(block(x, i, 2)[0]))
        sums = mixed(A.T, [block(g, i, 0)[0, k::4] for k in range(4)])
        lines = jnp.concatenate([sums[:, :, 2 - i : 4 - i + height] for i in range(3)], -1)
        pair = wide.reshape(6, -1, 3 * inputs), lines.reshape(6, -1, 3 * outputs)
        return total + jnp.einsum("kpc,kpd->kcd", *pair), None

    total, _ = jax.lax.scan(part, jnp.zeros((6, 3 * inputs, 3 * outputs), x.dtype), jnp.arange(count))
    through = jnp.tensordot(jnp.asarray(G.T, x.dtype), total, 1)
    return through.reshape(3, 3, inputs, 3, outputs).transpose(0, 3, 1, 2, 4)


def _backward_volume(
    stride: int, padding: tuple[int, int], saved: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    # Left to autodiff, the choice of platform would keep what the gradient of every platform's code needs.
    back = {
        name: lambda x, kernel, g, plain=plain: jax.vjp(plain, x, kernel)[1](g)
        for name, plain in _volumes(stride, padding).items()
    }
    turned = lambda kernel: kernel[::-1, ::-1, ::-1].swapaxes(3, 4)  # noqa: E731
    if _single(saved[1], stride, padding):
        back["cpu"] = lambda x, kernel, g: (_convolve_single(g, turned(kernel)), _kernel_gradient_single(x, g))
    elif _six_pays(*saved, stride, padding):
        back["cpu"] = lambda x, kernel, g: (_convolve_blocks(g, turned(kernel)), _kernel_gradient_by_blocks(x, g))
    return jax.lax.platform_dependent(*saved, g, **back)


_convolve_volume.defvjp(
    lambda x, kernel, stride, padding: (_convolve_volume(x, kernel, stride, padding), (x, kernel)), _backward_volume
)
