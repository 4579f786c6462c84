"""DreamFusion as a recipe: gradients reach the field, prompts follow the camera, schedules are those of the config."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import pytest

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


@pytest.fixture(scope="module")
def prior(make_prior):
    return make_prior(prediction_type="v_prediction")


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
