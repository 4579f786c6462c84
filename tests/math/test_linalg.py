"""Finite gradients where norms and directions have none, and rigid poses."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jax3d.math import linalg


def test_norm_and_normalize_are_zero_with_zero_gradient_at_zero():
    zero = jnp.zeros(3)
    assert linalg.safe_norm(zero) == 0
    chex.assert_trees_all_equal(jax.grad(lambda x: linalg.safe_norm(x))(zero), zero)
    chex.assert_trees_all_equal(linalg.normalize(zero), zero)
    chex.assert_trees_all_equal(jax.jacobian(linalg.normalize)(zero), jnp.zeros((3, 3)))


def test_gradient_of_norm_is_the_direction():
    x = jnp.array([1.0, -2.0, 2.0])
    chex.assert_trees_all_close(jax.grad(lambda x: linalg.safe_norm(x))(x), x / 3, atol=1e-6)
    jacobian = (jnp.eye(3) - jnp.outer(x, x) / 9) / 3  # of x / |x|
    chex.assert_trees_all_close(jax.jacobian(linalg.normalize)(x), jacobian, atol=1e-6)


def test_pose_times_its_inverse_is_the_identity():
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 3, 3)))
    pose = linalg.pose(jnp.array(rotation), jnp.arange(15.0).reshape(5, 3))
    identity = jnp.broadcast_to(jnp.eye(4), (5, 4, 4))
    chex.assert_trees_all_close(pose @ linalg.invert_pose(pose), identity, atol=1e-5)


def test_facing_is_a_right_handed_frame_even_when_up_is_parallel():
    forward = jnp.array([[0.0, 0.0, -2.0], [1.0, 2.0, 3.0], [0.0, 3.0, 0.0]])
    up = jnp.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    frame = jnp.stack(linalg.facing(forward, up), axis=-1)
    chex.assert_trees_all_close(jnp.swapaxes(frame, -1, -2) @ frame, jnp.broadcast_to(jnp.eye(3), (3, 3, 3)), atol=1e-6)
    chex.assert_trees_all_close(jnp.linalg.det(frame), jnp.ones(3), atol=1e-6)
    assert jnp.all(jnp.isfinite(jax.jacobian(lambda f: jnp.stack(linalg.facing(f, up)))(forward)))
