"""Things of the world outside: car, aeroplane, rocket, tree, mushroom, snowman, sword; builders as in furniture.py."""

import numpy as np

from jax3d.data.procedural.furniture import DARK, GLASS, GLOW, WOOD
from jax3d.data.procedural.parts import SIDEWAYS, Part, ball, block, capsule, cone, dome, tube, turned

STEEL = (0.62, 0.64, 0.68)
CREAM = (0.95, 0.89, 0.74)
CARROT = (1.00, 0.45, 0.05)
TAIL_LIGHT = (0.80, 0.05, 0.05)
WINDOW = (0.16, 0.24, 0.34)


def car(first, second, main, part, special, rng: np.random.Generator) -> list[Part]:
    """A body with a glazed cabin on four wheels, head lights in front, tail lights behind."""
    length, width = 0.60 + 0.38 * first, rng.uniform(0.34, 0.40)
    body, cabin = rng.uniform(0.15, 0.18), 0.12 + 0.14 * second
    wheel = rng.uniform(0.15, 0.18)
    floor = wheel + 0.04 + 0.5 * body
    deck, back = floor + body, rng.uniform(-0.28, -0.12) * length
    low, high = 0.58 * length, 0.40 * length
    parts = [
        block((0, 0, floor), (length, width, body), main, top=0.96 * length, rounding=0.09),
        block((back, 0, deck + cabin - 0.05), (low, width - 0.05, cabin + 0.05), WINDOW, top=high, rounding=0.04),
        block((back, 0, deck + 2 * cabin), (high + 0.02, width - 0.04, 0.05), part or main, rounding=0.04),
        block((length, 0, floor - 0.5 * body), (0.05, 0.85 * width, 0.05), DARK),
    ]
    for x in (-1, 1):
        for y in (-1, 1):
            inner = (x * 0.60 * length, y * (width - 0.12), wheel)
            outer = (x * 0.60 * length, y * (width + 0.03), wheel)
            parts.append(cone(inner, outer, wheel, DARK, rounding=0.03))
            parts.append(cone(inner, (outer[0], outer[1] + 0.025 * y, wheel), 0.5 * wheel, STEEL, rounding=0.02))
    for y in (-1, 1):
        parts.append(ball((length - 0.05, y * 0.66 * width, floor + 0.3 * body), 0.095, GLOW))
        parts.append(
            block((-length, y * 0.66 * width, floor + 0.3 * body), (0.03, 0.08, 0.05), TAIL_LIGHT, rounding=0.015)
        )
    return parts


def aeroplane(first, second, main, part, special, rng: np.random.Generator) -> list[Part]:
    """A fuselage with swept wings, tailplane, fin and two engines; a dark cockpit near the nose."""
    length, span, radius = 0.58 + 0.40 * first, 0.52 + 0.46 * second, rng.uniform(0.15, 0.185)
    wings, sweep = part or main, rng.uniform(8, 22)
    chord = rng.uniform(0.20, 0.25)
    parts = [
        capsule((-0.45 * length, 0, 0), (length - radius, 0, 0), radius, main),
        cone((-0.40 * length, 0, 0), (-length, 0, 0.45 * radius), radius, main, top=0.35 * radius, rounding=0.05),
        ball((length - 1.35 * radius, 0, 0.42 * radius), 0.82 * radius, WINDOW),
    ]
    for side in (-1, 1):
        parts.append(
            _wing(side, (0.06, 0.45 * radius), -0.35 * radius, (chord, 0.05, 0.5 * span), 0.5 * chord, sweep, wings)
        )
        parts.append(
            _wing(side, (-0.88 * length, 0), 0.45 * radius, (0.15, 0.042, 0.19 + 0.06 * second), 0.08, sweep, wings)
        )
        y, x = side * (0.42 * span + 0.08), 0.09 - 0.40 * span * np.tan(np.radians(sweep))
        parts.append(capsule((x, y, -0.16), (x + 0.17, y, -0.16), 0.08, STEEL if sum(main) < 2.5 else DARK))
    fin = turned(1, -24)
    parts.append(block((-0.88 * length, 0, 0.26), (0.17, 0.042, 0.25), wings, top=0.09, frame=fin))
    parts.append(
        block((0.05 * length, 0, 0.25 * radius), (0.50 * length, radius + 0.012, 0.035), WINDOW, rounding=0.012)
    )
    return parts


