"""Samplers: orders of convergence and variances on the exact Gaussian denoiser; equality with the textbook forms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chex import assert_tree_all_finite, assert_trees_all_close

from jax3d.diffusion import sampler as s
from jax3d.diffusion.sampler import sample
from jax3d.diffusion.schedule import karras, levels, scaled_linear, trailing

STOCHASTIC = [s.ddpm(), s.ddpm(large=True), s.ddim(0.5), s.euler_ancestral(), s.heun(20.0), s.dpmpp_2m(1.0)]
DETERMINISTIC = [s.euler(), s.ddim(), s.heun(), s.dpmpp_2m(), s.dpmpp_2m(trapezoid=True), s.dpmpp_3m(), s.plms()]
SCHEDULE = scaled_linear()


@pytest.mark.parametrize(
    "sampler, order",
    [(s.euler(), 1), (s.ddim(), 1), (s.heun(), 2), (s.dpmpp_2m(), 2), (s.dpmpp_2m(trapezoid=True), 2)],
)
def test_order_of_convergence(double, gaussian, flow, sampler, order):
    x = jnp.array([[3.0, -2.0]])

    def error(steps):
        grid = np.geomspace(10.0, 0.1, steps + 1)
        return jnp.max(jnp.abs(sample(sampler, gaussian, x, grid) - flow(x, 10.0, 0.1)))

    assert jnp.log2(error(80) / error(160)) == pytest.approx(order, abs=0.1)


def test_plms_is_of_third_order_at_least_on_even_levels(double, gaussian, flow):
    """Its steps are of fourth order, but for the first three of a run, whose share of the error is small here."""
    x = jnp.array([[3.0, -2.0]])

    def error(steps):
        return jnp.max(jnp.abs(sample(s.plms(), gaussian, x, np.linspace(3.0, 1.0, steps + 1)) - flow(x, 3.0, 1.0)))

    assert 2.9 < jnp.log2(error(40) / error(80)) < 4.1


@pytest.mark.parametrize("bend", [0.0, 0.4])
def test_dpmpp_3m_is_exact_where_x0_is_a_line(double, bend):
    """With l = -log sigma, dx/dl = x0 - x; for x0 = p(l) of degree 2 that is x = p - p' + p'' + C exp(-l).

    The published rule takes half of a parabola's second derivative, and so misses by the other half.
    """
    x0 = np.polynomial.Polynomial([0.3, -0.7, bend])
    x = lambda sigma: (x0 - x0.deriv() + bend * 2)(-np.log(sigma)) + 2.0 * sigma  # noqa: E731
    grid = np.array([5.0, 3.5, 1.5, 1.0, 0.4])
    sampler = s.dpmpp_3m()
    state = sampler.init(jnp.zeros(1))
    for before, after in zip(grid, grid[1:], strict=False):
        move = s.Move(jnp.asarray(before), jnp.asarray(after), None, 20)
        got, state = sampler.step(lambda _, sigma: x0(-jnp.log(sigma))[None], jnp.array([x(before)]), state, move)
        h = np.log(before / after)
        missed = bend * (h**2 / 2 - h + 1 - after / before)
        assert (abs(got[0] - x(after) + missed) < 1e-12) == (before < 3)  # the first two steps are of lower order


@pytest.mark.parametrize("sampler", STOCHASTIC[:1] + STOCHASTIC[2:])
def test_samples_have_the_spread_of_the_data(gaussian, sampler):
    """From noise at sigma = 80 to data N(0.7, 0.5^2): 16384 samples tell the deviation to 0.6 %."""
    keys = jax.random.split(jax.random.key(0))
    grid = np.append(karras(500, 0.01, 80.0), 0.0)
    x = jax.jit(partial(sample, sampler, gaussian, sigmas=grid))(
        80.0 * jax.random.normal(keys[0], (16384, 1)), key=keys[1]
    )
    assert jnp.mean(x) == pytest.approx(0.7, abs=0.03) and jnp.std(x) == pytest.approx(0.5, rel=0.025)


def vp_step(x0, z, t, t_next, eta, noise):
    """DDIM as printed (arXiv 2010.02502, eq. 12 and 16): in z, with abar."""
    abar, abar_next = SCHEDULE.abar[t], SCHEDULE.abar[t_next]
    eps = (z - np.sqrt(abar) * x0) / np.sqrt(1 - abar)
    std = eta * np.sqrt((1 - abar_next) / (1 - abar)) * np.sqrt(1 - abar / abar_next)
    return np.sqrt(abar_next) * x0 + np.sqrt(1 - abar_next - std**2) * eps + std * noise


def one_step(sampler, z, x0, t, t_next, noise):
    sigmas = jnp.asarray(SCHEDULE.sigmas)[jnp.array([t, t_next])]
    x = sample(sampler, lambda x, sigma: x0, z * jnp.sqrt(1 + sigmas[0] ** 2), sigmas, noise=noise[None])
    return x / jnp.sqrt(1 + sigmas[1] ** 2)


@pytest.mark.parametrize("t, t_next", [(999, 949), (500, 400), (20, 0)])
def test_textbook_forms(double, t, t_next):
    z, x0, noise = (jnp.asarray(a, float) for a in np.random.default_rng(t).normal(size=(3, 2, 3)))
    step = partial(one_step, z=z, x0=x0, t=t, t_next=t_next, noise=noise)
    for sampler, eta in ((s.euler(), 0), (s.ddim(), 0), (s.ddim(0.3), 0.3), (s.euler_ancestral(), 1), (s.ddpm(), 1)):
        assert_trees_all_close(step(sampler), vp_step(x0, z, t, t_next, eta, noise), atol=1e-12)

    # The posterior of arXiv 2006.11239, eq. 7, for a step over several times
    abar, before = SCHEDULE.abar[t], SCHEDULE.abar[t_next]
    beta = 1 - abar / before
    mean = (np.sqrt(before) * beta * x0 + np.sqrt(1 - beta) * (1 - before) * z) / (1 - abar)
    assert_trees_all_close(step(s.ddpm()), mean + np.sqrt((1 - before) / (1 - abar) * beta) * noise, atol=1e-12)
    assert_trees_all_close(step(s.ddpm(large=True)), mean + np.sqrt(beta) * noise, atol=1e-12)


def test_noiseless_limits_agree(double, gaussian):
    """DDIM is Euler; the stochastic DPM-Solver++ of no noise is the other; Heun of no churn is the other."""
    x = jnp.array([[3.0, -2.0]])
    grid = np.append(levels(SCHEDULE, trailing(1000, 7)), 0.0)
    assert_trees_all_close(sample(s.ddim(), gaussian, x, grid), sample(s.euler(), gaussian, x, grid), atol=1e-12)
    quiet = jnp.zeros((7, *x.shape))
    for noisy, plain in ((s.ddim(1e-9), s.euler()), (s.dpmpp_2m(1e-9), s.dpmpp_2m()), (s.heun(1e-9), s.heun())):
        assert_trees_all_close(
            sample(noisy, gaussian, x, grid, noise=quiet), sample(plain, gaussian, x, grid), rtol=1e-7
        )


def test_churn_happens_only_inside_its_interval(double, gaussian):
    x = jnp.array([[3.0, -2.0]])
    grid = np.geomspace(10.0, 0.1, 9)
    noise = jnp.ones((8, *x.shape))
    plain = sample(s.heun(), gaussian, x, grid)
    outside = sample(s.heun(5.0, churn_min=20.0), gaussian, x, grid, noise=noise)
    inside = sample(s.heun(5.0, churn_min=0.5, churn_max=2.0), gaussian, x, grid, noise=noise)
    assert_trees_all_close(outside, plain)
    assert jnp.max(jnp.abs(inside - plain)) > 1e-3


def test_two_evaluations_a_step_and_one_at_the_end():
    """Heun is exact where x0 does not change; its last step to 0 returns the denoiser's word."""
    x = jnp.full((2, 3), 9.0)
    for sampler in DETERMINISTIC:
        assert_trees_all_close(sample(sampler, lambda x, sigma: 0 * x + 2, x, np.array([3.0, 1.0, 0.0])), 0 * x + 2)


