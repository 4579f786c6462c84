"""Score distillation: the gradients are the published rules, and the rules are related as their algebra says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chex import assert_trees_all_close

from jax3d.diffusion import distill
from jax3d.diffusion.denoiser import expand, from_eps, guide
from jax3d.diffusion.schedule import scaled_linear

SCHEDULE = scaled_linear()
BATCH = 3


def case(seed=0):
    x, noise, a, b = (jnp.asarray(a, float) for a in np.random.default_rng(seed).normal(size=(4, BATCH, 4, 2)))
    return x, SCHEDULE.sigma(jnp.array([20, 400, 980])), noise, a, b


def eps_denoiser(output):
    return from_eps(lambda z, t: output + jnp.sin(z), SCHEDULE)


def gradient(rule, x):
    """The rule's gradient on each example: that of the loss, times the batch."""
    (_, metrics), g = jax.value_and_grad(rule, has_aux=True)(x)
    return BATCH * g, metrics


def test_sds_is_dreamfusions_rule(double):
    """(1 - abar) (eps_hat(z_t) - n), z_t = sqrt(abar) x + sqrt(1 - abar) n: written without sigma."""
    x, sigma, noise, a, _ = case()
    weight = distill.dreamfusion_weight(sigma)
    got, metrics = gradient(lambda x: distill.sds(eps_denoiser(a), x, sigma, noise, weight), x)
    abar = expand(jnp.asarray(SCHEDULE.abar)[jnp.array([20, 400, 980])], x)
    z = jnp.sqrt(abar) * x + jnp.sqrt(1 - abar) * noise
    want = (1 - abar) * (a + jnp.sin(z) - noise)
    assert_trees_all_close(got, want, atol=1e-12)
    assert_trees_all_close(metrics["gradient_norm"], jnp.mean(jnp.linalg.norm(want.reshape(BATCH, -1), axis=1)))
    assert metrics["nonfinite"] == 0


def test_guided_sds_is_sds_plus_csd(double):
    x, sigma, noise, a, b = case()
    conditional, unconditional, s = eps_denoiser(a), eps_denoiser(b), 7.5
    w = distill.uniform_weight(sigma)
    whole, _ = gradient(lambda x: distill.sds(guide(conditional, unconditional, s), x, sigma, noise, w), x)
    plain, _ = gradient(lambda x: distill.sds(unconditional, x, sigma, noise, w), x)
    classifier, _ = gradient(lambda x: distill.csd(conditional, unconditional, x, sigma, noise, w, s), x)
    assert_trees_all_close(whole, plain + classifier, atol=1e-12)
    assert_trees_all_close(classifier, s * (a - b), atol=1e-12)  # s (eps_cond - eps_uncond)


def test_vsd_is_the_difference_of_noise_estimates(double):
    x, sigma, noise, a, b = case()
    w = distill.dreamfusion_weight(sigma)
    got, _ = gradient(lambda x: distill.vsd(eps_denoiser(a), eps_denoiser(b), x, sigma, noise, w), x)
    assert_trees_all_close(got, expand(w, x) * (b - a), atol=1e-12)  # w (eps_pretrained - eps_student)


def test_vsd_with_a_perfect_memory_of_x_is_sds(double):
    """A student that has learnt the one picture x answers x: VSD of a point mass is SDS."""
    x, sigma, noise, a, _ = case()
    w = distill.dreamfusion_weight(sigma)
    memory = jax.lax.stop_gradient(x)
    vsd, _ = gradient(lambda x: distill.vsd(lambda y, s: memory, eps_denoiser(a), x, sigma, noise, w), x)
    sds, _ = gradient(lambda x: distill.sds(eps_denoiser(a), x, sigma, noise, w), x)
    assert_trees_all_close(vsd, sds, atol=1e-12)


def test_reconstruct_is_mvdreams_rule(double):
    x, sigma, noise, a, _ = case()
    denoise = eps_denoiser(a)
    got, _ = gradient(lambda x: distill.reconstruct(denoise, x, sigma, noise), x)
    # MVDream: 1/2 |x - x0_hat|^2 with x0_hat held constant
    target = jax.lax.stop_gradient(denoise(x + expand(sigma, x) * noise, sigma))
    assert_trees_all_close(got, jax.grad(lambda x: 0.5 * jnp.sum((x - target) ** 2))(x), atol=1e-12)
    same, _ = gradient(lambda x: distill.sds(denoise, x, sigma, noise, distill.sigma_weight(sigma)), x)
    assert_trees_all_close(got, same)


