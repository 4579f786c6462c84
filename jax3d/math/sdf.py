"""Signed distances of solids that are drawn in the plane and then extruded or revolved.

Negative inside, positive outside, and exact: |grad d| = 1 almost everywhere. All functions work on components, so any
shapes that broadcast will do. A plane figure with distance s(x, y) gives two solids,

    extruded over |z| <= h    d = min(max(s, |z| - h), 0) + |(max(s, 0), max(|z| - h, 0))|
    revolved about its y axis d = s(sqrt(x^2 + z^2), y)

a solid is rounded (Minkowski sum with a ball) by subtracting the radius, and the union of solids is the minimum, exact
outside and a lower bound of the depth inside. The figures here: the trapezoid (box, prism, wedge; cylinder, cone,
frustum, capsule, sphere), the segment (torus, tube, lamp shade) and the circular segment (dome). Such formulas are
collected at iquilezles.org/articles/distfunctions2d.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

Scalar = Float[Array, "..."] | float

_TINY = 1e-20


def length(x: Scalar, y: Scalar) -> Float[Array, "..."]:
    """sqrt(x^2 + y^2) with gradient 0 at 0."""
    return jnp.sqrt(jnp.maximum(x * x + y * y, _TINY))


def trapezoid(x: Scalar, y: Scalar, bottom: Scalar, top: Scalar, half_height: Scalar) -> Float[Array, "..."]:
    """|y| <= half_height and |x| <= the half-width that goes linearly from `bottom` to `top`."""
    x = jnp.abs(x)
    above = jnp.abs(y) - half_height
    beside = jnp.maximum(x - jnp.where(y < 0, bottom, top), 0.0)
    slant = top - bottom
    along = ((top - x) * slant + (half_height - y) * 2 * half_height) / jnp.maximum(
        slant * slant + 4 * half_height * half_height, _TINY
    )
    along = jnp.clip(along, 0.0, 1.0)
    side_x, side_y = x - top + slant * along, y - half_height + 2 * half_height * along
    square = jnp.minimum(beside * beside + above * above, side_x * side_x + side_y * side_y)
    distance = jnp.sqrt(jnp.maximum(square, _TINY))
    return jnp.where((side_x < 0) & (above < 0), -distance, distance)


def segment(x: Scalar, y: Scalar, bottom: Scalar, top: Scalar, half_height: Scalar) -> Float[Array, "..."]:
    """Distance, never negative, to the segment from (bottom, -half_height) to (top, half_height)."""
    slant = top - bottom
    along = ((x - bottom) * slant + (y + half_height) * 2 * half_height) / jnp.maximum(
        slant * slant + 4 * half_height * half_height, _TINY
    )
    along = jnp.clip(along, 0.0, 1.0)
    return length(x - bottom - slant * along, y + half_height - 2 * half_height * along)


def cut_disk(x: Scalar, y: Scalar, radius: Scalar, cut: Scalar) -> Float[Array, "..."]:
    """The part y >= cut of the disk of that radius about 0, |cut| < radius.

    Its nearest point is on the arc where that is nearer than the chord, else on the chord or at one of its ends.
    """
    x = jnp.abs(x)
    half_chord = jnp.sqrt(jnp.maximum(radius * radius - cut * cut, _TINY))
    to_arc = length(x, y) - radius
    to_chord = jnp.where(x < half_chord, cut - y, length(x - half_chord, y - cut))
    faces_arc = cut * x < half_chord * y
    nearer_arc = (cut - radius) * x * x + half_chord * half_chord * (cut + radius - 2 * y) < 0
    return jnp.where(faces_arc & nearer_arc, to_arc, to_chord)


def extrude(section: Scalar, z: Scalar, half_depth: Scalar) -> Float[Array, "..."]:
    """The solid over |z| <= half_depth of a plane figure at signed distance `section`."""
    depth = jnp.abs(z) - half_depth
    return jnp.minimum(jnp.maximum(section, depth), 0.0) + length(jnp.maximum(section, 0.0), jnp.maximum(depth, 0.0))
