"""Set denoisers: permuting the points permutes the answer, and time and condition matter."""

import chex
import jax
import jax.numpy as jnp
import pytest

from jax3d.nn.set_transformer import LatentSetTransformer, SetTransformer

NETWORKS = {
    "set": SetTransformer(width=16, layers=2, heads=2),
    "latent": LatentSetTransformer(width=16, latents=4, rounds=2, layers=1, heads=2, point_width=8, frequencies=2),
}
X = jax.random.normal(jax.random.key(1), (2, 12, 6))
T, CONDITION = jnp.array([-0.5, 0.3]), jax.random.normal(jax.random.key(2), (2, 5))


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """(apply, parameters, none of which is 0)."""
    module = NETWORKS[request.param]
    params = jax.jit(module.init)(jax.random.key(0), X, T, CONDITION)["params"]
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(3), len(leaves))
    live = [leaf + 0.2 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.jit(lambda p, *a: module.apply({"params": p}, *a)), params, jax.tree.unflatten(tree, live)


def test_untrained_networks_give_zero(network):
    apply, params, _ = network
    chex.assert_trees_all_equal(apply(params, X, T, CONDITION), jnp.zeros_like(X))


def test_permuted_points_give_the_permuted_answer(network):
    apply, _, params = network
    order = jax.random.permutation(jax.random.key(4), X.shape[1])
    chex.assert_trees_all_close(
        apply(params, X[:, order], T, CONDITION), apply(params, X, T, CONDITION)[:, order], atol=2e-5
    )


def test_every_point_is_told_of_the_others_the_time_and_the_condition(network):
    apply, _, params = network
    answer = apply(params, X, T, CONDITION)[0, 0]
    for changed in ((X.at[0, 5].add(1.0), T, CONDITION), (X, T.at[0].add(0.1), CONDITION), (X, T, 2 * CONDITION)):
        assert jnp.abs(apply(params, *changed)[0, 0] - answer).max() > 1e-3


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
