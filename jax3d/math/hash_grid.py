"""Multiresolution hash encoding of points (Instant NGP, arXiv 2201.05989), with first and second derivatives by hand.

Level l of L is a trilinear grid over the cube [-1, 1]^3 with N_l = floor(N_min b^l) cells along an axis, from N_min at
the coarsest to N_max at the finest. Its (N_l + 1)^3 nodes share a table of at most T = 2^k rows of F features: where
they all fit, node (x, y, z) has the row x (N_l + 1)^2 + y (N_l + 1) + z (a dense grid, as in math/grid), elsewhere the
row (x xor y p_1 xor z p_2) mod T with the paper's primes. With i a cell's lowest corner and f in [0, 1]^3 the place of
the point in it, or with `smoothstep` f^2 (3 - 2 f), which makes the slope continuous across cells,

    e_l(x) = sum over corners b in {0, 1}^3 of  w_b table_l[row_l(i + b)],    w_b = prod_j (f_j if b_j else 1 - f_j).

Points outside the cube get the value of the nearest point on it, and no gradient in x.

Derivatives. The gradient in the table is a scatter of w_b g. The gradient in x, sum_b dw_b <g, row_b>, is linear in the
table and in g too: against a vector u its own gradients are a scatter and a gather with the weights dw_b . u. So a loss
on normals costs what one on colours does. Reverse mode only; under `jit` XLA drops what nobody asks for. As in
math/grid, do not `vmap` over many points before differentiating: `points` takes any leading shape.

For XLA's CPU code (benchmarks/hash_grid.py) one loop over the levels compiles in a quarter of the time of L copies of
its body, eight scatters of n rows take a quarter of the time of one of 8 n, and coordinates as separate arrays [n] half
the time of [n, 3]: its inner loops stay free of index arithmetic, and the data in the cache.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

PRIMES = (1, 2654435761, 805459861)
CORNERS = tuple(itertools.product((0, 1), repeat=3))


@dataclasses.dataclass(frozen=True)
class HashLevels:
    """The sizes of a hash encoding: static, hashable."""

    count: int = 16
    """Levels L."""
    features: int = 2
    """Features F of a level."""
    log2_size: int = 19
    """A level has at most T = 2^log2_size rows."""
    base: int = 16
    """Cells along an axis at the coarsest level."""
    finest: int = 2048
    """The same at the finest."""

    def __post_init__(self):
        if min(self.count, self.features, self.base) < 1 or self.finest < self.base or not 3 <= self.log2_size <= 24:
            raise ValueError(
                f"a hash encoding needs count and features >= 1, 1 <= base <= finest and log2_size from 3 to 24, "
                f"got {self}; the paper's are 16, 2, base 16, finest 512 or more, log2_size 14 to 24."
            )

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Cells N_l along an axis at each level."""
        growth = (self.finest / self.base) ** (1.0 / max(self.count - 1, 1))
        # Rounding must not turn the finest 2048 into 2047.
        return tuple(math.floor(self.base * growth**level + 1e-6) for level in range(self.count))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Rows of each level."""
        return tuple(min((n + 1) ** 3, 2**self.log2_size) for n in self.resolutions)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the table, which holds the levels one after the other: (rows, features)."""
        return sum(self.sizes), self.features


def encode(
    table: Float[Array, "rows f"], points: Float[Array, "... d"], levels: HashLevels, *, smoothstep: bool = False
) -> Float[Array, "... e"]:
    """Features [..., count * features] of points in [-1, 1]^3, coarsest level first; the table has `levels.shape`."""
    if table.shape != levels.shape:
        raise ValueError(f"{levels} needs a table of shape {levels.shape} (its .shape), got one of {table.shape}.")
    if points.shape[-1] != 3:
        raise ValueError(f"a hash encoding needs points with 3 coordinates, got points of shape {points.shape}.")
    features = _encode(levels, smoothstep, table, points.reshape(-1, 3))
    return features.reshape(*points.shape[:-1], levels.count * levels.features)


