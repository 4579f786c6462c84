"""Things of the household: chair, table, lamp, mug, house. Each is drawn in units of its own, its front towards +x.

A builder takes its two proportions in [0, 1], the main colour, the colour of its named part or None, whether it is of
the special build, and the source of its variety; it gives the parts.
"""

import numpy as np

from jax3d.data.procedural.parts import SIDEWAYS, Part, ball, block, capsule, cone, tube, turned

WOOD = (0.40, 0.24, 0.12)
DARK = (0.13, 0.13, 0.15)
GLASS = (0.55, 0.78, 0.92)
GLOW = (1.00, 0.93, 0.62)
COFFEE = (0.23, 0.12, 0.06)


def chair(first, second, main, part, special, rng: np.random.Generator) -> list[Part]:
    """A seat on four legs with a back that is whole or has spindles; sometimes with arms."""
    width, depth = 0.26 + 0.28 * second, rng.uniform(0.29, 0.35)
    leg, back = 0.34 + 0.36 * first, 0.42 + 0.44 * first + rng.uniform(-0.03, 0.03)
    thick, slim = rng.uniform(0.04, 0.06), rng.uniform(0.038, 0.058)
    parts = [block((0, 0, leg), (depth, width, thick), main)]
    lean = rng.uniform(3, 11)
    frame = turned(1, -lean, SIDEWAYS)
    behind = -depth + 0.05
    at = np.sin(np.radians(lean))

    def on_back(y, height):
        return (behind - at * height, y, leg + height)

    if rng.random() < 0.7:
        parts.append(
            block(
                on_back(0, 0.5 * back),
                (width, 0.045, 0.5 * back),
                main,
                top=width * rng.uniform(0.82, 1.05),
                frame=frame,
            )
        )
    else:
        parts.append(block(on_back(0, back - 0.1), (width, 0.05, 0.12), main, frame=frame))
        for y in np.linspace(-width + 0.05, width - 0.05, 3 if second < 0.35 else 4):
            parts.append(capsule(on_back(y, 0.0), on_back(y, back - 0.1), 0.042, main))
    spread = rng.uniform(0.0, 0.06)
    for x in (-1, 1):
        for y in (-1, 1):
            top = (x * (depth - slim - 0.01), y * (width - slim - 0.01), leg)
            foot = (x * (depth - slim - 0.01 + spread), y * (width - slim - 0.01 + spread), 0.0)
            parts.append(cone(foot, top, 0.8 * slim, part or main, top=1.1 * slim))
    if rng.random() < 0.25:
        for y in (-width + 0.03, width - 0.03):
            parts.append(block((0.0, y, leg + 0.27), (depth - 0.02, 0.045, 0.04), main))
            parts.append(capsule((depth - 0.09, y, leg), (depth - 0.09, y, leg + 0.25), 0.04, main))
    return parts


def table(first, second, main, part, special, rng: np.random.Generator) -> list[Part]:
    """A board on four legs, longer from side to side; the round one may stand on one leg."""
    height, slim, thick = 0.36 + 0.62 * first, rng.uniform(0.04, 0.07), rng.uniform(0.045, 0.07)
    legs = part or main
    if special:
        radius = 0.42 + 0.36 * second
        parts = [cone((0, 0, height - thick), (0, 0, height + thick), radius, main, rounding=0.03)]
        if rng.random() < 0.5:
            foot = radius * rng.uniform(0.5, 0.65)
            return [
                *parts,
                cone((0, 0, 0), (0, 0, height), 0.09, legs, top=0.065),
                cone((0, 0, 0), (0, 0, 0.09), foot, legs, top=0.5 * foot),
            ]
        x_leg = y_leg = 0.66 * radius
    else:
        depth, width = rng.uniform(0.36, 0.44), 0.46 + 0.44 * second
        parts = [block((0, 0, height), (depth, width, thick), main)]
        parts.append(block((0, 0, height - 0.09), (depth - 0.08, width - 0.08, 0.09), main))
        x_leg, y_leg = depth - slim - 0.02, width - slim - 0.02
    spread = rng.uniform(-0.02, 0.05)
    for x in (-1, 1):
        for y in (-1, 1):
            foot = (x * (x_leg + spread), y * (y_leg + spread), 0.0)
            parts.append(cone(foot, (x * x_leg, y * y_leg, height), 0.75 * slim, legs, top=1.1 * slim))
    return parts


