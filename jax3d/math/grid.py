"""Multilinear interpolation in dense grids: linear, bilinear and trilinear are one function.

A grid [r_1, ..., r_d, c] holds c values at the nodes x_j = -1 + 2 i / (r_j - 1) of the cube [-1, 1]^d. A point in the
cell with lowest corner i, at fractions f in [0, 1]^d, gets

    v(x) = sum over corners b in {0, 1}^d of  g[i + b]  prod_j (f_j if b_j else 1 - f_j);

points outside the cube get the value of the nearest point on it (and no gradient in x).

Few channels are gathered as separate scalars, which XLA fuses with the weights into one loop without a temporary array;
many as rows. The derivative in the grid is a loop of 2^d scatter-adds into one buffer: autodiff would write a dense
grid a corner, and one scatter of all corners together needs 5 times the memory. CPU time of 786k points in 64^3 x 4 on
a busy machine: 46-65 ms forward, 56-59 ms backward. As the scatter is a custom derivative, do not `vmap` a lookup in a
shared grid over many points before differentiating (that makes one dense gradient a point): `points` takes any leading
shape, so hand over all points at once.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

SCALAR_CHANNELS = 8  # up to here scalar gathers beat rows on a CPU


def nodes(resolution: int, dimensions: int = 3) -> Float[Array, "..."]:
    """The node positions of a cubic grid: [r, ..., r, d], first axis = x."""
    line = jnp.linspace(-1.0, 1.0, resolution)
    return jnp.stack(jnp.meshgrid(*[line] * dimensions, indexing="ij"), axis=-1)


def interpolate(grid: Float[Array, "*sizes c"], points: Float[Array, "... d"]) -> Float[Array, "... c"]:
    """Values [..., c] of the grid at points in [-1, 1]^d, with d = number of the grid's spatial axes."""
    dimensions = grid.ndim - 1
    if points.shape[-1] != dimensions:
        raise ValueError(
            f"a grid of shape {grid.shape} (space, channels) needs points with {dimensions} coordinates, "
            f"got points of shape {points.shape}."
        )
    if min(grid.shape[:-1]) < 2:
        raise ValueError(f"interpolation needs at least 2 nodes along each axis, got a grid of shape {grid.shape}.")
    flat = _interpolate(grid, points.reshape(-1, dimensions))
    return flat.reshape(*points.shape[:-1], grid.shape[-1])


def central_differences(values: Float[Array, "*sizes"]) -> Float[Array, "*sizes d"]:
    """The gradient of a scalar node grid over [-1, 1]^d: central inside, one-sided at the border."""
    spacings = [2.0 / (size - 1) for size in values.shape]
    return jnp.stack(jnp.gradient(values, *spacings), axis=-1)


def _cells(points: Array, sizes: tuple[int, ...]) -> tuple[Array, Array, tuple[int, ...]]:
    """Flat row index of each point's lowest corner [n], fractions in its cell [n, d], row strides of the axes."""
    spans = jnp.array([size - 1 for size in sizes], points.dtype)
    position = (jnp.clip(points, -1.0, 1.0) + 1.0) * (0.5 * spans)
    # Clipped as integers: gathers promise to stay in bounds, and a point may be nan.
    low = jnp.clip(position.astype(jnp.int32), 0, jnp.array(sizes, jnp.int32) - 2)
    fraction = position - low
    strides = tuple(math.prod(sizes[axis + 1 :]) for axis in range(len(sizes)))
    return sum(low[:, axis] * stride for axis, stride in enumerate(strides)), fraction, strides


def _corners(points: Array, sizes: tuple[int, ...]) -> list[tuple[Array, Array]]:
    """(flat row index [n], weight [n]) of each of the 2^d corners around each point."""
    base, fraction, strides = _cells(points, sizes)
    corners = []
    for bits in itertools.product((0, 1), repeat=len(sizes)):
        weight = [fraction[:, axis] if bit else 1.0 - fraction[:, axis] for axis, bit in enumerate(bits)]
        offset = sum(bit * stride for bit, stride in zip(bits, strides, strict=True))
        corners.append((base + offset, functools.reduce(jnp.multiply, weight)))
    return corners


@jax.jit
def _gather(grid: Array, points: Array) -> Array:
    channels, corners = grid.shape[-1], _corners(points, grid.shape[:-1])
    if channels > SCALAR_CHANNELS:
        rows = grid.reshape(-1, channels)
        return sum(weight[:, None] * rows.at[row].get(mode="promise_in_bounds") for row, weight in corners)
    flat = grid.reshape(-1)

    def channel(c: int) -> Array:
        return sum(weight * flat.at[row * channels + c].get(mode="promise_in_bounds") for row, weight in corners)

    return jnp.stack([channel(c) for c in range(channels)], axis=-1)


@jax.custom_vjp
def _interpolate(grid: Array, points: Array) -> Array:
    return _gather(grid, points)


def _forward(grid: Array, points: Array) -> tuple[Array, tuple[Array, Array]]:
    return _gather(grid, points), (grid, points)


@jax.jit
def _backward(saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    grid, points = saved
    base, fraction, strides = _cells(points, grid.shape[:-1])
    dimensions = len(strides)

    def add_corner(corner: Array, total: Array) -> Array:
        bits = (corner >> jnp.arange(dimensions)) & 1
        weight = jnp.prod(jnp.where(bits == 1, fraction, 1.0 - fraction), axis=-1)
        updates = (weight[:, None] * cotangent).astype(total.dtype)
        return total.at[base + jnp.sum(bits * jnp.array(strides))].add(updates, mode="promise_in_bounds")

    # Thousands of small terms meet in one node: add them in float32 at least.
    zeros = jnp.zeros((grid.size // grid.shape[-1], grid.shape[-1]), jnp.promote_types(grid.dtype, jnp.float32))
    grid_bar = jax.lax.fori_loop(0, 2**dimensions, add_corner, zeros)
    # XLA drops the rest where nobody asks for the derivative in the points.
    (points_bar,) = jax.vjp(lambda p: _gather(grid, p), points)[1](cotangent)
    return grid_bar.reshape(grid.shape).astype(grid.dtype), points_bar


_interpolate.defvjp(_forward, _backward)
