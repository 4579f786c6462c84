"""Which Gaussians each tile of an image sees, from front to back, in arrays of fixed size.

Of an ellipse a dx^2 + 2 b dx dy + c dy^2 <= k, rows |dy| <= sqrt(k a / (a c - b^2)) are touched, and in the rows of one
band of tiles the columns between the extremes of

    dx = (-b dy +- sqrt(k a - (a c - b^2) dy^2)) / a

which lie at dy = -+ b / c sqrt(k c / (a c - b^2)), or at the end of the band that is nearest to that. With
k = 2 ln(opacity / least) nothing outside has an alpha of `least`, so the lists are exact. Gaussians, in the order of
their depth, are expanded to bands and bands to tiles; the pairs are sorted once, by one integer that holds tile and
order: a single operand, which XLA sorts ten times as fast on CPUs as keys with values.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jax3d.math.expand import expand

TILE = 16
"""Pixels along an edge of a tile."""
BITS = 32
"""Of the integer by which pairs are sorted; where they are too few there are two integers."""


class Lists(NamedTuple):
    """The pairs of a tile and a Gaussian, tile after tile and in each from front to back."""

    splat: Array  # [pairs] int32: the Gaussian's place in the order of depth
    start: Array  # [tiles + 1] int32: where each tile's pairs begin
    demand: Array  # scalar: pairs wanted over the room; above 1 (it may be more) the farthest are missing


def tile_lists(
    centre: Float[Array, "n 2"],
    conic: Float[Array, "n 3"],
    level: Float[Array, " n"],
    height: int,
    width: int,
    pairs: int,
) -> Lists:
    """The lists of ellipses in the order of depth; `level` is k above, negative for what is not seen."""
    bands, columns = -(-height // TILE), -(-width // TILE)
    a, b, c = conic[:, 0], conic[:, 1], conic[:, 2]
    determinant = a * c - b * b
    seen = (level > 0) & (a > 0) & (determinant > 0)
    k, a, c = (jnp.where(seen, value, 1.0) for value in (level, a, c))
    determinant = jnp.where(seen, determinant, 1.0)
    half = jnp.sqrt(jnp.stack([k * c, k * a], axis=-1) / determinant[:, None])
    size = jnp.array([width, height])
    first, last = _pixels(centre - half, centre + half, size)
    seen &= jnp.all(first <= last, axis=-1)
    top = first[:, 1] // TILE
    item, step, filled, wanted_bands = expand(jnp.where(seen, last[:, 1] // TILE - top + 1, 0), pairs)
    band = top[item] + step
    tilt = b / c * half[:, 0]
    rows = jnp.stack([a, b, k * a, determinant, half[:, 1], tilt, *centre.T], axis=-1)[item]
    a, b, ka, determinant, tall, tilt, x, y = rows.T
    low, high = (jnp.clip(band * TILE + edge - y, -tall, tall) for edge in (0.5, TILE - 0.5))

    def extreme(sign: int) -> Array:
        dy = jnp.clip(-sign * tilt, low, high)
        return x + (-b * dy + sign * jnp.sqrt(jnp.maximum(ka - determinant * dy * dy, 0.0))) / a

    left, right = _pixels(extreme(-1), extreme(1), width)
    left = left // TILE
    count = jnp.where(filled & (left * TILE <= right), right // TILE - left + 1, 0)
    span, step, filled, wanted = expand(count, pairs)
    tile = jnp.where(filled, band[span] * columns + left[span] + step, bands * columns)
    order, start = _sorted(tile, bands * columns)
    return Lists(item[span][order], start, jnp.maximum(wanted_bands, wanted) / pairs)


def _pixels(low: Array, high: Array, size: Array | int) -> tuple[Array, Array]:
    """First and last of the pixels of an image whose centres lie between."""
    slack = 1e-3  # rounding leaves nothing out
    first = jnp.clip(jnp.ceil(low - 0.5 - slack), 0, size)
    last = jnp.clip(jnp.floor(high - 0.5 + slack), -1, size - 1)
    return first.astype(jnp.int32), last.astype(jnp.int32)


def _sorted(tile: Int[Array, " pairs"], tiles: int) -> tuple[Int[Array, " pairs"], Int[Array, " tiles_1"]]:
    """The stable order of the pairs by tile, and where each tile begins."""
    pairs = tile.shape[0]
    bits = (pairs - 1).bit_length()
    slot = jnp.arange(pairs, dtype=jnp.uint32)
    tile = tile.astype(jnp.uint32)
    every = jnp.arange(tiles + 1, dtype=jnp.uint32)
    if tiles.bit_length() + bits <= BITS:
        keys = jax.lax.sort((tile << bits) | slot, is_stable=False)
        start = jnp.searchsorted(keys, every << bits, method="scan")
        return (keys & jnp.uint32((1 << bits) - 1)).astype(jnp.int32), start.astype(jnp.int32)
    tile, slot = jax.lax.sort((tile, slot), num_keys=2, is_stable=False)
    return slot.astype(jnp.int32), jnp.searchsorted(tile, every, method="scan").astype(jnp.int32)
