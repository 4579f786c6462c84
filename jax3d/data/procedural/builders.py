"""From a spec to an object: the words become numbers, the numbers parts, the parts an object."""

import numpy as np

from jax3d.data.procedural.furniture import chair, house, lamp, mug, table
from jax3d.data.procedural.outdoors import aeroplane, car, mushroom, rocket, snowman, sword, tree
from jax3d.data.procedural.parts import RADIUS, assemble
from jax3d.data.procedural.solid import Object
from jax3d.data.procedural.spec import COLORS, WORDS, Spec

BUILDERS = {
    "chair": chair,
    "table": table,
    "lamp": lamp,
    "mug": mug,
    "car": car,
    "aeroplane": aeroplane,
    "rocket": rocket,
    "house": house,
    "tree": tree,
    "mushroom": mushroom,
    "snowman": snowman,
    "sword": sword,
}


def build(spec: Spec, rng: np.random.Generator) -> Object:
    """An object of this spec, numpy arrays; `rng` gives the variety that the words leave open."""
    words = WORDS[spec.category]
    first, second = (_proportion(spec, low_high, rng) for low_high in (words.first, words.second))
    part = COLORS[spec.part_color] if spec.part_color else None
    special = words.shape is not None and words.shape in spec.adjectives
    parts = BUILDERS[spec.category](first, second, COLORS[spec.color], part, special, rng)
    return assemble(parts, RADIUS * rng.uniform(0.94, 1.0))


def _proportion(spec: Spec, low_high: tuple[str, str], rng: np.random.Generator) -> float:
    """In [0, 0.15] for the low word, in [0.85, 1] for the high word, between 0.35 and 0.65 without a word."""
    low, high = (word in spec.adjectives for word in low_high)
    start, size = (0.0, 0.15) if low else (0.85, 0.15) if high else (0.35, 0.3)
    return start + size * rng.random()
