"""What an object of the procedural world is, in words: its category, colours and proportions, and its caption.

Two colours of each category are held out: they are never the main colour of a training object, and each colour is held
out of two or three categories. The view is told in words too, sixteen azimuths by four elevations: with three words for
the side a distilled chair grows a backrest on every side.
"""

import dataclasses
import re
from collections.abc import Sequence
from numbers import Real

import numpy as np

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.08, 0.08),
    "orange": (1.00, 0.48, 0.02),
    "yellow": (1.00, 0.86, 0.08),
    "green": (0.12, 0.62, 0.18),
    "blue": (0.10, 0.28, 0.88),
    "purple": (0.50, 0.14, 0.70),
    "pink": (1.00, 0.56, 0.74),
    "brown": (0.38, 0.21, 0.10),
    "white": (0.97, 0.97, 0.97),
    "black": (0.11, 0.11, 0.12),
}


@dataclasses.dataclass(frozen=True)
class Words:
    """The words that describe a category."""

    part: str
    """The part that may have a colour of its own."""
    first: tuple[str, str]
    """Low and high end of the first proportion."""
    second: tuple[str, str]
    """Low and high end of the second proportion."""
    shape: str | None = None
    """A word for a different build, where there is one."""


WORDS: dict[str, Words] = {
    "chair": Words("legs", ("low", "tall"), ("narrow", "wide")),
    "table": Words("legs", ("low", "tall"), ("narrow", "wide"), "round"),
    "lamp": Words("base", ("short", "tall"), ("narrow", "wide")),
    "mug": Words("handle", ("short", "tall"), ("narrow", "wide")),
    "car": Words("roof", ("short", "long"), ("low", "tall")),
    "aeroplane": Words("wings", ("short", "long"), ("narrow", "wide")),
    "rocket": Words("fins", ("short", "tall"), ("thin", "thick")),
    "house": Words("roof", ("low", "tall"), ("narrow", "wide")),
    "tree": Words("trunk", ("short", "tall"), ("narrow", "wide"), "pointed"),
    "mushroom": Words("stem", ("short", "tall"), ("narrow", "wide")),
    "snowman": Words("hat", ("short", "tall"), ("thin", "thick")),
    "sword": Words("hilt", ("short", "long"), ("thin", "wide")),
}
CATEGORIES: tuple[str, ...] = tuple(WORDS)

_names = tuple(COLORS)
HELD_OUT: frozenset[tuple[str, str]] = frozenset(
    (category, _names[(7 * k + shift) % 10]) for k, category in enumerate(CATEGORIES) for shift in (4, 9)
)


@dataclasses.dataclass(frozen=True)
class Spec:
    """An object up to its small random variety."""

    category: str
    color: str
    part_color: str | None = None
    """Colour of the category's named part; None = the category's own choice."""
    adjectives: Sequence[str] = ()
    """Some of the category's words for proportions and build."""

    def __post_init__(self):
        object.__setattr__(self, "adjectives", tuple(self.adjectives))  # JSON gives a list
        if self.category not in WORDS:
            raise ValueError(f"a category is one of {', '.join(CATEGORIES)}; got {self.category!r}.")
        for color in (self.color, self.part_color or self.color):
            if color not in COLORS:
                raise ValueError(f"a colour is one of {', '.join(COLORS)}; got {color!r}.")
        words = WORDS[self.category]
        allowed = [*words.first, *words.second, *filter(None, [words.shape])]
        if wrong := set(self.adjectives) - set(allowed):
            raise ValueError(f"a {self.category} can be {', '.join(allowed)}; got {', '.join(sorted(wrong))}.")


def sample_spec(rng: np.random.Generator, held_out: bool | None = False) -> Spec:
    """A random spec: of the training set, of the held-out pairs (True), or of both (None)."""
    while True:
        category, color = CATEGORIES[rng.integers(len(CATEGORIES))], _names[rng.integers(len(_names))]
        if held_out is None or ((category, color) in HELD_OUT) == held_out:
            break
    words = WORDS[category]
    part_color = _names[rng.integers(len(_names))] if rng.random() < 0.5 else None
    adjectives = []
    for low_high in (words.first, words.second):
        draw = rng.random()
        if draw < 0.5:
            adjectives.append(low_high[int(draw < 0.25)])
    if words.shape and rng.random() < 0.3:
        adjectives.append(words.shape)
    return Spec(category, color, None if part_color == color else part_color, tuple(adjectives))


def caption(spec: Spec, rng: np.random.Generator | None = None) -> str:
    """ "a tall red chair with green legs"; with `rng`, each detail may be left out."""
    keep = (lambda probability: True) if rng is None else (lambda probability: rng.random() < probability)
    text = named(*[adjective for adjective in spec.adjectives if keep(0.75)], spec.color, spec.category)
    if spec.part_color is not None and keep(0.85):
        text += f" with {article(spec)}{spec.part_color} {WORDS[spec.category].part}"
    return text


def named(*words: str) -> str:
    """The words after their article: "an orange chair"."""
    return f"{'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)}"


def article(spec: Spec) -> str:
    """The article before the colour of the part: none before a plural."""
    plural = WORDS[spec.category].part in ("legs", "wings", "fins")
    return "" if plural else "an " if (spec.part_color or "")[:1] in ("o",) else "a "


AZIMUTHS: tuple[str, ...] = (
    "front view",
    "front view slightly left",
    "front left view",
    "left view slightly front",
    "left view",
    "left view slightly back",
    "back left view",
    "back view slightly left",
    "back view",
    "back view slightly right",
    "back right view",
    "right view slightly back",
    "right view",
    "right view slightly front",
    "front right view",
    "front view slightly right",
)
"""Phrases of the sectors of 22.5 degrees, the first centred at azimuth 0, then counter-clockwise seen from above."""
ELEVATIONS: tuple[str, ...] = ("from below", "at eye level", "from above", "from high above")
ELEVATION_LIMITS: tuple[float, ...] = (0.0, 20.0, 45.0)
"""Degrees between the phrases of ELEVATIONS."""


def view_phrase(azimuth: Real, elevation: Real) -> str:
    """ "front left view, from above": where a camera at these angles (degrees) stands."""
    sector = round(azimuth / 22.5) % 16
    return f"{AZIMUTHS[sector]}, {ELEVATIONS[sum(elevation >= limit for limit in ELEVATION_LIMITS)]}"


def vocabulary() -> frozenset[str]:
    """All words of all captions, and the comma."""
    described = [w for words in WORDS.values() for w in (words.part, *words.first, *words.second, words.shape or "")]
    texts = [*CATEGORIES, *COLORS, *described, *AZIMUTHS, *ELEVATIONS, "a an with ,"]
    return frozenset(re.findall(r"\w+|,", " ".join(texts)))
