"""3D-native diffusion as a recipe: it learns a distribution under a condition, and samples what it has learnt."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jax3d.codec.points import PointCloud
from jax3d.data.batches import shuffled
from jax3d.methods.native import Native
from jax3d.nn.set_transformer import SetTransformer
from jax3d.train.loop import TrainConfig, train

METHOD = Native(
    codec=PointCloud(16, colors=False),
    network=SetTransformer(width=32, layers=1, heads=2),
    batch_size=16,
    warmup=20,
    sample_steps=12,
    guidance=1.0,
)


class Gaussian(nn.Module):
    """The network of the exact denoiser of N(condition, s^2) in every number: its D is EDM's c_skip x + c_out F."""

    s: float
    sigma_data: float

    @nn.compact
    def __call__(self, x, t, condition):
        sigma = jnp.exp(4 * t)[:, None, None]
        total = sigma**2 + self.sigma_data**2
        x = x * jnp.sqrt(total)  # as it was before c_in
        exact = (self.s**2 * x + sigma**2 * condition[:, None]) / (self.s**2 + sigma**2)
        return (exact - self.sigma_data**2 / total * x) * jnp.sqrt(total) / (sigma * self.sigma_data)


EXACT = dataclasses.replace(
    METHOD, network=Gaussian(0.3, METHOD.sigma_data), codec=PointCloud(500, colors=False), sample_steps=40
)


def test_sampling_gives_the_distribution_of_an_exact_network():
    means = jnp.array([[1.0, 0.0, -1.0], [0.2, 0.5, 0.0]])
    found = EXACT.sample({}, means, jax.random.split(jax.random.key(0), 2))
    np.testing.assert_allclose(found.mean(1), means, atol=0.05)
    np.testing.assert_allclose(found.std(1), 0.3, atol=0.04)


def test_guidance_goes_on_from_the_unconditional_towards_the_condition():
    mean = jnp.array([[0.5, 0.0, -0.5]])
    guided = dataclasses.replace(EXACT, guidance=2.0).sample({}, mean, jax.random.split(jax.random.key(0), 1))
    # D_u + 2 (D_c - D_u) with D linear in the mean is the denoiser of twice the mean
    np.testing.assert_allclose(guided.mean(1), 2 * mean, atol=0.06)


def test_an_example_depends_on_its_key_alone():
    keys, none = jax.random.split(jax.random.key(0), 3), jnp.zeros((3, 3))
    together = EXACT.sample({}, none, keys)
    chex.assert_trees_all_close(EXACT.sample({}, none[:1], keys[2:])[0], together[2], atol=1e-5)
    assert jnp.abs(together[0] - together[1]).max() > 0.1


@pytest.fixture(scope="module")
def trained():
    """Clouds of one point repeated, at x = +0.5 for class 0 and at x = -0.5 for class 1."""
    which = np.arange(64) % 2
    points = np.zeros((64, 32, 3)) + np.array([0.5, 0.0, 0.0]) * (1 - 2 * which)[:, None, None]
    _, kept = METHOD.codec.encode({"points": points})
    task = METHOD.task(
        shuffled({"kept": kept, "condition": np.eye(2)[which][:, None].astype(np.float16)}, 16, seed=0), 300
    )
    return train(task, TrainConfig(steps=300, progress=False, ema_decay=0.98)).averaged


@pytest.mark.parametrize("condition, mean", [((1.0, 0.0), 0.5), ((0.0, 1.0), -0.5)])
def test_training_learns_what_the_condition_says(trained, condition, mean):
    condition = jnp.tile(jnp.array(condition), (4, 1))
    found = METHOD.sample(trained, condition, jax.random.split(jax.random.key(1), 4))
    np.testing.assert_allclose(found.mean((0, 1)), (mean, 0, 0), atol=0.15)


def test_dropping_the_condition_trains_the_unconditional_model(trained):
    found = METHOD.sample(trained, jnp.zeros((16, 2)), jax.random.split(jax.random.key(2), 16)).mean((1, 2))
    assert float(found.max()) > 0 > float(found.min())


def test_one_wording_of_each_example_is_told_now_this_now_that():
    """The loss moves with the numbers that are told, and with no others."""
    kept, condition = jnp.zeros((32, 500, 3)), jax.random.normal(jax.random.key(0), (32, 2, 3))
    task = dataclasses.replace(EXACT, dropout=0.3).task(lambda step: {"kept": kept, "condition": condition}, 2)
    keys = jax.random.split(jax.random.key(1), 32)
    batch = lambda condition: {"kept": kept, "condition": condition}  # noqa: E731
    slopes = jax.grad(lambda condition: task.loss({}, (), batch(condition), keys, jnp.int32(0))[0])(condition)
    told = jnp.abs(slopes).max(-1) > 0
    assert told.sum(1).max() == 1 and told[:, 0].sum() > 5 and told[:, 1].sum() > 5
    assert 3 < (~told.any(1)).sum() < 17  # dropped
