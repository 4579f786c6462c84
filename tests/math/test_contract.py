"""Contraction of space: its limits and its slope."""

import chex
import jax
import jax.numpy as jnp

from jax3d.math.contract import contract


def test_near_points_are_halved_and_far_ones_reach_the_ball():
    near = jnp.array([0.3, -0.5, 0.1])
    chex.assert_trees_all_close(contract(near), near / 2)
    far = contract(jnp.array([[0.0, 2.0, 0.0], [1e6, 0.0, 0.0]]))
    chex.assert_trees_all_close(far, jnp.array([[0.0, 0.75, 0.0], [1.0, 0.0, 0.0]]), atol=1e-6)


def test_the_slope_is_continuous_at_the_border_and_finite_at_the_origin():
    slope = jax.vmap(jax.jacobian(contract))
    direction = jnp.array([0.6, 0.0, 0.8])
    inside, outside, origin = slope(jnp.stack([0.9999 * direction, 1.0001 * direction, 0 * direction]))
    chex.assert_trees_all_close(inside, outside, atol=1e-3)
    chex.assert_trees_all_close(origin, jnp.eye(3) / 2)
