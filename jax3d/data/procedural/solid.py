"""An object of the procedural world: a union of coloured solids in arrays of fixed shape.

Four kinds of solids, each an array of slots: blocks (a trapezoid extruded), cones (a trapezoid revolved: cylinders,
cones, capsules, balls), rings (a segment revolved and thickened: tori, tubes, shades) and domes (a cut disk revolved).
All objects have the same number of slots, so objects stack and `vmap`; a slot that is not used has the rounding -10,
which puts its surface nowhere. The coordinates are separate arrays, and slots are visited in a loop: one vectorised
pass over the points for each slot.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from jax3d.math import sdf

SLOTS = {"blocks": 8, "cones": 13, "rings": 1, "domes": 1}
FAR = 1e3
Leaf = Any  # a numpy array when built, a jax array inside jit
UNUSED = -10.0
"""The rounding of a slot that is not used."""


@struct.dataclass
class Solids:
    """Slots of one kind. Local axes: z is up or the axis of revolution, x the width that tapers, y the depth."""

    centre: Leaf  # [..., n, 3]
    frame: Leaf  # [..., n, 3, 3], rows are the local axes in the world
    size: Leaf  # [..., n, 4] what the kind says below
    rounding: Leaf  # [..., n] radius of the ball that the solid is swept with
    color: Leaf  # [..., n, 3]


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


def used(obj: Object) -> tuple[Array, ...]:
    """How many slots of each kind are in use, the most over a batch; they come first."""
    kinds = (obj.blocks, obj.cones, obj.rings, obj.domes)
    return tuple(jnp.max(jnp.sum(solids.rounding > UNUSED, axis=-1)) for solids in kinds)


def union(obj: Object, x: Array, y: Array, z: Array, counts: tuple[Array, ...] | None = None) -> Array:
    """Signed distance of one object at points given by components; only the first slots count with `counts`."""

    def nearer(kind, closest, slot):
        return jnp.minimum(closest, kind(slot, x, y, z))

    return _fold(nearer, jnp.full_like(x, FAR), obj, counts)


def distance(obj: Object, points: Float[Array, "... 3"]) -> Float[Array, "..."]:
    """Signed distance of one object: exact outside and on the surface, a bound of the depth inside."""
    return union(obj, points[..., 0], points[..., 1], points[..., 2])


def albedo(
    obj: Object,
    points: Float[Array, "... 3"],
    softness: Float[Array, "..."] | float = 1e-4,
    counts: tuple[Array, ...] | None = None,
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
        channels = [keep * channel + weight * slot.color[k] for k, channel in enumerate(channels)]
        return (closer, keep * total + weight, *channels)

    zero = jnp.zeros_like(point[0])
    _, total, *channels = _fold(nearer, (zero + FAR, zero, zero, zero, zero), obj, counts)
    return jnp.stack([channel / total for channel in channels], axis=-1)


def _fold(visit, state, obj: Object, counts: tuple[Array, ...] | None):
    """visit(kind, state, slot) -> state over all slots: by scan, or over the first `counts` of each kind."""
    kinds = (
        (obj.blocks, _block),
        (obj.cones, partial(_revolved, sdf.trapezoid, 3)),
        (obj.rings, partial(_revolved, sdf.segment, 3)),
        (obj.domes, partial(_revolved, sdf.cut_disk, 2)),
    )
    for k, (solids, kind) in enumerate(kinds):
        if counts is None:
            state, _ = jax.lax.scan(lambda s, slot, kind=kind: (visit(kind, s, slot), None), state, solids)
        else:
            body = partial(_visit_slot, visit, kind, solids)
            state = jax.lax.fori_loop(0, counts[k], body, state)
    return state


def _visit_slot(visit, kind, solids: Solids, i: Array, state):
    return visit(kind, state, jax.tree.map(lambda leaf: leaf[i], solids))


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