def lamp(first, second, main, part, special, rng: np.random.Generator) -> list[Part]:
    """A shade, open above and below, over a bulb on a stem with a heavy foot; a switch in front."""
    height, shade = 0.55 + 0.75 * first, 0.30 + 0.24 * second
    tall, foot = rng.uniform(0.36, 0.46), rng.uniform(0.22, 0.28)
    stem, slim, top = part or DARK, rng.uniform(0.04, 0.055), shade * rng.uniform(0.5, 0.75)
    bulb = height + 0.16
    bar = shade + (top - shade) * 0.16 / tall - 0.02
    parts = [
        cone((0, 0, 0), (0, 0, 0.10), foot, stem, top=0.7 * foot),
        capsule((0, 0, 0.05), (0, 0, height + 0.1), slim, stem),
        tube((0, 0, height), (0, 0, height + tall), shade, 0.05, main, top=top),
        ball((0, 0, bulb), 0.13, GLOW),
        ball((0.75 * foot, 0, 0.10), 0.055, GLOW),
        capsule((0, -bar, bulb), (0, bar, bulb), 0.02, stem),
    ]
    if rng.random() < 0.5:
        parts.append(ball((0, 0, 0.25 * height + 0.12), rng.uniform(0.11, 0.15), stem))
    return parts


def mug(first, second, main, part, special, rng: np.random.Generator) -> list[Part]:
    """A cup of coffee with its handle to its left (+y)."""
    height, radius = 0.50 + 0.55 * first, 0.28 + 0.20 * second
    top = radius * rng.uniform(1.0, 1.12)
    wall = 0.06
    parts = [
        tube((0, 0, 0.04), (0, 0, height), radius, wall, main, top=top),
        cone((0, 0, 0.0), (0, 0, 0.10), radius + 0.5 * wall, main, top=radius + 0.5 * wall, rounding=0.03),
        cone((0, 0, 0.08), (0, 0, 0.84 * height), radius, COFFEE, top=radius + 0.84 * (top - radius), rounding=0.001),
    ]
    reach, tall, thick = rng.uniform(0.22, 0.30), 0.31 * height, rng.uniform(0.045, 0.06)
    angles = np.radians(np.linspace(-90, 90, 7))
    start = 0.5 * (radius + top) + 0.02
    arc = [(0.0, start + reach * np.cos(a), 0.5 * height + tall * np.sin(a)) for a in angles]
    return parts + [capsule(a, b, thick, part or main) for a, b in zip(arc, arc[1:], strict=False)]


def house(first, second, main, part, special, rng: np.random.Generator) -> list[Part]:
    """Walls under a gable with a door in front, windows on three sides and a chimney on its left (+y)."""
    width, depth, wall = 0.36 + 0.28 * second, rng.uniform(0.40, 0.50), 0.26 + 0.28 * first
    roof = (0.26 + 0.16 * first) * rng.uniform(0.95, 1.1)
    tiles, eaves, top = part or (0.30, 0.17, 0.14), 0.10, 2 * wall
    door = WOOD if sum(main) > 0.9 else (0.93, 0.88, 0.75)
    door_height = min(0.24, 0.62 * wall)
    parts = [
        block((0, 0, wall), (depth, width, wall), main, rounding=0.02),
        block((0, 0, top + roof - 0.02), (width + eaves, depth + 0.07, roof), tiles, top=0.0, frame=SIDEWAYS),
        block((depth, 0, door_height), (0.035, 0.12, door_height), door, rounding=0.01),
        block((-0.1 * depth, 0.55 * width, top + roof), (0.085, 0.085, roof), (0.45, 0.16, 0.12)),
        ball((depth + 0.04, 0.07, door_height), 0.035, GLOW),
    ]
    if width > 0.42:
        for y in (-1, 1):
            parts.append(
                block((depth, y * (0.5 * width + 0.07), 1.15 * wall), (0.03, 0.085, 0.105), GLASS, rounding=0.01)
            )
    else:
        parts.append(block((depth, 0, top + 0.25 * roof), (0.03, 0.09, 0.09), GLASS, rounding=0.01))
    for y in (-1, 1):
        parts.append(block((0, y * width, 1.15 * wall), (0.16, 0.03, 0.12), GLASS, rounding=0.01))
    return parts
