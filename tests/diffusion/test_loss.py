"""Losses: each weight is the squared error of its network; noise levels follow their laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chex import assert_trees_all_close

from jax3d.diffusion import loss
from jax3d.diffusion.denoiser import edm, expand, from_eps, from_v, from_x0
from jax3d.diffusion.schedule import scaled_linear

SCHEDULE = scaled_linear()
SIGMA = jnp.array([0.05, 0.7, 12.0])


def examples():
    return [jnp.asarray(a, float) for a in np.random.default_rng(0).normal(size=(3, 3, 4, 2))]


@pytest.mark.parametrize(
    "border, weight, target",
    [
        (from_eps, loss.eps_weight, lambda x0, n, s: n),
        (from_v, loss.v_weight, lambda x0, n, s: (n - s * x0) / jnp.sqrt(1 + s**2)),
        (from_x0, loss.x0_weight, lambda x0, n, s: x0),
    ],
)
def test_weights_are_squared_errors_of_predictions(double, border, weight, target):
    x0, noise, output = examples()
    sigma = SIGMA.astype(float)
    got = loss.denoising_loss(border(lambda z, t: output, SCHEDULE), x0, sigma, noise, weight(sigma))
    assert_trees_all_close(got, jnp.mean((output - target(x0, noise, expand(sigma, x0))) ** 2), rtol=1e-11)


def test_edm_weight(double):
    x0, noise, output = examples()
    sigma, data = SIGMA.astype(float), 0.5
    s = expand(sigma, x0)
    skip, out = data**2 / (s**2 + data**2), s * data / jnp.sqrt(s**2 + data**2)
    target = (x0 - skip * (x0 + s * noise)) / out
    got = loss.denoising_loss(edm(lambda z, c: output, data), x0, sigma, noise, loss.edm_weight(sigma, data))
    assert_trees_all_close(got, jnp.mean((output - target) ** 2), rtol=1e-11)
    assert_trees_all_close(loss.v_weight(sigma), loss.edm_weight(sigma, 1.0), rtol=1e-12)


def test_min_snr():
    sigma = jnp.array([0.01, 5**-0.5, 2.0])
    assert_trees_all_close(loss.min_snr_weight(sigma, 5.0), jnp.array([5.0, 5.0, 0.25]), rtol=1e-5)


def test_examples_are_averaged(gaussian):
    x0, noise, _ = examples()
    weight = jnp.array([1.0, 2.0, 5.0])
    each = [
        loss.denoising_loss(gaussian, x0[i : i + 1], SIGMA[i : i + 1], noise[i : i + 1], weight[i]) for i in range(3)
    ]
    assert_trees_all_close(
        loss.denoising_loss(gaussian, x0, SIGMA, noise, weight), jnp.mean(jnp.stack(each)), rtol=1e-5
    )


def test_the_exact_denoiser_has_the_least_loss(gaussian):
    """E|D - x0|^2 is least at the posterior mean, where it is the posterior variance c^2 s^2 / (c^2 + s^2)."""
    keys = jax.random.split(jax.random.key(1), 2)
    x0, noise = 0.7 + 0.5 * jax.random.normal(keys[0], (4096, 16)), jax.random.normal(keys[1], (4096, 16))
    best = loss.denoising_loss(gaussian, x0, jnp.array(0.8), noise)
    assert best == pytest.approx(0.25 * 0.64 / 0.89, rel=0.02)
    for shift in (-0.1, 0.1):
        assert loss.denoising_loss(lambda x, s, d=shift: gaussian(x, s) + d, x0, jnp.array(0.8), noise) > best


def test_noise_levels_follow_their_laws():
    keys = jax.random.split(jax.random.key(0), 4000)
    quantiles = jnp.linspace(0.1, 0.9, 5)
    times = SCHEDULE.time(loss.uniform_time(keys, SCHEDULE, 0.2, 0.6))
    assert_trees_all_close(jnp.quantile(times / 999, quantiles), 0.2 + 0.4 * quantiles, atol=0.02)
    log = jnp.log(loss.log_uniform(keys, 0.01, 10.0)) / jnp.log(10.0)
    assert_trees_all_close(jnp.quantile(log, quantiles), -2 + 3 * quantiles, atol=0.1)
    log = jnp.log(loss.log_normal(keys))
    assert jnp.mean(log) == pytest.approx(-1.2, abs=0.06) and jnp.std(log) == pytest.approx(1.2, abs=0.05)


def test_integer_times_cover_the_table():
    keys = jax.random.split(jax.random.key(0), 4000)
    times = SCHEDULE.time(loss.uniform_time(keys, SCHEDULE, integer=True))
    np.testing.assert_array_equal(times, jnp.round(times))
    assert jnp.min(times) < 5 and jnp.max(times) > 994 and jnp.mean(times) == pytest.approx(499.5, abs=15)


def test_numbers_belong_to_the_example():
    keys = jax.random.split(jax.random.key(0), 4)
    x = jnp.zeros((4, 3, 2))
    assert_trees_all_close(loss.noise_like(keys, x)[1:], loss.noise_like(keys[1:], x[1:]))
    assert_trees_all_close(loss.log_normal(keys)[3], loss.log_normal(keys[3]), rtol=1e-6)
    with jax.debug_key_reuse(True):
        jax.jit(lambda key: loss.uniform_time(key, SCHEDULE, 0.1, 0.9))(jax.random.split(jax.random.key(1), 2))
