"""Multilinear interpolation: exact on multilinear functions, gradients against finite differences."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math import grid


@pytest.mark.parametrize(("sizes", "channels"), [((5,), 2), ((4, 7), grid.SCALAR_CHANNELS + 1), ((3, 5, 4), 2)])
def test_linear_functions_are_reproduced(sizes, channels):
    slope = jax.random.normal(jax.random.key(0), (len(sizes), channels))
    axes = [jnp.linspace(-1, 1, size) for size in sizes]
    positions = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1)
    points = jax.random.uniform(jax.random.key(1), (6, 10, len(sizes)), minval=-1, maxval=1)
    values = grid.interpolate(positions @ slope + 0.3, points)
    chex.assert_trees_all_close(values, points @ slope + 0.3, atol=1e-5)


def test_a_trilinear_term_is_reproduced_inside_a_cell():
    values = grid.nodes(2)
    corner = jnp.prod(values, axis=-1, keepdims=True)
    points = jax.random.uniform(jax.random.key(0), (20, 3), minval=-1, maxval=1)
    chex.assert_trees_all_close(grid.interpolate(corner, points)[:, 0], jnp.prod(points, axis=-1), atol=1e-6)


def test_nodes_return_their_values_and_outside_is_clamped():
    values = jax.random.normal(jax.random.key(0), (4, 4, 4, 3))
    chex.assert_trees_all_close(grid.interpolate(values, grid.nodes(4)), values, atol=1e-5)
    outside = jnp.array([[3.0, 5.0, 1.0], [-2.0, -1.0, -7.0]])
    chex.assert_trees_all_close(grid.interpolate(values, outside), values[(3, 0), (3, 0), (3, 0)], atol=1e-6)


@pytest.mark.parametrize("channels", [3, grid.SCALAR_CHANNELS + 1])
def test_gradients_match_finite_differences(channels):
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 5)
        values, direction = (jax.random.normal(key, (4, 5, 3, channels), jnp.float64) for key in keys[:2])
        points = jax.random.uniform(keys[2], (30, 3), jnp.float64, -0.99, 0.99)
        shift, weight = (
            jax.random.normal(key, (30, n), jnp.float64) for key, n in zip(keys[3:], (3, channels), strict=True)
        )

        def loss(g, p):
            return jnp.sum(weight * jnp.sin(grid.interpolate(g, p)))

        loss = jax.jit(loss)
        by_grid, by_points = jax.grad(loss, argnums=(0, 1))(values, points)
        step = 1e-6
        slope = (loss(values + step * direction, points) - loss(values - step * direction, points)) / (2 * step)
        np.testing.assert_allclose(jnp.sum(by_grid * direction), slope, rtol=1e-7)
        slope = (loss(values, points + step * shift) - loss(values, points - step * shift)) / (2 * step)
        np.testing.assert_allclose(jnp.sum(by_points * shift), slope, rtol=1e-6)


def test_central_differences_of_a_quadratic_are_exact_inside():
    x = grid.nodes(9)
    gradient = grid.central_differences(jnp.sum(x**2, axis=-1))
    inside = (slice(1, -1),) * 3
    chex.assert_trees_all_close(gradient[inside], 2 * x[inside], atol=1e-5)


def test_points_of_another_dimension_are_refused():
    with pytest.raises(ValueError, match="needs points with 3 coordinates"):
        grid.interpolate(jnp.zeros((4, 4, 4, 2)), jnp.zeros((7, 2)))


def test_a_grid_with_one_node_along_an_axis_is_refused():
    with pytest.raises(ValueError, match="at least 2 nodes"):
        grid.interpolate(jnp.zeros((4, 1, 2)), jnp.zeros((7, 2)))


def test_a_point_that_is_nan_stays_nan_and_touches_nobody_else():
    values = jax.random.normal(jax.random.key(0), (3, 3, 2))
    points = jnp.array([[jnp.nan, 0.3], [0.5, 0.1], [jnp.inf, 0.0]])
    found = grid.interpolate(values, points)
    assert jnp.all(jnp.isnan(found[0])) and jnp.all(jnp.isfinite(found[1:]))
    chex.assert_trees_all_close(found[1], grid.interpolate(values, points[1:2])[0])


def test_gradients_of_a_narrow_grid_add_up_in_float32():
    points = jnp.zeros((4096, 1))  # all on the middle node; bfloat16 would stop counting at 256
    gradient = jax.grad(lambda g: grid.interpolate(g, points).astype(jnp.float32).sum())(
        jnp.zeros((3, 1), jnp.bfloat16)
    )
    chex.assert_trees_all_equal(gradient.astype(jnp.float32), jnp.array([[0.0], [4096.0], [0.0]]))
