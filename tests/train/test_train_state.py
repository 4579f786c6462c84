import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax3d.train import state as states


def test_clip_keeps_direction_and_bounds_norm():
    gradient = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([[0.0, 4.0]])}
    clipped, norm = states.clip(gradient, 2.0)
    assert norm == 5.0
    chex.assert_trees_all_close(clipped, jax.tree.map(lambda g: g * 2 / 5, gradient), rtol=1e-6)
    chex.assert_trees_all_equal(states.clip(gradient, 6.0)[0], gradient)
    zeros = jax.tree.map(jnp.zeros_like, gradient)
    chex.assert_trees_all_equal(states.clip(zeros, 2.0)[0], zeros)


def test_a_step_does_not_change_types_so_that_it_compiles_once():
    optimizer = optax.adam(1.0)
    state = states.init({"w": jnp.full((2,), 1e3)}, optimizer)  # weakly typed, as numbers of Python are
    types = lambda state: [(leaf.dtype, leaf.weak_type) for leaf in jax.tree.leaves(state)]  # noqa: E731
    after, _ = states.advance(state, jnp.float32(0), {"w": jnp.ones(2)}, optimizer)
    assert types(after) == types(state)


def test_average_of_moving_weights_is_the_recursion():
    """Against a numpy loop: w walks by -1 a step; d_t is 1/10 at the start, the decay itself in the limit."""
    optimizer, decay, steps = optax.sgd(1.0), 0.6, 12
    state = states.init({"w": jnp.float32(0)}, optimizer, ema=True)
    w, e = 0.0, 0.0
    for t in range(steps):
        state, _ = states.advance(state, jnp.float32(0), {"w": jnp.float32(1)}, optimizer, ema_decay=decay)
        w -= 1
        d = min(decay, (1 + t) / (10 + t))
        e = d * e + (1 - d) * w
    np.testing.assert_allclose(state.averaged["w"], e, rtol=1e-6)
    np.testing.assert_allclose(states.ema_rate(decay, jnp.int32(0)), 0.1, rtol=1e-6)
    np.testing.assert_allclose(states.ema_rate(decay, jnp.int32(10**6)), decay, rtol=1e-6)


@pytest.mark.parametrize("loss, slope", [(0.0, jnp.nan), (0.0, jnp.inf), (jnp.nan, 1.0)])
def test_a_step_that_is_not_finite_moves_nothing_but_the_counters(loss, slope):
    optimizer = optax.adam(0.1)
    start = states.init({"w": jnp.ones(3)}, optimizer, ema=True)
    start, _ = states.advance(start, jnp.float32(0), {"w": jnp.ones(3)}, optimizer, 1.0, 0.9)
    gradient = {"w": jnp.ones(3).at[1].set(slope)}
    after, metrics = states.advance(start, jnp.float32(loss), gradient, optimizer, 1.0, 0.9)
    moved = (after.params, after.opt_state, after.ema)
    chex.assert_trees_all_equal(moved, (start.params, start.opt_state, start.ema))
    assert (after.step, metrics["skipped"], metrics["stuck"]) == (2, 1, 1)
    healed, metrics = states.advance(after, jnp.float32(0), {"w": jnp.ones(3)}, optimizer, 1.0, 0.9)
    assert (metrics["skipped"], metrics["stuck"]) == (1, 0)
    assert not np.array_equal(healed.params["w"], start.params["w"])


def test_cast_touches_floats_only():
    tree = {"w": jnp.ones(2), "i": jnp.arange(2), "b": jnp.array(True), "k": jax.random.key(0)}
    low = states.cast(tree, "bfloat16")
    assert low["w"].dtype == jnp.bfloat16
    assert (low["i"].dtype, low["b"].dtype, low["k"].dtype) == (tree["i"].dtype, tree["b"].dtype, tree["k"].dtype)
