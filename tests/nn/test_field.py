"""Radiance fields: the survey's network by hand, normals of known shapes, biases."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jax3d.math import grid, linalg
from jax3d.nn import field as fields

SMALL = fields.NeRFMLP(width=16, layers=3, skip=2, point_frequencies=3, direction_frequencies=2)


def shell(resolution, radius=0.6):
    """Voxels whose raw density falls linearly through 0 at a sphere."""
    voxels = fields.Voxels(resolution=resolution, bias=lambda x: 20.0 * (radius - linalg.safe_norm(x)))
    params = {"grid": jnp.zeros((resolution, resolution, resolution, 4))}
    return voxels, params


def test_the_survey_s_network_has_its_parameter_count():
    shapes = jax.eval_shape(fields.NeRFMLP().init, jax.random.key(0), jnp.zeros((1, 3)), jnp.zeros((1, 3)))
    point, direction = 3 + 2 * 10 * 3, 3 + 2 * 4 * 3  # 63 and 27
    trunk = (point * 256 + 256) + 6 * (256 * 256 + 256) + ((256 + point) * 256 + 256)  # layer 4 sees the point again
    heads = (256 + 1) + (256 * 256 + 256) + ((256 + direction) * 128 + 128) + (128 * 3 + 3)
    assert trunk + heads == 595844
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == trunk + heads
    assert shapes["params"]["pos_layers.4"]["kernel"].shape == (319, 256)


def test_the_network_matches_numpy():
    k_init, k_points, k_directions = jax.random.split(jax.random.key(0), 3)
    points, directions = (jax.random.normal(key, (5, 3)) for key in (k_points, k_directions))
    params = SMALL.init(k_init, points, directions)["params"]
    density, color = SMALL.apply({"params": params}, points, directions)

    def encode(x, count):
        return np.concatenate([x] + [f(2**i * np.pi * x) for i in range(count) for f in (np.sin, np.cos)], axis=-1)

    def linear(name, x):
        return x @ np.asarray(params[name]["kernel"], np.float64) + np.asarray(params[name]["bias"], np.float64)

    encoded = encode(np.asarray(points, np.float64), 3)
    h = np.maximum(linear("pos_layers.0", encoded), 0)
    h = np.maximum(linear("pos_layers.1", h), 0)
    h = np.maximum(linear("pos_layers.2", np.concatenate([h, encoded], axis=-1)), 0)
    np.testing.assert_allclose(density, np.maximum(linear("density_head", h), 0)[:, 0], atol=1e-4)
    seen = np.concatenate([linear("feature_layer", h), encode(np.asarray(directions, np.float64), 2)], axis=-1)
    last = linear("color_layers.2", np.maximum(linear("color_layers.0", seen), 0))
    np.testing.assert_allclose(color, 1 / (1 + np.exp(-last)), atol=1e-4)


def test_the_mlp_s_normal_is_the_falling_direction_of_its_density():
    points = jax.random.uniform(jax.random.key(1), (40, 3), minval=-1, maxval=1)
    params = SMALL.init(jax.random.key(0), points, points)
    density, color, normal = SMALL.apply(params, points, points, normals=True, method="sample")
    chex.assert_trees_all_close((density, color), SMALL.apply(params, points, points), atol=1e-6)
    slope = jax.vmap(jax.grad(lambda x: SMALL.apply(params, x)[0]))(points)
    chex.assert_trees_all_close(normal, linalg.normalize(-slope), atol=1e-5)
    length = linalg.safe_norm(normal)
    assert jnp.all(jnp.isclose(length, 1.0, atol=1e-5) | (length == 0)) and jnp.any(length > 0)
    second = jax.grad(lambda p: SMALL.apply(p, points, points, normals=True, method="sample").normal.sum())(params)
    chex.assert_tree_all_finite(second)


def test_voxel_normals_of_a_sphere_point_outwards():
    voxels, params = shell(32)
    points = 0.6 * linalg.normalize(jax.random.normal(jax.random.key(0), (200, 3)))
    sample = voxels.apply({"params": params}, points, None, normals=True, method="sample")
    assert jnp.min(linalg.dot(sample.normal, points / 0.6)) > 0.99
    chex.assert_trees_all_close(sample.density, jnp.ones(200), atol=2e-2)  # exp(0)
    chex.assert_trees_all_close(sample.color, jnp.full((200, 3), 0.5))
    gradient = jax.grad(
        lambda p: voxels.apply({"params": p}, points, None, normals=True, method="sample").normal.sum()
    )(params)
    chex.assert_tree_all_finite(gradient)
    assert jnp.abs(gradient["grid"]).max() > 0


def test_voxels_interpolate_what_they_hold():
    voxels = fields.Voxels(resolution=6, bias=lambda x: jnp.zeros(x.shape[:-1]), activation=fields.trunc_exp, noise=1.0)
    params = voxels.init(jax.random.key(0), jnp.zeros((1, 3)))["params"]
    density, color = voxels.apply({"params": params}, grid.nodes(6))
    chex.assert_trees_all_close(density, jnp.exp(params["grid"][..., 0]), rtol=1e-4)
    chex.assert_trees_all_close(color, jax.nn.sigmoid(params["grid"][..., 1:]), atol=1e-5)


def test_blobs_have_the_published_values():
    points = jnp.array([[0.0, 0.0, 0.0], [0.0, 0.2, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, -1.0]])
    gaussian = 5 * jnp.exp(-jnp.array([0.0, 0.5, 3.125, 12.5]))
    chex.assert_trees_all_close(fields.GaussianBlob()(points), gaussian, rtol=1e-5)
    chex.assert_trees_all_close(fields.ConeBlob()(points), jnp.array([10.0, 6.0, 0.0, -10.0]), atol=1e-5)
    chex.assert_tree_all_finite(jax.grad(lambda x: fields.ConeBlob()(x).sum())(points))


def test_truncated_exponential_neither_overflows_nor_dies():
    x = jnp.array([-100.0, 0.0, 14.0, 100.0])
    value, slope = fields.trunc_exp(x), jax.vmap(jax.grad(fields.trunc_exp))(x)
    chex.assert_trees_all_close(value, jnp.exp(jnp.minimum(x, 15.0)))
    chex.assert_trees_all_close(slope, value)


def test_the_sky_starts_grey_and_sees_only_directions():
    sky = fields.Sky()
    directions = linalg.normalize(jax.random.normal(jax.random.key(0), (2, 4, 3)))
    params = sky.init(jax.random.key(1), directions)
    chex.assert_trees_all_close(sky.apply(params, directions), jnp.full((2, 4, 3), 0.5))