def test_weights(double):
    t = jnp.array([20, 400, 980])
    sigma, abar = SCHEDULE.sigma(t), jnp.asarray(SCHEDULE.abar)[t]
    assert_trees_all_close(distill.dreamfusion_weight(sigma), 1 - abar, rtol=1e-11)
    assert_trees_all_close(distill.fantasia_weight(sigma), jnp.sqrt(abar) * (1 - abar), rtol=1e-11)


def test_the_loss_is_half_the_square_and_the_network_gets_no_gradient():
    x, sigma, noise, a, _ = case()

    def rule(x, a):
        return distill.sds(eps_denoiser(a), x, sigma, noise, sigma)

    (loss, _), (g, to_network) = jax.value_and_grad(rule, argnums=(0, 1), has_aux=True)(x, a)
    assert_trees_all_close(loss, 0.5 * jnp.sum((BATCH * g) ** 2) / BATCH, rtol=1e-5)
    assert not jnp.any(to_network)


def test_descent_reaches_the_mode(gaussian):
    """Following the rule with fresh noise brings any x to what the denoiser likes: here the mean 0.7."""
    x = jnp.full((8, 4), 5.0)

    def step(x, key):
        noise = jax.random.normal(key, x.shape)
        g = jax.grad(lambda x: distill.sds(gaussian, x, jnp.array(1.0), noise, 1.0)[0])(x)
        return x - 0.05 * 8 * g, None

    x, _ = jax.lax.scan(step, x, jax.random.split(jax.random.key(0), 400))
    assert jnp.mean(x) == pytest.approx(0.7, abs=0.1)


def test_bound_and_bad_numbers():
    x, sigma, noise, *_ = case()
    bad = jnp.zeros_like(x).at[0, 0, 0].set(jnp.nan).at[1, 2, 1].set(jnp.inf)
    g, metrics = gradient(lambda x: distill.sds(lambda y, s: bad, x, sigma, noise, sigma), x)
    assert jnp.all(jnp.isfinite(g)) and g[0, 0, 0] == 0 and g[1, 2, 1] == 0
    assert_trees_all_close(g[2], x[2], rtol=1e-5)
    assert metrics["nonfinite"] == pytest.approx(2 / x.size)
    free, before = gradient(lambda x: distill.sds(lambda y, s: 0 * y, x, sigma, noise, sigma), x)
    bounded, after = gradient(lambda x: distill.sds(lambda y, s: 0 * y, x, sigma, noise, sigma, max_norm=2.0), x)
    norm = jnp.linalg.norm(free.reshape(BATCH, -1), axis=1)
    assert jnp.any(norm > 2)
    assert_trees_all_close(bounded, free * expand(jnp.minimum(1, 2 / norm), free), rtol=1e-5)
    assert_trees_all_close(before["gradient_norm"], after["gradient_norm"])


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_published_gradient(shared, kind):
    """The gradient on the latents that the published arithmetic gives for the same noise estimate."""
    with np.load(shared / "golden/stable_diffusion/sds/io.npz") as z:
        latents, noise, eps = (jnp.asarray(z[name]) for name in (f"{kind}_latents", "noise", f"{kind}_eps_cfg"))
        t, noisy, want = z["t"], jnp.asarray(z[f"{kind}_latents_noisy"]), z[f"{kind}_grad_latents"]
    seen = []

    def network(z, time):
        seen.append((z, time))
        return eps

    sigma = SCHEDULE.sigma(jnp.asarray(t))
    weight = distill.dreamfusion_weight(sigma)
    loss = lambda x: distill.sds(from_eps(network, SCHEDULE), x, sigma, noise, weight)[0]  # noqa: E731
    got = len(t) * jax.grad(loss)(latents)
    assert_trees_all_close(got, want, atol=2e-6 * np.max(np.abs(want)))
    np.testing.assert_array_equal(seen[0][1], t)
    assert_trees_all_close(seen[0][0], noisy, atol=2e-6 * jnp.max(jnp.abs(noisy)))
