"""DreamFusion as a recipe: gradients reach the field, prompts follow the camera, schedules are those of the config."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math.orbit import OrbitSampler
from jax3d.math.ramp import ramp
from jax3d.methods.dreamfusion import DreamFusion, Regularisers
from jax3d.nn.field import Voxels
from jax3d.prior.guidance import Guidance
from jax3d.prior.views import ViewWords
from jax3d.render.shade import Shading
from jax3d.scene.nerf import NeRF

TINY = DreamFusion(
    scene=NeRF(field=Voxels(resolution=8), samples=8),
    stages=((0.0, 16),),
    batch_size=2,
    steps=10,
    guidance=Guidance(views=ViewWords()),
)


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def prior(request, make_prior):
    return make_prior(prediction_type=request.param)


def guided(method: DreamFusion, **fields) -> DreamFusion:
    """The method with other fields of its guidance."""
    return dataclasses.replace(method, guidance=dataclasses.replace(method.guidance, **fields))


def gradient(method: DreamFusion, prior, step: int = 0):
    keys = jax.random.split(jax.random.key(5), 2)
    task = method.task(prior, "a red chair")
    params = task.init(jax.random.key(0))
    with jax.debug_key_reuse(True):
        value = jax.jit(jax.value_and_grad(task.loss, has_aux=True))
        (loss, metrics), grads = value(params, task.frozen, (), keys, jnp.int32(step))
    return loss, metrics, grads["field"]["grid"], task


def test_the_gradient_reaches_density_and_colour_through_the_encoder(prior):
    loss, metrics, grid, task = gradient(TINY, prior)
    chex.assert_tree_all_finite((loss, metrics, grid))
    assert float(jnp.abs(grid[..., 0]).max()) > 0 and float(jnp.abs(grid[..., 1:]).max()) > 0
    assert metrics["gradient_norm"] > 0 and 0 < metrics["opacity"] < 1
    # a longer gradient on the latents gives a proportionally longer one on the field
    doubled = gradient(guided(TINY, strength=2.0), prior)[2]
    chex.assert_trees_all_close(doubled, 2 * grid, rtol=1e-4, atol=1e-6 * float(jnp.abs(grid).max()))


def test_view_guidance_weighs_the_words_of_the_view_alone(make_prior):
    """It changes the gradient where the prompt names the view, and not where it says nothing of it."""
    prior = make_prior()

    def change(views):
        none, some = (gradient(guided(TINY, views=views, view_scale=g), prior)[2] for g in (0.0, 1e3))
        return float(jnp.abs(some - none).max() / jnp.abs(none).max())

    silent, spoken = change(ViewWords(azimuths=("",), overhead_from=90.0)), change(ViewWords())
    assert silent < 0.1 * spoken and spoken > 0.01, (silent, spoken)


def test_a_bound_on_the_gradient_holds(prior):
    free, bound = gradient(TINY, prior), gradient(guided(TINY, max_gradient=1e-3), prior)
    assert float(bound[0]) <= 0.5 * 1e-6 * 1.01 < float(free[0])


def test_the_prompt_is_that_of_the_view(make_prior):
    """With all views of one name, the gradient is that of the task whose only prompt is that name."""
    prior = make_prior()
    fixed = OrbitSampler(azimuth=(180.0, 180.0), elevation=(0.0, 0.0))
    named = dataclasses.replace(TINY, cameras=fixed)
    back = guided(named, views=ViewWords(azimuths=("back view",)))
    front = guided(named, views=ViewWords(azimuths=("front view",)))
    grids = [gradient(method, prior)[2] for method in (named, back, front)]
    chex.assert_trees_all_close(grids[0], grids[1], rtol=1e-5, atol=1e-8)
    assert not np.allclose(grids[0], grids[2], rtol=1e-3, atol=1e-8)


def test_regularisers_and_light_appear_when_the_config_has_them(make_prior):
    prior = make_prior()
    terms = Regularisers(
        orientation=ramp(0.1), opacity=ramp(0.1), entropy=ramp(0.0, 1.0), sparsity=ramp(0.1), total_variation=ramp(0.1)
    )
    lit = dataclasses.replace(TINY, regularisers=terms, shading=Shading(lit=ramp(1.0), textureless=ramp(0.5)))
    _, metrics, grid, _ = gradient(lit, prior)
    chex.assert_tree_all_finite(grid)
    assert {"orientation", "sparse_view", "entropy", "sparsity", "roughness"} <= set(metrics)
    assert float(metrics["entropy"]) == 0.0  # the ramp begins at 0
    assert float(gradient(lit, prior, step=10)[1]["entropy"]) > 0
    assert "entropy" not in gradient(TINY, prior)[1]
