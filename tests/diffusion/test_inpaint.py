"""Completion and interpolation: exact where the known and the unknown are independent, and spherical."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chex import assert_trees_all_close

from jax3d.diffusion import ddim, ddpm, dpmpp_2m, euler, heun, karras, sample
from jax3d.diffusion.inpaint import inpaint, slerp

MASK = jnp.arange(12).reshape(4, 3) % 3 == 0
SAMPLERS = {"euler": euler(), "heun": heun(), "dpmpp_2m": dpmpp_2m(), "ddpm": ddpm(), "ddim": ddim(0.5)}


def arrays(count):
    return [jnp.asarray(a, float) for a in np.random.default_rng(0).normal(size=(count, 5, 4, 3))]


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_known_comes_out_and_the_independent_rest_as_without(name, double, gaussian):
    noise, known = arrays(2)
    x, sigmas, key = 10 * noise, np.append(karras(6, 0.02, 10.0), 0), jax.random.key(0)
    free = sample(SAMPLERS[name], gaussian, x, sigmas, key)
    completed = sample(SAMPLERS[name], inpaint(gaussian, known[0], MASK), x, sigmas, key)
    assert_trees_all_close(completed, jnp.where(MASK, known[0], free), atol=1e-12)


def test_the_known_carries_its_own_noise_at_every_level(double, gaussian):
    x, known = arrays(2)
    sigmas = np.geomspace(10.0, 0.5, 7)
    for steps in (1, 3, 6):
        there = sample(euler(), inpaint(gaussian, known, MASK), known + 10 * x, sigmas[: steps + 1])
        assert_trees_all_close(there[:, MASK], (known + sigmas[steps] * x)[:, MASK], atol=1e-12)


def test_soft_masks_blend_and_the_ends_are_exact(gaussian):
    x, known = arrays(2)
    x0 = gaussian(x, 2.0)
    for share in (0.0, 0.3, 1.0):
        mixed = inpaint(gaussian, known, jnp.full((4, 1), share))(x, 2.0)
        assert_trees_all_close(mixed, share * known + (1 - share) * x0, atol=1e-6)
    half = inpaint(lambda x, sigma: x, known.astype(jnp.float32), MASK)(x.astype(jnp.bfloat16), 1.0)
    assert half.dtype == jnp.bfloat16
    with pytest.raises(ValueError, match=r"`mask` must broadcast to x of shape \(5, 4, 3\), got shape \(4,\)"):
        inpaint(gaussian, known, jnp.ones(4))(x, 1.0)


def test_the_unknown_sees_the_known(double):
    """Pairs with correlation .9, the first known to be 2: the second goes more than half of the way to .9 * 2."""
    covariance = jnp.array([[1.0, 0.9], [0.9, 1.0]])

    def denoise(x, sigma):
        return x @ jnp.linalg.solve(covariance + sigma**2 * jnp.eye(2), covariance)

    noise = jax.random.normal(jax.random.key(0), (4000, 2), float)
    known, sigmas = jnp.array([2.0, 0.0]), np.append(karras(60, 0.01, 20.0), 0)
    x = sample(ddpm(), inpaint(denoise, known, jnp.array([1, 0])), 20 * noise, sigmas, jax.random.key(1))
    assert jnp.all(x[:, 0] == 2)
    assert 0.9 < x[:, 1].mean() < 1.8


def test_slerp_turns_evenly(double):
    a, b = arrays(2)
    b = b * jnp.sqrt(jnp.sum(a**2, (1, 2), keepdims=True) / jnp.sum(b**2, (1, 2), keepdims=True))
    length = lambda x: jnp.sqrt(jnp.sum(x**2, (1, 2)))  # noqa: E731
    angle = lambda x, y: jnp.arccos(jnp.sum(x * y, (1, 2)) / length(x) / length(y))  # noqa: E731
    share = jnp.array([0.0, 0.2, 0.5, 0.9, 1.0])
    x = slerp(a, b, share)
    assert_trees_all_close(length(x), length(a), atol=1e-12)
    assert_trees_all_close(angle(a[1:], x[1:]), share[1:] * angle(a, b)[1:], atol=1e-7)
    assert_trees_all_close((x[0], x[4]), (a[0], b[4]), atol=1e-12)
    assert_trees_all_close(slerp(a, b, 0.3), slerp(b, a, 0.7), atol=1e-12)


def test_slerp_of_nearly_parallel_arrays_is_linear():
    a, other = (x.astype(jnp.float32) for x in arrays(2))
    for b in (a, 3 * a, a + 1e-4 * other, a + 1e-7 * other):
        mixed = slerp(a, b, 0.3)
        assert_trees_all_close(mixed, 0.7 * a + 0.3 * b, atol=1e-6)
    assert slerp(a.astype(jnp.bfloat16), other, 0.5).dtype == jnp.bfloat16
    assert jnp.isfinite(slerp(jnp.zeros((1, 3)), jnp.zeros((1, 3)), 0.5)).all()
