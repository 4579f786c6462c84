"""Parts that objects are built from, on the host: plain descriptions of single solids, and their assembly.

Lengths are outer measures: rounding takes nothing away from and adds nothing to a part's extent (a capsule's and a
tube's `radius` is round its middle line). `assemble` moves and scales the parts into the ball of radius RADIUS.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from numbers import Real
from typing import NamedTuple

import numpy as np

from jax3d.data.procedural.solid import SLOTS, UNUSED, Object, Solids

RADIUS = 0.9
UP = (0.0, 0.0, 1.0)
IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_UNUSED = (*(0.0,) * 3, *(x for row in IDENTITY for x in row), *(0.0,) * 4, UNUSED, *(0.0,) * 3)

Vector = tuple[Real, Real, Real]


class Part(NamedTuple):
    """One solid in world units; `kind` is the field of Object that it goes to."""

    kind: str
    centre: Vector
    frame: Sequence[Vector]  # rows: the local axes in the world
    size: tuple[Real, Real, Real, Real]
    rounding: Real
    color: Vector


def turned(axis: int, degrees: Real, frame: Sequence[Vector] = IDENTITY) -> Sequence[Vector]:
    """The rows of `frame`, turned about a world axis (0, 1, 2)."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    j, k = (axis + 1) % 3, (axis + 2) % 3
    rows = []
    for row in frame:
        new = list(row)
        new[j], new[k] = c * row[j] - s * row[k], s * row[j] + c * row[k]
        rows.append(tuple(new))
    return tuple(rows)


SIDEWAYS = turned(2, 90.0)
"""A frame whose tapering width runs along world y and whose depth runs along x."""


def block(centre, half, color, *, top=None, rounding=0.03, frame=IDENTITY) -> Part:
    """A box of half-sizes (width, depth, height), its width going to `top` at the upper end."""
    rounding = min(rounding, 0.99 * min(half))
    width, depth, height = (h - rounding for h in half)
    top = width if top is None else max(top - rounding, 0.0)
    return Part("blocks", centre, frame, (width, top, height, depth), rounding, color)


def cone(start, end, radius, color, *, top=None, rounding=0.02) -> Part:
    """A cylinder or frustum with its flat faces at `start` and `end`."""
    centre, axis, half = _between(start, end)
    rounding = min(rounding, 0.99 * half, 0.99 * radius)
    top = radius if top is None else top
    return Part(
        "cones",
        centre,
        _frame(axis),
        (radius - rounding, max(top - rounding, 0.0), half - rounding, 0.0),
        rounding,
        color,
    )


def capsule(start, end, radius, color) -> Part:
    """All points within `radius` of the segment from start to end."""
    centre, axis, half = _between(start, end)
    return Part("cones", centre, _frame(axis), (0.0, 0.0, half, 0.0), radius, color)


def ball(centre, radius, color) -> Part:
    """A ball."""
    return Part("cones", centre, IDENTITY, (0.0, 0.0, 0.0, 0.0), radius, color)


def tube(start, end, radius, thickness, color, *, top=None) -> Part:
    """The side of a cylinder or frustum of that radius as a wall of that thickness; a torus if start and end meet."""
    centre, axis, half = _between(start, end)
    top = radius if top is None else top
    return Part("rings", centre, _frame(axis), (radius, top, half, 0.0), 0.5 * thickness, color)


def dome(base, radius, height, color, *, rounding=0.02) -> Part:
    """An upright cap of a ball: the base is a disk of that radius about `base`."""
    radius, height = radius - rounding, height - 2 * rounding
    ball_radius = (radius**2 + height**2) / (2 * height)
    cut = ball_radius - height
    return Part(
        "domes", (base[0], base[1], base[2] + rounding - cut), IDENTITY, (ball_radius, cut, 0.0, 0.0), rounding, color
    )