def _wing(side, root, z, half, tip, sweep, color) -> Part:
    """A tapered board from the root (x, y) outwards to that side, swept back."""
    frame = turned(2, side * sweep, turned(0, -90 * side))
    out = frame[2]
    centre = (root[0] + half[2] * out[0], side * root[1] + half[2] * out[1], z)
    return block(centre, half, color, top=tip, frame=frame)


def rocket(first, second, main, part, special, rng: np.random.Generator) -> list[Part]:
    """A body with a pointed nose and four fins, a round window in front."""
    height, radius = 0.75 + 0.75 * first, 0.17 + 0.13 * second
    nose, fins = rng.uniform(0.38, 0.50), part or DARK
    bottom, reach = 0.16, radius + rng.uniform(0.20, 0.28)
    parts = [
        cone((0, 0, bottom), (0, 0, bottom + height), radius, main, rounding=0.04),
        cone((0, 0, bottom + height - 0.05), (0, 0, bottom + height + nose), radius, fins, top=0.05, rounding=0.045),
        cone((0, 0, 0.02), (0, 0, bottom + 0.04), 0.85 * radius, STEEL, top=0.6 * radius),
        tube(
            (0.94 * radius, 0, bottom + 0.72 * height),
            (0.94 * radius + 0.001, 0, bottom + 0.72 * height),
            0.56 * radius,
            0.075,
            STEEL,
        ),
        ball((0.62 * radius, 0, bottom + 0.72 * height), 0.56 * radius, GLASS),
    ]
    tall = rng.uniform(0.22, 0.30)
    for turn in (0, 90):
        frame = turned(2, turn + 45)
        parts.append(block((0, 0, tall), (reach, 0.035, tall), fins, top=0.6 * radius, frame=frame))
    return parts


def tree(first, second, main, part, special, rng: np.random.Generator) -> list[Part]:
    """A trunk with a crown of balls; the pointed one has three cones."""
    trunk, width = 0.38 + 0.45 * first, 0.34 + 0.24 * second
    bark, thick = part or WOOD, rng.uniform(0.075, 0.10)
    parts = [cone((0, 0, 0), (0, 0, trunk + 0.25), 1.15 * thick, bark, top=0.8 * thick)]
    if special:
        tier = 0.34 + 0.16 * first
        for k, scale in enumerate((1.0, 0.80, 0.58)):
            low = 0.75 * trunk + 0.62 * k * tier
            parts.append(cone((0, 0, low), (0, 0, low + 1.25 * tier), width * scale, main, top=0.03, rounding=0.03))
        return parts
    size, tall = 0.72 * width, 0.85 + 0.45 * first
    start = rng.uniform(0, 2 * np.pi)
    for k in range(5):
        angle, away = start + 2 * np.pi * k / 5, width * rng.uniform(0.42, 0.56)
        centre = (away * np.cos(angle), away * np.sin(angle), trunk + size * tall * rng.uniform(0.75, 1.05))
        parts.append(ball(centre, size * rng.uniform(0.78, 0.98), main))
    parts.append(ball((0, 0, trunk + size * tall * 1.7), size * rng.uniform(0.9, 1.05), main))
    return parts


