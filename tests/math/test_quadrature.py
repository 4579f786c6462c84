"""Quadrature along a ray against the exact integral and slow loops."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math import quadrature


@pytest.mark.parametrize("key", [None, 3])
def test_stratified_samples_lie_one_in_each_bin(key):
    s, edges = quadrature.stratified(16, None if key is None else jax.random.key(key))
    chex.assert_trees_all_equal(jnp.floor(16 * s), jnp.arange(16.0))
    chex.assert_trees_all_close(edges, jnp.arange(17) / 16)
    within = 16 * s - jnp.floor(16 * s)
    assert jnp.allclose(within, 0.5, atol=1e-4) if key is None else within.std() > 0.2


def test_spacings_go_from_near_to_far():
    s = jnp.linspace(0.0, 1.0, 5)
    near, far = jnp.float32(0.5), jnp.float32(8.0)
    chex.assert_trees_all_close(quadrature.evenly(near, far, s), jnp.linspace(0.5, 8.0, 5))
    chex.assert_trees_all_close(1 / quadrature.by_disparity(near, far, s), jnp.linspace(2.0, 0.125, 5), rtol=1e-5)
    missed = quadrature.by_disparity(jnp.float32(0.0), jnp.float32(0.0), s)  # near = far = 0: a ray that misses
    chex.assert_tree_all_finite(missed)


def test_mass_around_bounds_what_an_interval_can_hold():
    mass = jnp.array([0.1, 0.4, 0.2, 0.0])
    edges = jnp.array([0.0, 0.25, 0.3, 0.45, 0.6, 1.0])
    chex.assert_trees_all_close(quadrature.mass_around(mass, edges), jnp.array([0.1, 0.4, 0.4, 0.6, 0.2]), atol=1e-6)


def test_weights_match_a_loop_and_leave_the_residual():
    rng = np.random.default_rng(0)
    density, delta = rng.gamma(0.3, 10.0, size=(5, 12)), rng.uniform(0.01, 0.2, size=(5, 12))
    expected = np.zeros_like(density)
    for ray in range(5):
        transmittance = 1.0
        for i in range(12):
            alpha = 1 - np.exp(-density[ray, i] * delta[ray, i])
            expected[ray, i] = transmittance * alpha
            transmittance *= 1 - alpha
    density, delta = jnp.array(density, jnp.float32), jnp.array(delta, jnp.float32)
    weights = quadrature.weights(density, delta)
    chex.assert_trees_all_close(weights, jnp.array(expected, jnp.float32), atol=1e-6)
    total = weights.sum(axis=-1)
    chex.assert_trees_all_close(total, quadrature.opacity(density, delta), atol=1e-6)
    chex.assert_trees_all_close(1 - total, quadrature.residual(density, delta), atol=1e-6)


def test_homogeneous_slab_is_exact_for_any_number_of_samples():
    for count in (1, 7, 64):
        delta = 2.0 * jnp.diff(quadrature.stratified(count, jax.random.key(0))[1])
        opacity = quadrature.opacity(jnp.full(count, 0.7), delta)
        chex.assert_trees_all_close(opacity, 1 - jnp.exp(-1.4), rtol=1e-6)


def test_opaque_and_empty_rays_have_finite_values_and_gradients():
    delta = jnp.full(8, 0.1)
    slope = jax.jit(jax.grad(lambda s: jnp.sum(quadrature.weights(s, delta) * jnp.arange(8.0))))
    for density in (jnp.zeros(8), jnp.full(8, 1e10), jnp.zeros(8).at[3].set(1e30)):
        weights = quadrature.weights(density, delta)
        assert jnp.sum(weights) <= 1 + 1e-6 and jnp.all(weights >= 0)
        gradient = slope(density)
        chex.assert_tree_all_finite((weights, gradient))
    thin = quadrature.opacity(jnp.full(8, 1e-12), delta)
    chex.assert_trees_all_close(thin, jnp.float32(8e-13), rtol=1e-5)


def test_resampling_inverts_the_cdf():
    edges, mass = jnp.array([0.0, 1.0, 2.0, 4.0]), jnp.array([1.0, 3.0, 0.0])
    samples = quadrature.resample(edges, mass, 400, None, floor=0.0)
    assert jnp.all(jnp.diff(samples) >= 0)
    chex.assert_trees_all_close(jnp.mean(samples < 1.0), 0.25, atol=3e-3)
    chex.assert_trees_all_close(jnp.mean(samples < 2.0), 1.0, atol=3e-3)
    inside = samples[(samples > 1) & (samples < 2)]
    chex.assert_trees_all_close(jnp.mean(inside), 1.5, atol=5e-3)  # uniform in a bin


def test_resampling_without_mass_is_uniform_and_a_point_interval_is_finite():
    edges = jnp.linspace(1.0, 3.0, 9)
    samples = quadrature.resample(edges, jnp.zeros(8), 10, None)
    chex.assert_trees_all_close(samples, 1.0 + 2.0 * (jnp.arange(10) + 0.5) / 10, atol=1e-5)
    chex.assert_tree_all_finite(quadrature.resample(jnp.zeros(9), jnp.ones(8), 10, jax.random.key(0)))