def assemble(parts: Sequence[Part], radius: Real = RADIUS) -> Object:
    """The object of these parts, centred by its box and scaled so that it just fits the ball of the given radius."""
    rows = np.array([_UNUSED] * sum(SLOTS.values()))
    first, used = dict(zip(SLOTS, accumulate(SLOTS.values(), initial=0), strict=False)), dict.fromkeys(SLOTS, 0)
    for part in parts:
        if used[part.kind] == SLOTS[part.kind]:
            raise ValueError(f"an object holds at most {SLOTS[part.kind]} {part.kind}, got more; raise SLOTS.")
        rows[first[part.kind] + used[part.kind]] = (
            *part.centre, *part.frame[0], *part.frame[1], *part.frame[2], *part.size, part.rounding, *part.color
        )  # fmt: skip
        used[part.kind] += 1
    is_used = rows[:, 16] > UNUSED
    corners, margin = _corners(rows, first["domes"]), rows[is_used, 16]
    corners = corners[is_used]
    low = (corners.min(1) - margin[:, None]).min(0)
    high = (corners.max(1) + margin[:, None]).max(0)
    middle = 0.5 * (low + high)
    scale = radius / (np.sqrt(((corners - middle) ** 2).sum(-1)).max(1) + margin).max()
    rows[:, 12:16] *= scale
    rows[is_used, 0:3] = (rows[is_used, 0:3] - middle) * scale
    rows[is_used, 16] *= scale
    rows = rows.astype(np.float32)
    ends = {kind: first[kind] + count for kind, count in SLOTS.items()}
    return Object(**{kind: _solids(rows[first[kind] : ends[kind]]) for kind in SLOTS})


def _solids(rows: np.ndarray) -> Solids:
    return Solids(rows[:, 0:3], rows[:, 3:12].reshape(-1, 3, 3), rows[:, 12:16], rows[:, 16], rows[:, 17:20])


_OCTAGON = np.array([(math.cos(a), math.sin(a)) for a in np.arange(8) * math.pi / 4])
_SQUARE = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)], float)


def _corners(rows: np.ndarray, first_dome: int) -> np.ndarray:
    """[n, 16, 3] points whose hull, widened by the rounding, holds the solid (nearly: circles are octagons)."""
    blocks = SLOTS["blocks"]
    outline = np.repeat(_OCTAGON[None], len(rows), 0)
    outline[:blocks] = _SQUARE
    local = np.zeros((len(rows), 2, 8, 3))
    size = rows[:, 12:16]
    bottom, top, low, high = size[:, 0].copy(), size[:, 1].copy(), -size[:, 2], size[:, 2].copy()
    domes = slice(first_dome, first_dome + SLOTS["domes"])
    bottom[domes] = np.sqrt(np.maximum(size[domes, 0] ** 2 - size[domes, 1] ** 2, 0))
    top[domes], low[domes], high[domes] = 0.6 * bottom[domes], size[domes, 1], size[domes, 0]
    local[:, 0, :, :2] = outline * bottom[:, None, None]
    local[:, 1, :, :2] = outline * top[:, None, None]
    local[:blocks, :, :, 1] = _SQUARE[:, 1] * size[:blocks, None, None, 3]
    local[:, 0, :, 2], local[:, 1, :, 2] = low[:, None], high[:, None]
    frames = rows[:, 3:12].reshape(-1, 3, 3)
    return local.reshape(len(rows), 16, 3) @ frames + rows[:, None, 0:3]


def _between(start: Vector, end: Vector) -> tuple[Vector, Vector, Real]:
    """Midpoint, unit direction and half the length of a segment."""
    delta = [e - s for s, e in zip(start, end, strict=True)]
    size = math.sqrt(sum(d * d for d in delta))
    axis = tuple(d / size for d in delta) if size > 1e-9 else UP
    return tuple(0.5 * (s + e) for s, e in zip(start, end, strict=True)), axis, 0.5 * size


def _frame(axis: Vector) -> Sequence[Vector]:
    """A right-handed frame whose third row is the axis."""
    x, y, z = axis
    if abs(z) > 0.999999:
        return IDENTITY if z > 0 else ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0))
    n = math.hypot(x, y)
    first = (-y / n, x / n, 0.0)
    second = (y * first[2] - z * first[1], z * first[0] - x * first[2], x * first[1] - y * first[0])
    return first, second, axis
