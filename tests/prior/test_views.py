"""The words of a view, against the phrases that the bundled model was trained on."""

import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.data.procedural import view_phrase
from jax3d.methods.dreamfusion import DreamFusion
from jax3d.prior.views import ViewWords


def test_the_default_words_are_those_of_the_bundled_models_captions():
    words = DreamFusion().guidance.views
    prompts = words.prompts("a chair")
    rng = np.random.default_rng(0)
    for azimuth, elevation in zip(rng.uniform(0, 360, 200), rng.uniform(-15, 85, 200), strict=True):
        index = words.index(jnp.deg2rad(azimuth), jnp.deg2rad(elevation))
        assert prompts[int(index)] == f"a chair, {view_phrase(azimuth, elevation)}"


def test_published_words_are_front_side_back_and_overhead():
    words = ViewWords()
    prompts = words.prompts("a dog")
    views = {
        (10, 0): "front",
        (95, 0): "side",
        (180, 30): "back",
        (265, 0): "side",
        (350, 59): "front",
        (120, 75): "overhead",
    }
    for (azimuth, elevation), name in views.items():
        index = words.index(jnp.deg2rad(float(azimuth)), jnp.deg2rad(float(elevation)))
        assert prompts[int(index)] == f"a dog, {name} view"


def test_indices_are_batched_and_in_range():
    words = DreamFusion().guidance.views
    azimuth, elevation = jnp.meshgrid(jnp.linspace(0, 6.2831, 50), jnp.linspace(-1.5, 1.57, 20))
    index = words.index(azimuth, elevation)
    assert index.shape == azimuth.shape and 0 <= int(index.min()) and int(index.max()) < len(words.prompts("x"))


def test_bands_and_limits_must_fit():
    with pytest.raises(ValueError, match="2 elevation bands need 1 limits"):
        ViewWords(bands=("low", "high"))
