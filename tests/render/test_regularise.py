"""Regularisers: limits, slow sums, finite gradients at the ends."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jax3d.render import regularise


def test_orientation_counts_only_normals_that_face_away_and_does_not_pull_on_weights():
    weights, direction = jnp.array([0.2, 0.5, 0.3]), jnp.array([0.0, 0.0, 1.0])
    normals = jnp.array([[0.0, 0.0, -1.0], [0.0, 0.6, 0.8], [1.0, 0.0, 0.0]])
    chex.assert_trees_all_close(regularise.orientation_along(weights, normals, direction), 0.5 * 0.64, rtol=1e-6)
    by_weights, by_normals = jax.grad(regularise.orientation_along, argnums=(0, 1))(weights, normals, direction)
    chex.assert_trees_all_equal(by_weights, jnp.zeros(3))
    chex.assert_trees_all_close(by_normals[1], jnp.array([0.0, 0.0, 0.8]), atol=1e-6)


def test_distortion_matches_the_double_sum():
    rng = np.random.default_rng(0)
    edges = np.sort(rng.uniform(size=10))
    m, delta, w = (edges[1:] + edges[:-1]) / 2, np.diff(edges), rng.uniform(size=9) / 9
    expected = np.sum(w[:, None] * w * np.abs(m[:, None] - m)) + np.sum(w**2 * delta) / 3
    arrays = (jnp.array(a, jnp.float32) for a in (w, m, delta))
    chex.assert_trees_all_close(regularise.distortion_along(*arrays), jnp.float32(expected), rtol=1e-5)


def test_opacity_entropy_and_sparsity_at_their_limits():
    chex.assert_trees_all_close(regularise.opacity(jnp.zeros((4, 4))), 0.1, rtol=1e-6)
    chex.assert_trees_all_close(regularise.opacity(jnp.ones((4, 4))), np.sqrt(1.01), rtol=1e-6)
    chex.assert_trees_all_close(regularise.entropy(jnp.full(5, 0.5)), 1.0, rtol=1e-6)
    assert regularise.entropy(jnp.array([0.0, 1.0])) < 0.012  # the value at the margin
    assert regularise.entropy(jnp.full(3, 0.5, jnp.bfloat16)).dtype == jnp.float32
    chex.assert_trees_all_close(regularise.sparsity(jnp.array([0.0, 1.0])), np.log(3) / 2, rtol=1e-6)
    for term in (regularise.opacity, regularise.entropy, regularise.sparsity):
        chex.assert_tree_all_finite(jax.grad(term)(jnp.array([0.0, 1e-9, 0.5, 1.0])))


def test_entropy_pushes_pixels_away_from_one_half():
    slope = jax.grad(regularise.entropy)(jnp.array([0.2, 0.8]))
    assert slope[0] > 0 > slope[1]


def test_total_variation_of_a_ramp():
    ramp = jnp.broadcast_to(jnp.arange(5.0)[:, None, None, None], (5, 4, 3, 2))
    chex.assert_trees_all_close(regularise.total_variation(2 * ramp), 4 / 3, rtol=1e-6)  # 2^2 along one axis of three
    chex.assert_trees_all_close(regularise.total_variation(jnp.ones((3, 3, 1))), 0.0)
