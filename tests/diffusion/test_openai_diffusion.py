"""The diffusion of Point-E and Shap-E: published runs step by step, whole times, and the learned variance.

tests/golden/openai_sampler.npz holds every state of published runs on a toy network.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.diffusion import openai
from jax3d.diffusion.denoiser import from_eps, from_v, guide_batched, whole_times
from jax3d.diffusion.loss import denoising_loss, eps_weight
from jax3d.diffusion.sampler import Move, ddpm, heun
from jax3d.diffusion.variance import below, ddpm_learned, prediction, variational_bound, with_variance
from tests.golden import openai_sampler as golden

DICTS = {"base": openai.POINT_E_BASE, "upsample": openai.POINT_E_UPSAMPLE, "latents": openai.SHAP_E}


@pytest.fixture(scope="module")
def stored():
    return {k: jnp.asarray(v) for k, v in np.load(golden.FILE).items()}


def error(got, wanted) -> float:
    return float(np.abs(np.asarray(got) - np.asarray(wanted)).max() / np.abs(np.asarray(wanted)).max())


def test_the_published_dicts():
    assert DICTS == golden.CONFIGS


@pytest.mark.parametrize("name", golden.RUNS)
def test_each_step_equals_the_published_code(stored, name):
    sigma_max, churn = golden.RUNS[name]
    run = openai.from_config(golden.CONFIGS[name])
    told = jnp.array([1.0, 0.0])
    denoise = guide_batched(run.denoiser(lambda z, t: golden.toy(jnp, z, t, told)), golden.SCALE)
    states, noise, levels = (
        jnp.asarray(x) for x in (stored[f"{name}_states"], stored[f"{name}_noise"], openai.levels(8, sigma_max))
    )
    step = jax.jit(lambda x, s, r, n: heun(churn).step(denoise, x, (), Move(s, r, n, golden.STEPS))[0])
    for i, (s, r) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
        assert error(step(states[i], s, r, noise[i + 1]), states[i + 1]) < 1e-5, i
    made = run.sample(denoise, noise[0], golden.STEPS, sigma_max=sigma_max, churn=churn, noise=noise[1:])
    assert error(run.enter(made), states[-1]) < 1e-4


def test_each_ancestral_step_with_the_learned_variance_equals_the_published_code(stored):
    run = openai.from_config(openai.POINT_E_BASE)
    both = with_variance(run.border, lambda z, t: golden.toy(jnp, z, t, jnp.ones(1)), run.schedule)
    levels = run.schedule.sigmas[np.round(np.linspace(0, run.schedule.last, golden.STEPS)).astype(int)][::-1]
    levels = np.append(levels, 0.0)
    z = jnp.concatenate([stored["ddpm_noise"][:1], stored["ddpm_states"]])  # of unit variance
    step = jax.jit(lambda x, s, r, n: ddpm_learned(bound=1.0).step(both, x, (), Move(s, r, n, golden.STEPS))[0])
    for i, (s, r) in enumerate(zip(jnp.asarray(levels[:-1]), jnp.asarray(levels[1:]), strict=True)):
        x = step(z[i] * jnp.sqrt(1 + s**2), s, r, stored["ddpm_noise"][i + 1])
        assert error(x / jnp.sqrt(1 + r**2), z[i + 1]) < 1e-5, i


def test_the_loss_equals_the_published_code(stored):
    run = openai.from_config(openai.POINT_E_BASE)
    x0, noise, sigma = (
        stored["loss_x0"],
        stored["loss_noise"],
        jnp.asarray(run.schedule.sigmas[[0, 400, 1020]], jnp.float32),
    )
    network = lambda z, t: golden.toy(jnp, z, t, jnp.ones(len(t)))  # noqa: E731
    foretold, u = with_variance(run.border, network, run.schedule)(x0 + sigma[:, None, None] * noise, sigma)
    bits = variational_bound(x0, foretold, u, sigma, below(run.schedule, sigma))
    np.testing.assert_allclose(bits, stored["loss_vb"], rtol=2e-4, atol=1e-7)
    denoise = run.border(prediction(network), run.schedule)
    for i in range(3):
        at = slice(i, i + 1)
        loss = denoising_loss(lambda x, s: denoise(x, s), x0[at], sigma[at], noise[at], eps_weight(sigma[at]))
        np.testing.assert_allclose(loss, stored["loss_mse"][i], rtol=2e-4)


@pytest.mark.parametrize("border", [from_eps, from_v])
def test_whole_times_ask_the_table_alone_and_change_nothing_there(border):
    table, asked = openai.from_config(openai.POINT_E_UPSAMPLE).schedule, []

    def network(z, t):
        asked.append(t)
        return jnp.tanh(z) + t[:, None] / 1000

    exact = border(network, table)
    whole, x = whole_times(exact, table), jnp.array([[0.3, -2.0], [1.0, 0.1]])
    for t in (0, 1, 511, 1023):
        sigma = jnp.float32(table.sigmas[t])
        y = whole(x, sigma)
        np.testing.assert_array_equal(asked[-1], [t, t])
        np.testing.assert_allclose(y, exact(x, sigma), rtol=1e-5, atol=1e-5 * float(sigma))
    between = jnp.float32([0.4 * table.sigmas[3] + 0.6 * table.sigmas[4], 2 * table.sigmas[-1]])
    y = whole(x, between)
    np.testing.assert_array_equal(asked[-1], [3, 1023])
    low = jnp.float32(table.sigmas[[3, 1023]])[:, None]
    z = x / jnp.sqrt(1 + between[:, None] ** 2)
    np.testing.assert_allclose(y, exact(z * jnp.sqrt(1 + low**2), low[:, 0]), rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(asked[-1], [3, 1023])


def test_the_bounds_of_the_variance_are_those_of_ddpm():
    """u = 1 steps with the variance beta, u = -1 with that of the posterior."""
    both = lambda u: lambda x, s: (0.5 * x, jnp.full_like(x, u))  # noqa: E731
    x, noise = jnp.array([[1.0, -2.0]]), jnp.array([[0.7, 0.2]])
    for move in (
        Move(jnp.float32(0.8), jnp.float32(0.5), noise, 2),
        Move(jnp.float32(0.8), jnp.float32(0.0), noise, 2),
    ):
        for u, large in ((1.0, True), (-1.0, False)):
            got, wanted = (
                ddpm_learned().step(both(u), x, (), move),
                ddpm(large=large).step(lambda x, s: 0.5 * x, x, (), move),
            )
            np.testing.assert_allclose(got[0], wanted[0], rtol=1e-6)


def test_the_bound_is_the_divergence_of_two_normal_distributions():
    """Against the closed form in float64, with a gradient for u alone."""
    s, r, x0, foretold, u = 0.9, 0.6, 0.4, 0.1, 0.3
    posterior, beta = r**2 * (1 - (r / s) ** 2), (1 + r**2) * (s**2 - r**2) / (1 + s**2)
    var = np.exp(0.65 * np.log(beta) + 0.35 * np.log(posterior))
    apart = (1 - (r / s) ** 2) * (foretold - x0)
    wanted = 0.5 * (np.log(var / posterior) + (posterior + apart**2) / var - 1) / np.log(2)
    args = (jnp.full((1, 2), v) for v in (x0, foretold, u))
    bound = lambda x0, d, u: variational_bound(x0, d, u, jnp.array([s]), jnp.array([r]))[0]  # noqa: E731
    value, grads = jax.value_and_grad(bound, (1, 2))(*args)
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    assert not np.any(grads[0])
    assert np.all(grads[1] != 0)
    assert variational_bound(jnp.ones((1, 2)), jnp.zeros((1, 2)), jnp.ones((1, 2)), jnp.ones(1), jnp.zeros(1))[0] == 0


@pytest.mark.parametrize(
    "change, message",
    [
        ({"schedule": "sigmoid"}, "field schedule must be one of linear, cosine, exp, inv_parabola, got 'sigmoid'"),
        ({"mean_type": "x_prev"}, "field mean_type must be one of epsilon, x_start, v, got 'x_prev'"),
    ],
)
def test_dicts_that_are_not_supported_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        openai.from_config({**openai.POINT_E_BASE, **change})


def test_a_network_without_a_variance_is_refused():
    with pytest.raises(ValueError, match="an even number of channels, this has 3"):
        prediction(lambda z, t: z)(jnp.ones((1, 3)), jnp.ones(1))