def coarse_to_fine(progress: Float[Array, ""] | float, count: int, first: int = 1) -> Float[Array, "count"]:
    """Weights of `count` levels that let them in one by one: the first `first` at progress 0, all at progress 1.

    Level l weighs (1 - cos(pi clip(a - l, 0, 1))) / 2 as a rises from `first` to `count` (Nerfies, arXiv 2011.12948,
    eq. 8); while its weight is 0, a level gets no gradient. jnp.repeat(weights, features) fits `encode`.
    """
    if not 0 <= first <= count:
        raise ValueError(f"of {count} levels the first 0 to {count} can be there at the start, got first={first}.")
    risen = jnp.clip(first + progress * (count - first) - jnp.arange(count), 0.0, 1.0)
    return 0.5 - 0.5 * jnp.cos(jnp.pi * risen)


class _Level(NamedTuple):
    """What the loops below know of a level; all levels, stacked, are what they run over."""

    resolution: Array
    hashed: Array
    strides: Array  # [3]: factors of the coordinates in the row
    offset: Array  # first row

    @classmethod
    def stack(cls, levels: HashLevels) -> "_Level":
        resolutions = np.array(levels.resolutions, np.int32)
        hashed = np.array([(n + 1) ** 3 > size for n, size in zip(levels.resolutions, levels.sizes, strict=True)])
        strides = [PRIMES if h else ((n + 1) ** 2, n + 1, 1) for n, h in zip(levels.resolutions, hashed, strict=True)]
        offsets = np.cumsum((0, *levels.sizes[:-1]))
        return cls(*map(jnp.asarray, (resolutions, hashed, np.uint32(strides), np.uint32(offsets))))


def _cell(x: Array, level: _Level) -> tuple[Array, Array]:
    """The cell of a coordinate [n] and the place in it."""
    position = (jnp.clip(x, -1.0, 1.0) + 1.0) * (0.5 * level.resolution.astype(x.dtype))
    # Clipped as integers: gathers promise to stay in bounds, and a point may be nan.
    low = jnp.clip(position.astype(jnp.int32), 0, level.resolution - 1)
    return low, position - low


def _rows(levels: HashLevels, level: _Level, columns: Sequence[Array]) -> list[Array]:
    """The row [n] of each corner around points given as three columns [n]."""
    near = [_cell(x, level)[0].astype(jnp.uint32) * level.strides[axis] for axis, x in enumerate(columns)]
    far = [x + level.strides[axis] for axis, x in enumerate(near)]

    def row(corner: tuple[int, ...]) -> Array:
        x, y, z = (far[axis] if bit else near[axis] for axis, bit in enumerate(corner))
        return level.offset + (jnp.where(level.hashed, x ^ y ^ z, x + y + z) & (2**levels.log2_size - 1))

    return [row(corner) for corner in CORNERS]


def _weights(smoothstep: bool, level: _Level, columns: Sequence[Array]) -> list[Array]:
    """The weight [n] of each corner."""
    place = [_cell(x, level)[1] for x in columns]
    far = [f * f * (3.0 - 2.0 * f) for f in place] if smoothstep else place
    near = [1.0 - f for f in far]
    return [math.prod(far[axis] if bit else near[axis] for axis, bit in enumerate(corner)) for corner in CORNERS]


def _terms(
    levels: HashLevels, smoothstep: bool, level: _Level, points: Array, along: Array | None
) -> Iterable[tuple[Array, Array]]:
    """(row [n], weight [n]) of each corner; with `along` [n, 3], the weight's derivative along these vectors."""
    columns, weights = jnp.unstack(points, axis=-1), functools.partial(_weights, smoothstep, level)
    if along is None:
        values = weights(columns)
    else:
        _, values = jax.jvp(weights, (columns,), (jnp.unstack(along, axis=-1),))
    return zip(_rows(levels, level, columns), values, strict=True)


