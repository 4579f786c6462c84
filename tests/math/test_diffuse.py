"""Diffused coordinates and the optimizer that goes with them: inverses, symmetry, and steps that stay smooth."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trimesh

from jax3d.math.diffuse import diffused, sharpened
from jax3d.math.even_adam import even_adam

BALL = trimesh.creation.icosphere(2)
ENDS = jnp.asarray(BALL.edges_unique, jnp.int32)
X = jnp.asarray(BALL.vertices, jnp.float32)
AMOUNT = 20.0


@pytest.fixture(scope="module")
def matrix():
    """I + a L, written out."""
    out = np.eye(len(X))
    for a, b in BALL.edges_unique:
        out[[a, b], [a, b]] += AMOUNT
        out[[a, b], [b, a]] -= AMOUNT
    return out


def test_the_two_are_inverse_and_those_of_the_matrix(matrix):
    u = sharpened(X, ENDS, AMOUNT)
    chex.assert_trees_all_close(u, jnp.asarray(matrix @ np.asarray(X), jnp.float32), atol=1e-4)
    chex.assert_trees_all_close(diffused(u, ENDS, AMOUNT), X, atol=1e-3)
    padded = jnp.concatenate([ENDS, jnp.zeros((5, 2), jnp.int32)])
    chex.assert_trees_all_close(sharpened(X, padded, AMOUNT), u, atol=1e-5)


def test_the_gradient_is_that_of_the_inverse(matrix):
    pull = jax.random.normal(jax.random.key(0), X.shape)
    gradient = jax.jit(jax.grad(lambda u: jnp.sum(pull * diffused(u, ENDS, AMOUNT))))(sharpened(X, ENDS, AMOUNT))
    truth = np.linalg.solve(matrix, np.asarray(pull, np.float64))
    np.testing.assert_allclose(gradient, truth, atol=1e-3 * np.abs(truth).max())


def test_a_force_on_one_vertex_moves_its_surroundings():
    pull = jnp.zeros_like(X).at[0].set(X[0])
    gradient = jax.grad(lambda u: jnp.sum(pull * diffused(u, ENDS, AMOUNT)))(X)
    along = np.asarray(gradient @ X[0])
    order = np.argsort(np.linalg.norm(np.asarray(X - X[0]), axis=1))
    assert along[order[0]] < 0.4 and (along[order[1:6]] > 0.2 * along[order[0]]).all()
    np.testing.assert_allclose(np.asarray(gradient).sum(0), np.asarray(X[0]), atol=1e-3)


def test_steps_of_the_even_optimizer_are_as_long_as_the_rate_and_keep_the_direction():
    gradient = {"a": jnp.array([3.0, -1.0, 0.0]), "b": jnp.array([[1e-3, 2e-3]])}
    params = jax.tree.map(jnp.zeros_like, gradient)
    optimizer = even_adam(optax.linear_schedule(0.1, 0.0, 2))
    state = optimizer.init(params)
    first, state = optimizer.update(gradient, state, params)
    expected = {"a": -0.1 * gradient["a"] / 3, "b": -0.1 * gradient["b"] / 2e-3}
    chex.assert_trees_all_close(first, expected, rtol=1e-5)
    second, _ = optimizer.update(gradient, state, params)
    chex.assert_trees_all_close(second, jax.tree.map(lambda e: 0.5 * e, expected), rtol=1e-5)  # the rate's schedule
    still, _ = optimizer.update(params, optimizer.init(params), params)
    chex.assert_tree_all_finite(still)
