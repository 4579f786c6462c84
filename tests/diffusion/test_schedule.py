"""Schedules: definitions against slow loops, sigma and time inverse to each other, published grids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chex import assert_trees_all_close

from jax3d.diffusion import schedule as s
from jax3d.diffusion.schedule import Schedule, cosine, karras, linear, scaled_linear, zero_terminal_snr

ALL = [linear(), scaled_linear(), cosine(), zero_terminal_snr(scaled_linear()), linear(1e-3, 0.2, count=64)]


def abar_by_loop(beta, count=1000):
    product, out = 1.0, []
    for t in range(count):
        product *= 1 - beta(t)
        out.append(product)
    return np.array(out)


def test_tables_against_their_laws():
    assert_trees_all_close(linear().abar, abar_by_loop(lambda t: 1e-4 + t / 999 * (2e-2 - 1e-4)), rtol=1e-12)
    root = lambda t: 0.00085**0.5 + t / 999 * (0.012**0.5 - 0.00085**0.5)  # noqa: E731
    assert_trees_all_close(scaled_linear().abar, abar_by_loop(lambda t: root(t) ** 2), rtol=1e-12)
    # The cap touches only the last step: before it the product telescopes to the cosine itself.
    law = np.cos((np.arange(1, 1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    assert_trees_all_close(cosine().abar[:-1], law[:-1], rtol=1e-9)
    assert cosine().betas[-1] == pytest.approx(0.999, abs=1e-9)


def test_stable_diffusion_has_the_published_ends():
    # abar[-1] of stabilityai/stable-diffusion: 0.0046601; sigma_max 14.6146 and sigma_min 0.0292 in k-diffusion.
    sigmas = scaled_linear().sigmas
    assert sigmas[-1] == pytest.approx(14.6146, abs=1e-4) and sigmas[0] == pytest.approx(0.029167, abs=1e-6)


def test_betas_give_back_the_schedule():
    for schedule in ALL[:3]:
        assert_trees_all_close(s.from_betas(schedule.betas).sigmas, schedule.sigmas, rtol=1e-9)


def test_zero_terminal_snr():
    before, after = scaled_linear(), zero_terminal_snr(scaled_linear(), max_sigma=1e9)
    root, moved = np.sqrt(before.abar), np.sqrt(after.abar)
    assert moved[0] == pytest.approx(root[0], rel=1e-12) and moved[-1] < 2e-9
    ratio = (moved[:-1] - moved[1:]) / (root[:-1] - root[1:])  # the map of sqrt(abar) is affine
    assert np.ptp(ratio[:-1]) < 1e-9
    with pytest.raises(ValueError, match="max_sigma must exceed"):
        zero_terminal_snr(before, max_sigma=10.0)


@pytest.mark.parametrize("schedule", ALL)
def test_time_and_sigma_are_inverse(double, schedule):
    t = jnp.linspace(0, schedule.last, 2347)
    assert_trees_all_close(schedule.time(schedule.sigma(t)), t, atol=1e-9)
    sigma = jnp.exp(jnp.linspace(np.log(schedule.sigmas[0]), np.log(schedule.sigmas[-1]), 2347))
    assert_trees_all_close(schedule.sigma(schedule.time(sigma)), sigma, rtol=1e-12)
    assert jnp.all(jnp.diff(schedule.time(sigma)) > 0)


@pytest.mark.parametrize("schedule", ALL[:3])
def test_float32_gives_whole_times_exactly(schedule):
    t = np.arange(schedule.last + 1)
    np.testing.assert_array_equal(schedule.time(jnp.asarray(schedule.sigmas, jnp.float32)), t)
    np.testing.assert_array_equal(schedule.time(schedule.sigma(t)), t)


def test_beyond_the_ends_and_low_precision():
    schedule = scaled_linear()
    assert schedule.time(0.0) == 0 and schedule.time(1e6) == 999
    assert schedule.sigma(-5.0) == schedule.sigma(0) and schedule.sigma(2000) == schedule.sigma(999)
    assert schedule.sigma(jnp.bfloat16(500)).dtype == jnp.float32
    assert jnp.isfinite(jax.grad(schedule.sigma)(500.5)) and jnp.isfinite(jax.grad(schedule.time)(0.0))


def test_karras():
    grid = karras(18, 0.002, 80.0)
    assert grid[0] == pytest.approx(80) and grid[-1] == pytest.approx(0.002)
    assert_trees_all_close(np.diff(grid ** (1 / 7)), np.full(17, (0.002 ** (1 / 7) - 80 ** (1 / 7)) / 17), rtol=1e-9)
    assert_trees_all_close(karras(5, 1.0, 3.0, rho=1.0), np.array([3, 2.5, 2, 1.5, 1.0]), rtol=1e-12)
    with pytest.raises(ValueError, match="0 < sigma_min < sigma_max"):
        karras(5, 3.0, 1.0)


def test_spacings():
    np.testing.assert_array_equal(s.leading(1000, 4), [750, 500, 250, 0])
    np.testing.assert_array_equal(s.trailing(1000, 4), [999, 749, 499, 249])
    np.testing.assert_array_equal(s.linspace(1000, 4), [999, 666, 333, 0])
    for spacing in (s.leading, s.trailing, s.linspace):
        for steps in (1, 7, 30, 1000):
            times = spacing(1000, steps)
            assert times.shape == (steps,) and np.all(np.diff(times) < 0) and 0 <= times[-1] <= times[0] <= 999
    with pytest.raises(ValueError, match="steps must be from 1 to 1000, got 1001"):
        s.leading(1000, 1001)


def test_initial_noise_fills_the_network_input():
    keys = jax.random.split(jax.random.key(0), 4)
    x = s.initial(keys, (4, 64, 64), 14.6)
    assert jnp.std(x) / jnp.sqrt(1 + 14.6**2) == pytest.approx(1, abs=0.02)
    assert_trees_all_close(x[2:3], s.initial(keys[2:3], (1, 64, 64), 14.6), rtol=1e-6)


def test_bad_tables():
    with pytest.raises(ValueError, match="positive and increase"):
        Schedule(np.array([1.0, 1.0]))
    with pytest.raises(ValueError, match="finite"):
        Schedule(np.array([1.0, np.inf]))
    with pytest.raises(ValueError, match="between 0 and 1"):
        linear(1e-4, 1.5)
