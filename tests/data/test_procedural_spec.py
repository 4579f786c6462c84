"""Words of the procedural world: the split, captions, view phrases, colours."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from jax3d.data import procedural
from jax3d.data.pictures import full_caption
from jax3d.data.procedural import (
    CATEGORIES,
    COLORS,
    HELD_OUT,
    WORDS,
    Spec,
    caption,
    sample_spec,
    view_phrase,
    vocabulary,
)


def test_the_split_is_balanced():
    assert len(CATEGORIES) >= 12 and len(COLORS) == 10
    assert set(Counter(category for category, _ in HELD_OUT).values()) == {2}
    assert set(Counter(color for _, color in HELD_OUT).values()) <= {2, 3} and len({c for _, c in HELD_OUT}) == 10
    assert ("chair", "red") not in HELD_OUT


def test_samples_respect_the_split_and_cover_it():
    rng = np.random.default_rng(0)
    train = {(s.category, s.color) for s in (sample_spec(rng) for _ in range(3000))}
    held_out = {(s.category, s.color) for s in (sample_spec(rng, True) for _ in range(1000))}
    assert held_out == HELD_OUT and not train & HELD_OUT
    assert len(train) == len(CATEGORIES) * len(COLORS) - len(HELD_OUT)


def test_captions_say_what_is_there_and_nothing_else():
    rng = np.random.default_rng(1)
    for _ in range(500):
        spec = sample_spec(rng, None)
        part = [spec.part_color, WORDS[spec.category].part] if spec.part_color else []
        expected = {*spec.adjectives, spec.color, spec.category, *part}
        words = set(caption(spec).split()) - {"a", "an", "with"}
        assert words == expected
        short = caption(spec, rng)
        assert set(short.split()) - {"a", "an", "with"} <= expected
        assert {spec.category, spec.color} <= set(short.split())


def test_captions_read_well():
    assert caption(Spec("chair", "red", "green", ("tall",))) == "a tall red chair with green legs"
    assert caption(Spec("table", "orange")) == "an orange table"
    assert caption(Spec("mug", "blue", "orange")) == "a blue mug with an orange handle"
    assert full_caption(Spec("car", "red"), 90, 10) == "a red car, left view, at eye level"


def test_the_vocabulary_holds_every_word():
    rng, words = np.random.default_rng(2), vocabulary()
    for _ in range(500):
        text = full_caption(sample_spec(rng, None), rng.uniform(-360, 720), rng.uniform(-30, 90), rng)
        assert set(text.replace(",", " ,").split()) <= words


@pytest.mark.parametrize("turn", [0, 360, -360])
def test_view_phrases(turn):
    for azimuth, phrase in {
        0: "front view",
        22.5: "front view slightly left",
        90: "left view",
        180: "back view",
    }.items():
        for nudge in (-11, 0, 11):
            assert view_phrase(azimuth + turn + nudge, 10) == f"{phrase}, at eye level"
    for azimuth in np.arange(0, 181, 22.5):  # the right side mirrors the left
        left = view_phrase(azimuth, 30)
        assert view_phrase(turn - azimuth, 30) == left.replace("left", "right")
    assert [view_phrase(0, e).split(", ")[1] for e in (-5, 0, 19, 21, 44, 46)] == [
        "from below", "at eye level", "at eye level", "from above", "from above", "from high above"
    ]  # fmt: skip


def test_colours_stay_distinct_under_shading():
    """No shade of one colour, 0.6 .. 1 of it, comes near a shade of another."""
    shades = np.linspace(0.6, 1.0, 41)
    for (a, x), (b, y) in combinations(COLORS.items(), 2):
        gap = np.linalg.norm(np.multiply.outer(shades, x)[:, None] - np.multiply.outer(shades, y)[None], axis=-1).min()
        assert gap > 0.12, (a, b, gap)


def test_the_same_seed_gives_the_same_world():
    def world():
        rng = np.random.default_rng(7)
        return [procedural.build(sample_spec(rng), rng) for _ in range(20)]

    a, b = procedural.stack(world()), procedural.stack(world())
    for kind in ("blocks", "cones", "rings", "domes"):
        np.testing.assert_array_equal(getattr(a, kind).centre, getattr(b, kind).centre)


@pytest.mark.parametrize(
    "wrong", [("sofa", "red"), ("chair", "beige"), ("chair", "red", "beige"), ("chair", "red", None, ("thin",))]
)
def test_unknown_words_are_refused_with_the_right_ones(wrong):
    with pytest.raises(ValueError, match="tall|chair|red"):
        Spec(*wrong)
