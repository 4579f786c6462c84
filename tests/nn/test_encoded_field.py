"""Encoded fields: the contract of nn/field, networks by hand, normals against differences, levels let in by a trace."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jax3d.math import grid, linalg, planes
from jax3d.math.hash_grid import HashLevels
from jax3d.nn.encoded_field import VM, EncodedField, HashGrid, Triplane

ENCODERS = {
    "hash": HashGrid(HashLevels(3, log2_size=8, base=3, finest=12), smoothstep=True),
    "triplane": Triplane(resolution=6, channels=4, combine=planes.multiply, mean=1.0),
    "vm": VM(resolution=6, channels=3),
}


def flat(points):
    """No bias."""
    return jnp.zeros(points.shape[:-1])


def field_and_params(encoder, **fields):
    """A small field without bias, with parameters large enough to matter everywhere."""
    field = EncodedField(encoder=encoder, width=8, features=3, bias=flat, **fields)

    @jax.jit
    def make(key):
        params = field.init(key, jnp.zeros((1, 3)), jnp.zeros((1, 3)))["params"]
        return jax.tree.map(lambda leaf: leaf + 0.3 * jnp.sin(jnp.arange(leaf.size) ** 2.0).reshape(leaf.shape), params)

    return field, make(jax.random.key(0))


@pytest.mark.parametrize("name", ENCODERS)
def test_it_keeps_the_contract_of_a_field(name):
    field, params = field_and_params(ENCODERS[name])
    points = jnp.concatenate([grid.nodes(3).reshape(9, 3, 3), 2.0 * grid.nodes(3).reshape(9, 3, 3)])  # corners, outside
    directions = linalg.normalize(points + jnp.array([0.3, 0.2, 0.1]))

    @functools.partial(jax.value_and_grad, has_aux=True)
    def everything(params):
        pair = field.apply({"params": params}, points, directions)
        sample = field.apply({"params": params}, points, directions, normals=True, method="sample")
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in sample), (pair, sample)

    (_, (pair, sample)), gradient = jax.jit(everything)(params)
    assert sample.density.shape == (18, 3) and sample.color.shape == sample.normal.shape == (18, 3, 3)
    assert jnp.all(sample.density >= 0) and jnp.all((sample.color >= 0) & (sample.color <= 1))
    chex.assert_trees_all_close(pair, (sample.density, sample.color), rtol=1e-5)
    length = linalg.safe_norm(sample.normal)
    assert jnp.all(jnp.isclose(length, 1.0, atol=1e-5) | (length == 0)) and jnp.any(length > 0)
    chex.assert_tree_all_finite(gradient)
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradient))


def test_normals_and_their_gradients_match_finite_differences_of_the_density():
    with jax.enable_x64(True):
        field, params = field_and_params(ENCODERS["hash"])
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
        points = jax.random.uniform(jax.random.key(2), (30, 3), jnp.float64, -0.97, 0.97)
        density = jax.jit(lambda x: field.apply({"params": params}, x)[0])
        normals = jax.jit(lambda p: field.apply({"params": p}, points, normals=True, method="sample").normal)
        step = 1e-6
        slope = jnp.stack([density(points + step * axis) - density(points - step * axis) for axis in jnp.eye(3)], -1)
        np.testing.assert_allclose(normals(params), linalg.normalize(-slope / (2 * step)), atol=1e-5)

        start, unravel = ravel_pytree(params)
        loss = jax.jit(lambda v: jnp.sum(jnp.sin(3 * normals(unravel(v)))))
        move = jnp.cos(7 * start)
        numeric = (loss(start + 1e-7 * move) - loss(start - 1e-7 * move)) / 2e-7
        np.testing.assert_allclose(jnp.vdot(jax.jit(jax.grad(loss))(start), move), numeric, rtol=1e-4)


def test_the_networks_match_numpy():
    field, params = field_and_params(ENCODERS["triplane"], degree=1, color_layers=2)
    points = jax.random.uniform(jax.random.key(3), (5, 3), minval=-1, maxval=1)
    directions = linalg.normalize(points)
    density, color = field.apply({"params": params}, points, directions)

    def linear(layer, x):
        return x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)

    features = np.asarray(planes.triplane(params["encoder"]["planes"], points, planes.multiply))
    net = params["density_net"]
    raw = linear(net["layers_2"], np.maximum(linear(net["layers_0"], features), 0))
    np.testing.assert_allclose(density, np.exp(raw[:, 0]), rtol=1e-4)
    x, y, z = np.asarray(directions).T
    harmonics = np.stack([np.full(5, 0.5 / np.sqrt(np.pi)), *(np.sqrt(0.75 / np.pi) * np.stack([-y, z, -x]))], axis=-1)
    net, h = params["color_net"], np.concatenate([raw[:, 1:], harmonics], axis=-1)
    h = np.maximum(linear(net["layers_2"], np.maximum(linear(net["layers_0"], h), 0)), 0)
    np.testing.assert_allclose(color, 1 / (1 + np.exp(-linear(net["layers_4"], h))), atol=1e-5)


def test_without_a_degree_the_colour_is_the_same_from_everywhere():
    field, params = field_and_params(ENCODERS["triplane"], degree=None)
    points = grid.nodes(2)
    chex.assert_trees_all_equal(
        field.apply({"params": params}, points, linalg.normalize(points)), field.apply({"params": params}, points)
    )


def test_init_is_deterministic_small_and_shows_the_bias():
    field = EncodedField(encoder=HashGrid(HashLevels(4, log2_size=10)))
    init = jax.jit(lambda key: field.init(key, jnp.zeros((1, 3)))["params"])
    params, again = init(jax.random.key(0)), init(jax.random.key(0))
    chex.assert_trees_all_equal(params, again)
    table = params["encoder"]["table"]
    assert 9e-5 < jnp.abs(table).max() <= 1e-4 and jnp.abs(table.mean()) < 1e-5
    density, color = field.apply({"params": params}, jnp.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    chex.assert_trees_all_close(density, jnp.exp(jnp.array([4.0, -4.0])), rtol=1e-2)


def test_a_traced_progress_lets_levels_in():
    encoder = HashGrid(HashLevels(3, log2_size=8, base=3, finest=12), first=1)
    field, params = field_and_params(encoder)
    points = jax.random.uniform(jax.random.key(4), (20, 3), minval=-1, maxval=1)

    def gradient(progress):
        annealed = field.clone(encoder=encoder.clone(progress=progress))
        return jax.grad(lambda p: annealed.apply({"params": p}, points)[0].sum())(params)["encoder"]["table"]

    traced, coarsest = jax.jit(gradient), 4**3
    early, late = traced(0.0), traced(1.0)
    assert jnp.any(early[:coarsest] != 0) and jnp.all(early[coarsest:] == 0)
    assert jnp.any(late[coarsest:] != 0)
    chex.assert_trees_all_close(late, jax.jit(lambda: gradient(None))(), rtol=1e-5)