def mushroom(first, second, main, part, special, rng: np.random.Generator) -> list[Part]:
    """A stem under a cap with spots."""
    height, width = 0.34 + 0.46 * first, 0.36 + 0.28 * second
    tall, thick = width * rng.uniform(0.70, 0.90), rng.uniform(0.12, 0.16)
    stem = part or CREAM
    parts = [
        cone((0, 0, 0), (0, 0, height + 0.1), 1.25 * thick, stem, top=0.85 * thick, rounding=0.05),
        dome((0, 0, height), width, tall, main, rounding=0.04),
    ]
    spots = (0.97, 0.97, 0.93) if sum(main) < 2.4 else (0.80, 0.12, 0.10)
    radius = (width**2 + tall**2) / (2 * tall)
    start = rng.uniform(0, 2 * np.pi)
    for k in range(8):
        polar = 0.15 if k == 7 else rng.uniform(0.55, 0.68) if k % 2 else rng.uniform(0.78, 0.88)
        around, out = start + 2 * np.pi * k / 7, polar * np.arccos(1 - tall / radius)
        away = radius - 0.055
        centre = (
            away * np.sin(out) * np.cos(around),
            away * np.sin(out) * np.sin(around),
            height + tall - radius + away * np.cos(out),
        )
        parts.append(ball(centre, rng.uniform(0.085, 0.115), spots))
    return parts


def snowman(first, second, main, part, special, rng: np.random.Generator) -> list[Part]:
    """Three balls with a carrot nose, eyes and buttons in front, two arms and a hat."""
    wide = 0.34 + 0.16 * second
    middle, head = wide * rng.uniform(0.70, 0.78), wide * rng.uniform(0.50, 0.57)
    pitch = 0.26 + 0.09 * first
    belly = wide + 1.65 * pitch
    face = belly + 1.22 * pitch
    coal, hat = (0.08, 0.08, 0.09) if sum(main) > 0.7 else (0.95, 0.95, 0.95), part or (0.08, 0.08, 0.09)
    parts = [ball((0, 0, wide), wide, main), ball((0, 0, belly), middle, main), ball((0, 0, face), head, main)]
    parts.append(cone((0.85 * head, 0, face), (head + 0.24, 0, face), 0.07, CARROT, top=0.02, rounding=0.015))
    for y in (-1, 1):
        parts.append(ball((0.84 * head, y * 0.40 * head, face + 0.36 * head), 0.048, coal))
        reach = middle * rng.uniform(1.65, 1.9)
        hand = (0.05, y * reach, belly + rng.uniform(0.10, 0.24))
        parts.append(capsule((0, y * 0.8 * middle, belly + 0.04), hand, 0.036, WOOD))
    for angle in (0.42, -0.1):
        parts.append(ball((middle * np.cos(angle), 0, belly + middle * np.sin(angle)), 0.055, coal))
    brim = face + 0.72 * head
    parts.append(cone((0, 0, brim), (0, 0, brim + 0.06), 1.15 * head, hat))
    parts.append(cone((0, 0, brim), (0, 0, brim + rng.uniform(0.28, 0.36)), 0.72 * head, hat))
    return parts


def sword(first, second, main, part, special, rng: np.random.Generator) -> list[Part]:
    """A blade that points up, its flat side to the front, with a guard, a grip and a pommel."""
    length, wide = 0.75 + 0.60 * first, 0.10 + 0.10 * second
    hilt, guard = part or (0.28, 0.17, 0.09), rng.uniform(0.26, 0.34)
    tip = rng.uniform(0.20, 0.28)
    parts = [
        block(
            (0, 0, 0.5 * length),
            (wide, 0.055, 0.5 * length + 0.02),
            main,
            top=0.88 * wide,
            rounding=0.02,
            frame=SIDEWAYS,
        ),
        block(
            (0, 0, length + 0.5 * tip),
            (0.88 * wide, 0.055, 0.5 * tip + 0.02),
            main,
            top=0.0,
            rounding=0.02,
            frame=SIDEWAYS,
        ),
        block((0, 0, 0), (0.095, guard, 0.07), hilt, rounding=0.045),
        capsule((0, 0, -0.04), (0, 0, -0.34), 0.07, hilt),
        ball((0, 0, -0.40), rng.uniform(0.09, 0.11), hilt),
        ball((0.07, 0, 0), 0.065, GLOW),
    ]
    return parts
