"""Which triangle each pixel sees: triangles to spans of pixels, spans to fragments, the nearest fragment of each pixel.

A point X of the camera's space lands at pixel coordinates (x, y) = (p_x, p_y) / p_z with the homogeneous
p = (W (f_x X + c_x Z), H (f_y Y + c_y Z), Z). Seen from the pixel d = (x, y, 1), a triangle's three corners have

    w_k = det(d, p_{k+1}, p_{k+2}) / det(p_0, p_1, p_2),    b_k = w_k / (w_0 + w_1 + w_2),    1 / z = w_0 + w_1 + w_2,

b the barycentric coordinates of the point in space (perspective is in them) and z its depth along the camera's axis;
the pixel is covered where no w_k is negative, whether or not the triangle reaches behind the camera (Olano & Greer,
"Triangle scan conversion using 2D homogeneous coordinates", 1997). So nothing is clipped.

Each w_k = 0 is a line, and on a row of pixels a bound of x from the left or from the right: a row of a triangle is one
span. The bounds are half open, [x_left, x_right) and [y_top, y_bottom) around pixel centres, and the line of an edge is
computed in the same way for the faces on both sides of it, so that faces that meet share no pixel and leave no gap.
Only lines with an end in front of the near plane bind; the near plane itself, a line where 1 / z = 1 / near, is the
fourth bound of the faces that cross it.

Work is in proportion to what is drawn, not to faces times pixels: faces are expanded to spans and spans to fragments,
in arrays of fixed size (math/expand), and two scatters find the nearest fragment of each pixel.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jax3d.math.expand import expand


class Plan(NamedTuple):
    """What is static of an image."""

    height: int
    width: int
    near: float
    cull: bool
    spans: int  # room for, a multiple of 32
    fragments: int


def room(faces: int, height: int, width: int, spans: int | None, fragments: int | None) -> tuple[int, int]:
    """Room for spans and fragments as multiples of 32; None chooses: two layers of pixels, and their spans.

    n equal faces that cover the image once have about sqrt(n h w) rows; the 16 h more are for a few large ones.
    """
    most = faces * height
    spans = min(most, math.ceil(2 * math.sqrt(most * width)) + 16 * height) if spans is None else spans
    fragments = 2 * height * width if fragments is None else fragments
    if spans < 1 or fragments < 1:
        raise ValueError(f"there must be room for spans and fragments, got {spans} and {fragments}; None chooses.")
    return -(-spans // 32) * 32, -(-fragments // 32) * 32


def visible(
    corners: Float[Array, "v 3"], faces: Int[Array, "f 3"], plan: Plan
) -> tuple[Int[Array, "{plan.height} {plan.width}"], Float[Array, "2"]]:
    """Of each pixel the nearest face, or -1, from the homogeneous p of the vertices; spans and fragments over the room.

    Of faces equally near, the first.
    """
    # Without the barriers XLA fuses each stage into the gathers of the next and does its work once more for each.
    once = jax.lax.optimization_barrier
    setup, top, rows = once(_set_up(corners, faces, plan))
    face, row, some, wanted_spans = once(expand(rows, plan.spans))
    row = row + top[face]
    left, count, inverse, step = once(_span(once(jax.tree.map(lambda leaf: leaf[face], setup)), row, plan))
    span, column, filled, wanted = once(expand(jnp.where(some, count, 0), plan.fragments))
    size = plan.height * plan.width
    pixel = jnp.where(filled, (row * plan.width + left)[span] + column, size)
    pixel, inverse = once((pixel, inverse[span] + step[span] * column))
    nearest = jnp.zeros(size + 1, inverse.dtype).at[pixel].max(inverse)
    first = jnp.full(size + 1, plan.spans, jnp.int32)
    first = first.at[jnp.where(inverse >= nearest[pixel], pixel, size)].min(span)[:-1]
    found = jnp.where(first < plan.spans, face[jnp.minimum(first, plan.spans - 1)], -1)
    demand = jnp.stack([wanted_spans / plan.spans, wanted / plan.fragments])
    return found.reshape(plan.height, plan.width), demand


class _Setup(NamedTuple):
    """What a span needs to know of its face. Leading axis: faces, then spans."""

    anchor: Array  # [f, 3, 2] a point on the line of each edge
    slope: Array  # [f, 3] dx / dy of the line
    side: Array  # [f, 3] 1 bounds from the left, -1 from the right, 0 not at all
    origin: Array  # [f, 2] a corner in front of the camera, where ...
    inverse: Array  # [f] ... 1 / z is this, and ...
    gradient: Array  # [f, 2] ... changes by this a pixel
    least: Array  # [f] 1 / z lies between this ...
    most: Array  # [f] ... and this
    crosses: Array  # [f] bool, the near plane


def _set_up(corners: Array, faces: Array, plan: Plan) -> tuple[_Setup, Array, Array]:
    """The lines and the plane of 1 / z of each face, its first row and how many rows it has."""
    p, faces = _front_first(corners[faces], faces, plan.near)
    z = p[..., 2]
    front = z > plan.near
    x = p[..., :2] / jnp.where(front, z, 1.0)[..., None]
    away = _toward(x[:, :1], p[:, 1:], x[:, 1:], front[:, 1:]) * jnp.where(front, z, 1.0)[:, 1:, None]
    turned = away[:, 0, 0] * away[:, 1, 1] - away[:, 0, 1] * away[:, 1, 0]  # det(p_0, p_1, p_2) / z_0
    finite = jnp.all(jnp.isfinite(p), axis=(-1, -2)) & jnp.isfinite(turned)
    drawn = finite & front[:, 0] & ((turned < 0) if plan.cull else (turned != 0))
    turned = jnp.where(drawn, turned, 1.0)
    first, second = ((z[:, k] - z[:, 0]) / (z[:, 0] * turned) for k in (1, 2))
    gradient = away[:, 0, ::-1] * second[:, None] - away[:, 1, ::-1] * first[:, None]
    gradient = gradient * jnp.array([1.0, -1.0], p.dtype)

    inverse = jnp.where(front, 1 / jnp.where(front, z, 1.0), 0.0)
    crosses = ~jnp.all(front, axis=-1)
    most = jnp.where(crosses, 1 / plan.near, jnp.max(inverse, axis=-1))
    least = jnp.min(jnp.where(front, inverse, most[:, None]), axis=-1)
    anchor, slope, side, cut = _lines(p, x, faces, front, jnp.sign(turned), plan.near)
    heights = jnp.concatenate([jnp.where(front, x[..., 1], jnp.nan), cut], axis=-1)
    top = jnp.clip(jnp.ceil(jnp.nanmin(heights, axis=-1) - 0.5), 0, plan.height)
    bottom = jnp.clip(jnp.ceil(jnp.nanmax(heights, axis=-1) - 0.5), 0, plan.height)
    rows = jnp.where(drawn & (bottom > top), bottom - top, 0).astype(jnp.int32)
    setup = _Setup(anchor, slope, side, x[:, 0], inverse[:, 0], gradient, least, most, crosses)
    return setup, jnp.where(drawn, top, 0).astype(jnp.int32), rows


def _front_first(p: Array, faces: Array, near: float) -> tuple[Array, Array]:
    """Faces turned, not mirrored, so that the first corner is in front of the near plane if any is."""
    turn = jnp.argmax(p[..., 2] > near, axis=-1)

    def turned(value: Array) -> Array:
        by = turn.reshape(-1, *(1,) * (value.ndim - 1))
        return jnp.where(by == 0, value, jnp.where(by == 1, jnp.roll(value, -1, 1), jnp.roll(value, -2, 1)))

    return turned(p), turned(faces)


def _toward(origin: Array, p: Array, x: Array, front: Array) -> Array:
    """The way on the screen from a point to a vertex; if that is behind the camera, the way from it times |z|."""
    return jnp.where(front[..., None], x - origin, p[..., :2] - origin * p[..., 2:])


def _lines(p: Array, x: Array, faces: Array, front: Array, turned: Array, near: float) -> tuple[Array, ...]:
    """Anchor [f, 3, 2], dx / dy and side [f, 3] of the lines of edges; the y where edges meet the near plane."""
    # The same order of the two ends for both faces of an edge: one in front first, then the lower index.
    other_front = jnp.roll(front, -1, 1)
    swap = jnp.where(front == other_front, faces > jnp.roll(faces, -1, 1), other_front)

    def ordered(value: Array) -> tuple[Array, Array]:
        other, swapped = jnp.roll(value, -1, 1), swap.reshape(*swap.shape, *(1,) * (value.ndim - 2))
        return jnp.where(swapped, other, value), jnp.where(swapped, value, other)

    (p_a, p_b), (x_a, x_b), (front_a, front_b) = ordered(p), ordered(x), ordered(front)
    way = _toward(x_a, p_b, x_b, front_b)
    level = way[..., 1] == 0  # such a line bounds rows, not x
    slope = jnp.where(level, 0.0, way[..., 0] / jnp.where(level, 1.0, way[..., 1]))
    side = jnp.sign(way[..., 1]) * jnp.where(swap, turned[:, None], -turned[:, None])
    meets = front_a & ~front_b
    part = (p_a[..., 2] - near) / jnp.where(meets, p_a[..., 2] - p_b[..., 2], 1.0)
    cut = (p_a[..., 1] + part * (p_b[..., 1] - p_a[..., 1])) / near
    return x_a, slope, jnp.where(front_a, side, 0.0), jnp.where(meets, cut, jnp.nan)


def _span(face: _Setup, row: Array, plan: Plan) -> tuple[Array, Array, Array, Array]:
    """First column and number of pixels of spans, 1 / z at the first and its step from one pixel to the next."""
    y = row + 0.5
    bound = face.anchor[..., 0] + face.slope * (y[:, None] - face.anchor[..., 1])
    low = jnp.max(jnp.where(face.side > 0, bound, -jnp.inf), axis=-1)
    high = jnp.min(jnp.where(face.side < 0, bound, jnp.inf), axis=-1)
    inverse = face.inverse + face.gradient[:, 1] * (y - face.origin[:, 1])  # at the column of the origin
    grows = face.gradient[:, 0]
    near = face.origin[:, 0] + (1 / plan.near - inverse) / jnp.where(grows == 0, 1.0, grows)
    low = jnp.where(face.crosses & (grows < 0), jnp.maximum(low, near), low)
    high = jnp.where(face.crosses & (grows > 0), jnp.minimum(high, near), high)
    left = jnp.clip(jnp.ceil(low - 0.5), 0, plan.width)
    count = jnp.maximum(jnp.clip(jnp.ceil(high - 0.5), 0, plan.width) - left, 0)
    ends = (inverse + grows * (x + 0.5 - face.origin[:, 0]) for x in (left, left + count - 1))
    first, last = (jnp.clip(end, face.least, face.most) for end in ends)  # slivers have wild gradients
    return left.astype(jnp.int32), count.astype(jnp.int32), first, (last - first) / jnp.maximum(count - 1, 1)
