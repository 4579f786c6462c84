"""An object of the procedural world: a union of coloured solids in arrays of fixed shape.

Four kinds of solids, each an array of slots: blocks (a trapezoid extruded), cones (a trapezoid revolved: cylinders, cones,
capsules, balls), rings (a segment revolved and thickened: tori, tubes, shades) and domes (a cut disk revolved). All
objects have the same number of slots, so objects stack and `vmap`; a slot that is not used has the rounding -10, which
puts its surface nowhere. The loop over slots is unrolled and the coordinates are separate arrays, which compiles to a
single vectorised pass over the points.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from jax3d.math import sdf

SLOTS = {"blocks": 8, "cones": 13, "rings": 1, "domes": 1}


@struct.dataclass
class Solids:
    """Slots of one kind. Local axes: z is up or the axis of revolution, x the width that tapers, y the depth."""

    centre: Array  # [..., n, 3]
    frame: Array  # [..., n, 3, 3], rows are the local axes in the world
    size: Array  # [..., n, 4] what the kind says below
    rounding: Array  # [..., n] radius of the ball that the solid is swept with
    color: Array  # [..., n, 3]


@struct.dataclass
class Object:
    """A union of solids, inside the ball of radius 0.9."""

    blocks: Solids  # size: half-width at the bottom, at the top, half-height, half-depth
    cones: Solids  # size: radius at the bottom, at the top, half-height
    rings: Solids  # size: radius at the bottom, at the top, half-height of the thickened wall
    domes: Solids  # size: radius of the ball, height of the cut above its centre


def stack(objects: Sequence[Object]) -> Object:
    """One batched object [b, ...] from many."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *objects)


def union(obj: Object, x: Array, y: Array, z: Array) -> Array:
    """Signed distance of one object at points given by components."""
    slots = [kind(_slot(solids, i), x, y, z) for solids, kind in _kinds(obj) for i in range(solids.rounding.shape[-1])]
    while len(slots) > 1:
        slots = [*map(jnp.minimum, slots[::2], slots[1::2]), *slots[len(slots) // 2 * 2 :]]
    return slots[0]


def distance(obj: Object, points: Float[Array, "... 3"]) -> Float[Array, "..."]:
    """Signed distance of one object: exact outside and on the surface, a bound of the depth inside."""
    return union(obj, points[..., 0], points[..., 1], points[..., 2])


def albedo(
    obj: Object, points: Float[Array, "... 3"], softness: Float[Array, "..."] | float = 1e-4
) -> Float[Array, "... 3"]:
    """Colour of the nearest solid; solids that are nearly as near, within `softness`, blend.

    A softmin in one pass: the sums are rescaled whenever a nearer solid turns up.
    """
    point = tuple(points[..., k] for k in range(3))

    def nearer(kind, sums, slot):
        closest, total, *channels = sums
        d = kind(slot, *point)
        closer = jnp.minimum(closest, d)
        keep, weight = jnp.exp((closer - closest) / softness), jnp.exp((closer - d) / softness)
        channels = [
            keep * sum_ + weight * value
            for sum_, value in zip(channels, (slot.color[k] for k in range(3)), strict=True)
        ]
        return (closer, keep * total + weight, *channels), None

    zero = jnp.zeros_like(point[0])
    sums = (zero + 1e3, zero, zero, zero, zero)
    for solids, kind in _kinds(obj):
        sums, _ = jax.lax.scan(partial(nearer, kind), sums, solids)
    _, total, *channels = sums
    return jnp.stack([channel / total for channel in channels], axis=-1)


def _kinds(obj: Object):
    return (
        (obj.blocks, _block),
        (obj.cones, partial(_revolved, sdf.trapezoid, 3)),
        (obj.rings, partial(_revolved, sdf.segment, 3)),
        (obj.domes, partial(_revolved, sdf.cut_disk, 2)),
    )


def _slot(solids: Solids, i: int) -> Solids:
    return jax.tree.map(lambda leaf: leaf[i], solids)


def _block(slot: Solids, x: Array, y: Array, z: Array) -> Array:
    offset = x - slot.centre[0], y - slot.centre[1], z - slot.centre[2]
    u, v, w = (sum(slot.frame[row, k] * offset[k] for k in range(3)) for row in range(3))
    bottom, top, height, depth = (slot.size[k] for k in range(4))
    return sdf.extrude(sdf.trapezoid(u, w, bottom, top, height), v, depth) - slot.rounding


def _revolved(figure, sizes: int, slot: Solids, x: Array, y: Array, z: Array) -> Array:
    offset = x - slot.centre[0], y - slot.centre[1], z - slot.centre[2]
    height = sum(slot.frame[2, k] * offset[k] for k in range(3))
    square = sum((offset[k] - height * slot.frame[2, k]) ** 2 for k in range(3))
    return figure(jnp.sqrt(jnp.maximum(square, 1e-20)), height, *(slot.size[k] for k in range(sizes))) - slot.rounding
