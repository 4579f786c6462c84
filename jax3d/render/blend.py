"""Front-to-back blending of ellipses, tile by tile, with a gradient of its own (arXiv 2308.04079, section 6).

Ellipse i of a pixel's list, in the order of depth, with the offset d of the pixel from its centre,

    alpha_i = min(o_i exp(-d' conic_i d / 2), 0.99),  0 below `least`;     T_i = prod_{j < i} (1 - alpha_j)
    out = sum_i T_i alpha_i f_i

A tile takes its list in chunks of 16, until its end or until no pixel of it has T > `stop`. Backwards, with g the
gradient of `out` and v_i = f_i g, the chunks come in the same order, and what lies behind is what has not come yet:

    d alpha_i = T_i v_i - (sum_{j > i} T_j alpha_j v_j) / (1 - alpha_i),     d f_i = sum over pixels T_i alpha_i g.

Nothing of the size of pixels times ellipses is kept: per pixel `out`, per tile where it stopped. Tiles come one after
the other on CPUs, where the arrays of one tile fit the cache; elsewhere TOGETHER at once, those with like lists beside
each other, so that few wait for the longest.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jax3d.render.tiles import TILE, Lists

CHUNK = 16
TOGETHER = 1024
MOST = 0.99
"""The greatest alpha: what is behind keeps a gradient."""
LINE = np.arange(TILE) - (TILE - 1) / 2
X, Y = (grid.reshape(-1) for grid in np.meshgrid(LINE, LINE))
MOMENTS = np.stack([np.ones_like(X), X, Y, X * X, X * Y, Y * Y], axis=-1)
"""[p, 6] over the pixels of a tile, from its middle. Constants: made in the loop they would take most of its time."""


class Plan(NamedTuple):
    """What is static of a picture."""

    height: int
    width: int
    least: float  # smaller alphas count as none
    stop: float  # a tile is done when all its pixels let less through


class Rows(NamedTuple):
    """What the blending knows of ellipses, in the order of depth; packed into one array [n, 6 + f]."""

    centre: Array  # [n, 2] pixels
    conic: Array  # [n, 3]
    opacity: Array  # [n]
    features: Array  # [n, f]


def blend(rows: Rows, lists: Lists, plan: Plan) -> Float[Array, "h w f"]:
    """The picture of some features; ellipses must be in the order that the lists mean."""
    packed = jnp.concatenate([rows.centre, rows.conic, rows.opacity[:, None], rows.features], axis=-1)
    tiles = _blend(packed, lists.splat, lists.start, plan)
    bands, columns = -(-plan.height // TILE), -(-plan.width // TILE)
    image = tiles.reshape(bands, columns, -1, TILE, TILE).transpose(0, 3, 1, 4, 2)
    return image.reshape(bands * TILE, columns * TILE, -1)[: plan.height, : plan.width]


def blend_plainly(rows: Rows, plan: Plan) -> Float[Array, "h w f"]:
    """The same by the formulas above, all ellipses at all pixels: the definition, for small pictures."""
    y, x = jnp.meshgrid(jnp.arange(plan.height) + 0.5, jnp.arange(plan.width) + 0.5, indexing="ij")
    dx, dy = x - rows.centre[:, 0, None, None], y - rows.centre[:, 1, None, None]
    a, b, c = (rows.conic[:, k, None, None] for k in range(3))
    alpha = jnp.minimum(rows.opacity[:, None, None] * jnp.exp(-(a * dx**2 + c * dy**2) / 2 - b * dx * dy), MOST)
    alpha = jnp.where(alpha >= plan.least, alpha, 0.0)
    through = jnp.cumprod(1 - alpha, axis=0)
    before = jnp.concatenate([jnp.ones_like(through[:1]), through[:-1]])
    return jnp.einsum("nhw,nf->hwf", before * alpha, rows.features, precision=jax.lax.Precision.HIGHEST)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _blend(packed: Array, splat: Array, start: Array, plan: Plan) -> Array:
    return _forward(packed, splat, start, plan)[0]


def _forward(packed: Array, splat: Array, start: Array, plan: Plan) -> tuple[Array, tuple]:
    """[tiles, f, pixels of a tile]."""
    splat = jnp.pad(splat, (0, CHUNK))
    tiles, each = _groups(start)

    def waits(state: tuple, end: Array) -> Array:
        return (state[0] < end) & jnp.any(state[1] > plan.stop)

    def chunk(state: tuple, tile: Array, end: Array) -> tuple:
        at, through, out = state
        end = jnp.where(waits(state, end), end, at)
        _, rows, known = _chunk(packed, splat, at, end)
        alpha = _alphas(rows, known, tile, plan)[0]
        before, after = _transmitted(alpha)
        out = out + _product(rows[:, 6:].T, alpha * before * through)
        return jnp.minimum(at + CHUNK, end), through * after, out

    def group(tile: Array) -> tuple[Array, Array]:
        end = start[tile + 1]
        ones = jnp.ones((*tile.shape, TILE * TILE), packed.dtype)
        state = start[tile], ones, jnp.zeros((*tile.shape, packed.shape[1] - 6, TILE * TILE), packed.dtype)
        more = lambda state: jnp.any(each(waits)(state, end))  # noqa: E731
        at, _, out = jax.lax.while_loop(more, lambda state: each(chunk)(state, tile, end), state)
        return out, at

    out, last = jax.lax.map(group, tiles)
    if tiles.ndim > 1:  # back in their own order; what fills the last group is written twice, alike
        count, tiles = len(start) - 1, tiles.reshape(-1)
        out, last = (leaf.reshape(-1, *leaf.shape[2:]) for leaf in (out, last))
        out, last = (jnp.zeros((count, *leaf.shape[1:]), leaf.dtype).at[tiles].set(leaf) for leaf in (out, last))
    return out, (packed, splat, start, last, out)


def _backward(plan: Plan, kept: tuple, gradient: Array) -> tuple[Array, None, None]:
    packed, splat, start, last, out = kept
    tiles, each = _groups(start)
    last = jnp.where(jnp.arange(tiles.size).reshape(tiles.shape) < len(start) - 1, last[tiles], 0)
    moments = jnp.asarray(MOMENTS, packed.dtype)

    def chunk(state: tuple, tile: Array, end: Array, g: Array) -> tuple:
        at, through, behind = state
        index, rows, known = _chunk(packed, splat, at, end)
        alpha, free, centre = _alphas(rows, known, tile, plan)
        before, after = _transmitted(alpha)
        before = before * through
        weight, value = alpha * before, _product(rows[:, 6:], g)
        behind = behind - jnp.cumsum(weight * value, axis=0)
        power = jnp.where(free, alpha * (before * value - behind / (1 - alpha)), 0.0)
        own = jnp.concatenate([_of_rows(_product(power, moments), rows, centre), _product(weight, g.T)], axis=-1)
        return (jnp.minimum(at + CHUNK, end), through * after, behind[-1]), index, own

    def group(total: Array, work: tuple) -> tuple[Array, None]:
        tile, end = work
        g = gradient[tile]

        def body(state: tuple) -> tuple:
            state, total = state
            state, index, own = each(chunk)(state, tile, end, g)
            return state, total.at[index.reshape(-1)].add(own.reshape(-1, own.shape[-1]), mode="drop")

        ones = jnp.ones((*tile.shape, TILE * TILE), packed.dtype)
        state = jnp.minimum(start[tile], end), ones, jnp.sum(out[tile] * g, axis=-2)
        return jax.lax.while_loop(lambda state: jnp.any(state[0][0] < end), body, (state, total))[1], None

    return jax.lax.scan(group, jnp.zeros_like(packed), (tiles, last))[0], None, None


_blend.defvjp(_forward, _backward)


def _groups(start: Array) -> tuple[Array, Callable]:
    """The tiles [groups] or [groups, together], and what makes a function of a tile one of a group.

    The last may be there more than once.
    """
    count = start.shape[0] - 1
    if jax.default_backend() == "cpu":
        return jnp.arange(count), lambda function: function
    together = min(TOGETHER, count)
    order = jnp.argsort(start[:-1] - start[1:])
    places = jnp.minimum(jnp.arange(-(-count // together) * together), count - 1)
    return order[places].reshape(-1, together), jax.vmap


def _chunk(packed: Array, splat: Array, at: Array, end: Array) -> tuple[Array, Array, Array]:
    """The next ellipses of a tile: their numbers [c], n where the list has ended; rows [c, 6 + f]; which there are."""
    known = at + jnp.arange(CHUNK) < end
    index = jax.lax.dynamic_slice(splat, (at,), (CHUNK,))
    return jnp.where(known, index, packed.shape[0]), packed.at[index].get(mode="promise_in_bounds"), known


def _alphas(rows: Array, known: Array, tile: Array, plan: Plan) -> tuple[Array, Array, tuple[Array, Array]]:
    """alpha [c, p], whether it follows the ellipse, and the ellipses' centres from the middle of the tile."""
    columns = -(-plan.width // TILE)
    x, y = (rows[:, k] - TILE * (corner + 0.5) for k, corner in enumerate((tile % columns, tile // columns)))
    dx, dy = (jnp.asarray(place, rows.dtype) - at[:, None] for place, at in ((X, x), (Y, y)))
    a, b, c = (rows[:, k, None] for k in (2, 3, 4))
    alpha = rows[:, 5, None] * jnp.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
    some = (alpha >= plan.least) & known[:, None]
    return jnp.where(some, jnp.minimum(alpha, MOST), 0.0), some & (alpha < MOST), (x, y)


def _transmitted(alpha: Array) -> tuple[Array, Array]:
    """What reaches each of a chunk's ellipses [c, p], and what passes all of them [p]."""
    through = jnp.cumprod(1 - alpha, axis=0)
    return jnp.concatenate([jnp.ones_like(through[:1]), through[:-1]]), through[-1]


def _of_rows(moments: Array, rows: Array, centre: tuple[Array, Array]) -> Array:
    """Gradients of centre, conic and opacity [c, 6] from the moments [c, 6] of d power over the pixels of the tile."""
    (x, y), (one, m_x, m_y, m_xx, m_xy, m_yy) = centre, moments.T
    a, b, c, o = (rows[:, k] for k in (2, 3, 4, 5))
    dx, dy = m_x - x * one, m_y - y * one
    dxx, dyy = m_xx - 2 * x * m_x + x * x * one, m_yy - 2 * y * m_y + y * y * one
    dxy = m_xy - x * m_y - y * m_x + x * y * one
    opacity = jnp.where(o > 0, one / jnp.where(o > 0, o, 1.0), 0.0)
    return jnp.stack([a * dx + b * dy, c * dy + b * dx, -dxx / 2, -dxy, -dyy / 2, opacity], axis=-1)


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