def _take(table: Array, row: Array) -> Array:
    return table.at[row].get(mode="promise_in_bounds", wrap_negative_indices=False)


def _by_level(levels: HashLevels, features: Array) -> tuple[_Level, Array]:
    """The levels and their parts [L, F, n] of features [n, L F]."""
    return _Level.stack(levels), features.T.reshape(levels.count, levels.features, -1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _gather(levels: HashLevels, smoothstep: bool, table: Array, points: Array, along: Array | None = None) -> Array:
    """The features [n, L F], or their derivative along vectors [n, 3]."""

    def one(level: _Level) -> Array:
        terms = _terms(levels, smoothstep, level, points, along)
        return sum(weight[:, None] * _take(table, row) for row, weight in terms)

    return jnp.moveaxis(jax.lax.map(one, _Level.stack(levels)), 0, 1).reshape(len(points), -1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _scatter(
    levels: HashLevels, smoothstep: bool, points: Array, cotangent: Array, along: Array | None = None
) -> Array:
    """The transpose of `_gather` in the table: [n, L F] -> [rows, F]."""

    def one(total: Array, slices: tuple[_Level, Array]) -> tuple[Array, None]:
        level, part = slices
        for row, weight in _terms(levels, smoothstep, level, points, along):
            updates = (weight * part).T.astype(total.dtype)
            total = total.at[row].add(updates, mode="promise_in_bounds", wrap_negative_indices=False)
        return total, None

    # Thousands of small terms meet in one row: add them in float32 at least.
    zeros = jnp.zeros(levels.shape, jnp.promote_types(cotangent.dtype, jnp.float32))
    return jax.lax.scan(one, zeros, _by_level(levels, cotangent))[0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _gradient(levels: HashLevels, smoothstep: bool, table: Array, points: Array, cotangent: Array) -> Array:
    """The gradient [n, 3] of <cotangent, features> in the points."""
    columns = jnp.unstack(points, axis=-1)

    def one(total: Sequence[Array], slices: tuple[_Level, Array]) -> tuple[Sequence[Array], None]:
        level, part = slices
        values = [_take(table, row) for row in _rows(levels, level, columns)]
        # A sum of columns, for XLA would write out [n, F] before a sum over F.
        products = [sum(part.T[:, i] * value[:, i] for i in range(levels.features)) for value in values]
        products = [product.astype(points.dtype) for product in products]
        (slope,) = jax.vjp(functools.partial(_weights, smoothstep, level), columns)[1](products)
        return jax.tree.map(jnp.add, total, slope), None

    zeros = jax.tree.map(jnp.zeros_like, columns)
    return jnp.stack(jax.lax.scan(one, zeros, _by_level(levels, cotangent))[0], axis=-1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _encode(levels: HashLevels, smoothstep: bool, table: Array, points: Array) -> Array:
    return _gather(levels, smoothstep, table, points)


def _encode_backward(levels, smoothstep, saved, cotangent):
    table, points = saved
    table_bar = _scatter(levels, smoothstep, points, cotangent).astype(table.dtype)
    return table_bar, _slope(levels, smoothstep, table, points, cotangent)


_encode.defvjp(lambda levels, smoothstep, *saved: (_encode(levels, smoothstep, *saved), saved), _encode_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _slope(levels: HashLevels, smoothstep: bool, table: Array, points: Array, cotangent: Array) -> Array:
    return _gradient(levels, smoothstep, table, points, cotangent)


def _slope_backward(levels, smoothstep, saved, along):
    table, points, cotangent = saved
    table_bar = _scatter(levels, smoothstep, points, cotangent, along).astype(table.dtype)
    (points_bar,) = jax.vjp(lambda x: _gradient(levels, smoothstep, table, x, cotangent), points)[1](along)
    return table_bar, points_bar, _gather(levels, smoothstep, table, points, along)


_slope.defvjp(lambda levels, smoothstep, *saved: (_slope(levels, smoothstep, *saved), saved), _slope_backward)