@pytest.mark.parametrize("sampler", STOCHASTIC + DETERMINISTIC)
def test_ends_at_zero_in_every_precision(gaussian, sampler):
    grid, noise = np.array([14.6, 3.0, 0.5, 0.0]), np.random.default_rng(0).normal(size=(3, 2, 3))
    want = sample(sampler, gaussian, jnp.full((2, 3), 14.6), grid, noise=jnp.asarray(noise, jnp.float32))
    assert_tree_all_finite(want)
    for dtype in (jnp.bfloat16, jnp.float16):
        x = sample(sampler, gaussian, jnp.full((2, 3), 14.6, dtype), grid, noise=jnp.asarray(noise, dtype))
        assert x.dtype == dtype
        assert_trees_all_close(x.astype(jnp.float32), want, atol=0.05)


@pytest.mark.parametrize("sampler", [s.ddpm(), s.heun(20.0)])
def test_an_example_does_not_depend_on_its_batch(gaussian, sampler):
    keys = jax.random.split(jax.random.key(0), 4)
    x = 10 * jax.random.normal(jax.random.key(1), (4, 3))
    grid = np.append(karras(6, 0.1, 10.0), 0.0)
    whole = sample(sampler, gaussian, x, grid, keys)
    for part in (slice(0, 1), slice(1, 4)):
        assert_trees_all_close(sample(sampler, gaussian, x[part], grid, keys[part]), whole[part], rtol=1e-5)
    assert jnp.min(jnp.abs(jnp.diff(whole, axis=0))) > 0


def test_no_key_is_used_twice(gaussian):
    x, grid = jnp.ones((2, 3)), np.array([3.0, 1.0, 0.0])
    with jax.debug_key_reuse(True):
        run = jax.jit(lambda x, key: sample(s.ddpm(), gaussian, x, grid, key))
        run(x, jax.random.key(0))
        run(x, jax.random.split(jax.random.key(1), 2))


def test_bad_input():
    x, one = jnp.ones((2, 3)), lambda x, sigma: x
    with pytest.raises(ValueError, match="draws noise: give `key`"):
        sample(s.ddpm(), one, x, np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="levels that do not increase"):
        sample(s.euler(), one, x, np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match=r"shape \(1, 2, 3\)"):
        sample(s.ddpm(), one, x, np.array([1.0, 0.0]), noise=jnp.ones((2, 2, 3)))
