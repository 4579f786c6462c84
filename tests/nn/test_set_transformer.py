"""Set denoisers: permuting the points permutes the answer, and time and condition matter."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.nn.set_transformer import LatentSetTransformer, SetTransformer, normalised

NETWORKS = {
    "set": SetTransformer(width=16, layers=2, heads=2),
    "first": SetTransformer(width=16, layers=2, heads=2, seen=8),
    "latent": LatentSetTransformer(width=16, latents=4, rounds=2, layers=1, heads=2, point_width=8, frequencies=2),
}
X = jax.random.normal(jax.random.key(1), (2, 12, 6))
T, CONDITION = jnp.array([-0.5, 0.3]), jax.random.normal(jax.random.key(2), (2, 5))


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """(apply, parameters, none of which is 0)."""
    module = NETWORKS[request.param]
    params = jax.jit(module.init)(jax.random.key(0), X, T, CONDITION)["params"]
    return jax.jit(lambda p, *a: module.apply({"params": p}, *a)), params, live(params)


def live(params):
    """The parameters with noise."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(3), len(leaves))
    noisy = [leaf + 0.2 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, noisy)


def test_untrained_networks_give_zero(network):
    apply, params, _ = network
    chex.assert_trees_all_equal(apply(params, X, T, CONDITION), jnp.zeros_like(X))


def test_permuted_points_give_the_permuted_answer(network):
    apply, _, params = network
    order = jnp.array([3, 7, 0, 6, 1, 5, 4, 2, 10, 8, 11, 9])  # the first 8 stay the first
    chex.assert_trees_all_close(
        apply(params, X[:, order], T, CONDITION), apply(params, X, T, CONDITION)[:, order], atol=2e-5
    )


def test_every_point_is_told_of_the_others_the_time_and_the_condition(network):
    apply, _, params = network
    answer = apply(params, X, T, CONDITION)[0, 0]
    for changed in ((X.at[0, 5].add(1.0), T, CONDITION), (X, T.at[0].add(0.1), CONDITION), (X, T, 2 * CONDITION)):
        assert jnp.abs(apply(params, *changed)[0, 0] - answer).max() > 1e-3


def test_points_behind_those_seen_change_themselves_alone():
    module = NETWORKS["first"]
    params = live(jax.jit(module.init)(jax.random.key(0), X, T, CONDITION))
    answer, changed = (module.apply(params, x, T, CONDITION) for x in (X, X.at[:, 9].add(1.0)))
    moved = jnp.abs(changed - answer).max((0, 2)) > 1e-3
    assert list(np.flatnonzero(moved)) == [9]


def test_near_points_attend_to_each_other_at_first():
    module = SetTransformer(width=64, layers=1, heads=2)
    params = module.init(jax.random.key(0), X, T, CONDITION)["params"]
    x = jnp.zeros((1, 5, 6)).at[0, :, 0].set(jnp.linspace(0, 1, 5))
    tokens = normalised(jnp.concatenate([jnp.ones((1, 5, 1)), x], -1) @ params["points_in"]["kernel"])
    q, k = (tokens @ params["blocks.0"][name]["kernel"] for name in ("to_q", "to_k"))
    assert jnp.all(jnp.diff(q[0, 0] @ k[0].T) < 0)


def test_examples_of_a_batch_do_not_meet(network):
    apply, _, params = network
    changed = apply(params, X.at[1].add(1.0), T, CONDITION)
    chex.assert_trees_all_close(changed[0], apply(params, X, T, CONDITION)[0], atol=1e-5)


def test_gradients_are_finite(network):
    apply, params, live = network
    for weights in (params, live):
        chex.assert_tree_all_finite(jax.grad(lambda p: jnp.sum(apply(p, X, T, CONDITION) ** 2))(weights))


def test_the_latent_network_takes_any_number_of_points(network):
    apply, _, params = network
    chex.assert_shape(apply(params, X[:, :7], T, CONDITION), (2, 7, 6))
