"""Guidance of renders by a text-to-image model: the words follow the camera, weights weigh, bounds hold."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math.orbit import OrbitSampler
from jax3d.prior.guidance import Guidance, enlarged
from jax3d.prior.views import ViewWords

PLAIN, ANYWHERE = Guidance(views=ViewWords()), OrbitSampler()


@pytest.fixture(scope="module")
def prior(make_prior):
    return make_prior()


def gradient(prior, guidance: Guidance, cameras: OrbitSampler = ANYWHERE):
    """(loss, gradient on two grey pictures)."""
    view = jax.vmap(cameras)(jax.random.split(jax.random.key(1), 2))
    frozen, keys = guidance.frozen(prior, "a red chair"), jax.random.split(jax.random.key(5), 2)

    @jax.jit
    def value(frozen, image):
        loss = lambda image: guidance.loss(prior, frozen, image, view, keys, 0.5)  # noqa: E731
        return jax.value_and_grad(loss, has_aux=True)(image)

    image = jnp.full((2, prior.resolution, prior.resolution, 3), 0.4)
    (loss, metrics), pull = value(frozen, image)
    chex.assert_tree_all_finite((loss, metrics, pull))
    return loss, pull


def test_the_words_of_the_view_are_weighed_where_there_are_any(prior):
    silent = ViewWords(azimuths=("",), overhead_from=90.0)

    def change(views):
        some, none = (gradient(prior, Guidance(views=views, view_scale=weight))[1] for weight in (1e3, 1e-3))
        return float(jnp.abs(some - none).max() / jnp.abs(none).max())

    unsaid, said = change(silent), change(ViewWords())
    assert unsaid < 0.1 * said and said > 0.01, (unsaid, said)


def test_strength_scales_and_a_bound_holds(prior):
    loss, pull = gradient(prior, PLAIN)
    chex.assert_trees_all_close(gradient(prior, dataclasses.replace(PLAIN, strength=2.0))[1], 2 * pull, rtol=1e-4)
    bound, _ = gradient(prior, dataclasses.replace(PLAIN, max_gradient=1e-3))
    assert float(bound) <= 0.5 * 1e-6 * 1.01 < float(loss)


def test_the_prompt_is_that_of_the_view(prior):
    """With all views of one name, the gradient is that of the guidance whose only prompt is that name."""
    behind = OrbitSampler(azimuth=(180.0, 180.0), elevation=(0.0, 0.0))
    named = [ViewWords(), ViewWords(azimuths=("back view",)), ViewWords(azimuths=("front view",))]
    pulls = [gradient(prior, Guidance(views=words), behind)[1] for words in named]
    chex.assert_trees_all_close(pulls[0], pulls[1], rtol=1e-4, atol=3e-5)
    assert not np.allclose(pulls[0], pulls[2], rtol=1e-3, atol=1e-8)


def test_pictures_are_brought_to_the_models_size():
    image = jnp.linspace(0, 1, 64).reshape(1, 8, 8, 1) * jnp.ones(3)
    assert enlarged(image, 8) is image
    assert enlarged(image, 16).shape == (1, 16, 16, 3)
    half = enlarged(image, 4)  # averaged
    assert float(jnp.abs(half.mean() - image.mean())) < 1e-3
