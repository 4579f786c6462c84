"""Muon: which parameters are matrices, and how large and how even its steps are."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax3d.math.muon import muon

SHAPES = {
    "dense": {"kernel": (48, 32), "bias": (32,)},
    "conv": {"kernel": (3, 3, 8, 16)},
    "to_pixels": {"kernel": (3, 3, 16, 3)},
    "table": {"embedding": (40, 16)},
}


@pytest.fixture(scope="module")
def steps():
    """(gradient, first update) of every leaf."""
    shapes, tree = jax.tree.flatten(SHAPES, is_leaf=lambda leaf: isinstance(leaf, tuple))
    keys = jax.random.split(jax.random.key(0), len(shapes))
    gradient = tree.unflatten([jax.random.normal(*pair) for pair in zip(keys, shapes, strict=True)])
    optimizer = muon(0.01)
    params = jax.tree.map(jnp.zeros_like, gradient)
    update, _ = jax.jit(optimizer.update)(gradient, optimizer.init(params), params)
    return gradient, update


@pytest.mark.parametrize("layer", ["dense", "conv"])
def test_a_step_turns_all_directions_alike(steps, layer):
    gradient, update = (np.asarray(tree[layer]["kernel"]) for tree in steps)
    rows = gradient.reshape(-1, gradient.shape[-1])
    step = update.reshape(rows.shape)
    u, _, v = np.linalg.svd(rows, full_matrices=False)
    along = np.diag(u.T @ step @ v.T)
    limit = 0.01 * 0.2 * np.sqrt(max(step.shape))
    np.testing.assert_allclose(-along, limit, rtol=0.35)  # the iteration leaves singular values of 0.7 to 1.2
    assert np.sqrt(np.mean(step**2)) == pytest.approx(0.01 * 0.2, rel=0.2)


def test_what_is_no_map_between_features_goes_by_adam(steps):
    for layer, leaf in (("dense", "bias"), ("to_pixels", "kernel"), ("table", "embedding")):
        gradient, update = (tree[layer][leaf] for tree in steps)
        first = 0.01 * (0.9 * 0.1 / (1 - 0.9**2) + 1)  # Adam's first step with Nesterov's momentum, whatever |g|
        chex.assert_trees_all_close(update, -first * jnp.sign(gradient), rtol=1e-4)


def test_decay_acts_on_matrices_alone(steps):
    gradient, plain = steps
    optimizer = muon(0.01, weight_decay=0.5)
    params = jax.tree.map(jnp.ones_like, gradient)
    update, _ = jax.jit(optimizer.update)(gradient, optimizer.init(params), params)
    difference = jax.tree.map(lambda a, b: a - b, update, plain)
    chex.assert_trees_all_close(difference["conv"]["kernel"], jnp.full((3, 3, 8, 16), -0.005), rtol=1e-3)
    chex.assert_trees_all_close(difference["dense"]["bias"], jnp.zeros(32), atol=1e-7)


def test_it_solves_a_linear_problem():
    target = jax.random.normal(jax.random.key(1), (16, 16)) / 4
    optimizer = muon(optax.cosine_decay_schedule(0.1, 200))

    @jax.jit
    def step(params, state):
        gradient = jax.grad(lambda p: jnp.sum((p["kernel"] - target) ** 2))(params)
        update, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, update), state

    params = {"kernel": jnp.zeros((16, 16))}
    state = optimizer.init(params)
    for _ in range(200):
        params, state = step(params, state)
    chex.assert_trees_all_close(params["kernel"], target, atol=5e-3)
