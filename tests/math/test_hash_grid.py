"""The hash encoding: a slow loop, dense levels, derivatives of both orders against autodiff and finite differences."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math import grid
from jax3d.math.hash_grid import HashLevels, coarse_to_fine, encode

LEVELS = HashLevels(count=3, features=2, log2_size=8, base=3, finest=13)  # one dense level and two hashed ones


def plain(table, points, levels, smoothstep=False):
    """The same function for autodiff: all corners at once, no rule of our own."""
    offsets, found = np.cumsum((0, *levels.sizes)), []
    corners = np.array(list(itertools.product((0, 1), repeat=3)))
    for n, offset, size in zip(levels.resolutions, offsets, levels.sizes, strict=False):
        position = (jnp.clip(points, -1, 1) + 1) * (n / 2)
        low = jnp.clip(jnp.floor(position), 0, n - 1)
        f = position - low
        f = f * f * (3 - 2 * f) if smoothstep else f
        node = low.astype(jnp.uint32)[:, None] + corners.astype(np.uint32)
        x, y, z = jnp.moveaxis(node, -1, 0)
        hashed = (x ^ y * np.uint32(2654435761) ^ z * np.uint32(805459861)) % np.uint32(size)
        row = (x * (n + 1) + y) * (n + 1) + z if (n + 1) ** 3 <= size else hashed
        weight = jnp.prod(jnp.where(corners == 1, f[:, None], 1 - f[:, None]), axis=-1)
        found.append(jnp.sum(weight[..., None] * table[offset + row], axis=1))
    return jnp.concatenate(found, axis=-1)


def arrays(count=40, levels=LEVELS, dtype=jnp.float64):
    """A table, points, cotangents of the features and of the points, all random."""
    keys = jax.random.split(jax.random.key(0), 4)
    table = jax.random.normal(keys[0], levels.shape, dtype)
    points = jax.random.uniform(keys[1], (count, 3), dtype, -0.99, 0.99)
    weight = jax.random.normal(keys[2], (count, levels.count * levels.features), dtype)
    return table, points, weight, jax.random.normal(keys[3], (count, 3), dtype)


@pytest.mark.parametrize("smoothstep", [False, True])
def test_it_is_the_sum_over_corners_of_the_paper(smoothstep):
    table, points, *_ = arrays(dtype=jnp.float32)
    expected = np.zeros((len(points), 3, 2))
    offset = 0
    for level, (n, size) in enumerate(zip(LEVELS.resolutions, LEVELS.sizes, strict=True)):
        for i, point in enumerate(np.asarray(points, np.float64)):
            cell = np.minimum(np.floor((point + 1) / 2 * n), n - 1).astype(int)
            f = (point + 1) / 2 * n - cell
            f = 3 * f**2 - 2 * f**3 if smoothstep else f
            for bits in itertools.product((0, 1), repeat=3):
                x, y, z = (int(a) for a in cell + bits)
                dense = (n + 1) ** 3 <= 256
                row = (x * (n + 1) + y) * (n + 1) + z if dense else (x ^ y * 2654435761 ^ z * 805459861) % 256
                weight = np.prod([a if bit else 1 - a for a, bit in zip(f, bits, strict=True)])
                expected[i, level] += weight * np.asarray(table)[offset + row]
        offset += size
    found = encode(table, points.reshape(4, 10, 3), LEVELS, smoothstep=smoothstep)
    np.testing.assert_allclose(found, expected.reshape(4, 10, 6), atol=2e-5)


def test_resolutions_grow_geometrically_and_only_full_levels_are_hashed():
    levels = HashLevels()
    assert levels.resolutions == (16, 22, 30, 42, 58, 80, 111, 153, 212, 294, 406, 561, 776, 1072, 1482, 2048)
    assert levels.sizes == (17**3, 23**3, 31**3, 43**3, 59**3, *[2**19] * 11)
    assert levels.shape == (sum(levels.sizes), 2)
    assert HashLevels(count=1, base=7, finest=7, log2_size=9).sizes == (512,)  # 8^3 nodes fit exactly


def test_a_dense_level_is_a_grid():
    levels = HashLevels(count=1, features=3, log2_size=9, base=5, finest=5)
    table, points, *_ = arrays(levels=levels, dtype=jnp.float32)
    expected = grid.interpolate(table.reshape(6, 6, 6, 3), points)
    chex.assert_trees_all_close(encode(table, points, levels), expected, atol=1e-5)


@pytest.mark.parametrize("smoothstep", [False, True])
def test_it_is_continuous_across_cells_and_with_smoothstep_so_is_its_slope(smoothstep):
    with jax.enable_x64(True):
        table, points, *_ = arrays()
        border = points.at[:, 0].set(2 * 4 / LEVELS.resolutions[2] - 1)  # the fourth node of the finest level
        both = border + 1e-9 * jnp.array([[[-1.0, 0, 0]], [[1.0, 0, 0]]])

        def finest(x):
            return encode(table, x, LEVELS, smoothstep=smoothstep)[..., -2:]

        value = finest(both)
        np.testing.assert_allclose(value[0], value[1], atol=1e-6)
        slope = jax.grad(lambda x: finest(x).sum())(both)[..., 0]
        assert (np.abs(slope[0] - slope[1]).max() < 1e-5) == smoothstep


@pytest.mark.parametrize("smoothstep", [False, True])
def test_derivatives_of_both_orders_are_those_of_autodiff_and_of_finite_differences(smoothstep):
    with jax.enable_x64(True):
        table, points, weight, along = arrays()

        def first(function):
            return lambda t, x, w: jnp.sum(jnp.sin(function(t, x, LEVELS, smoothstep=smoothstep)) * w)

        def second(function):  # a loss on normals: of the gradient in x
            slope = jax.grad(first(function), argnums=1)
            return lambda t, x, w: jnp.sum(jnp.cos(slope(t, x, w)) * along)

        for order in (first, second):
            gradients = jax.jit(jax.grad(order(encode), argnums=(0, 1, 2)))(table, points, weight)
            expected = jax.jit(jax.grad(order(plain), argnums=(0, 1, 2)))(table, points, weight)
            chex.assert_trees_all_close(gradients, expected, atol=1e-9)
            function, step = jax.jit(order(encode)), 1e-6
            for which, direction in enumerate((jnp.cos(7 * table), 1e-2 * along, jnp.sin(weight))):
                sides = []
                for sign in (-1, 1):
                    moved = [table, points, weight]
                    moved[which] += sign * step * direction
                    sides.append(function(*moved))
                numeric = (sides[1] - sides[0]) / (2 * step)
                np.testing.assert_allclose(jnp.sum(gradients[which] * direction), numeric, rtol=1e-5, atol=1e-6)


def test_points_outside_take_the_border_s_value_and_nan_stays_where_it_is():
    table, *_ = arrays(dtype=jnp.float32)
    points = jnp.array([[2.0, 0.3, -5.0], [1.0, 0.3, -1.0], [jnp.nan, 0.0, 0.0], [jnp.inf, 0.1, 0.2]])
    found = encode(table, points, LEVELS)
    chex.assert_trees_all_close(found[0], found[1])
    assert jnp.all(jnp.isnan(found[2])) and jnp.all(jnp.isfinite(found[3]))
    slope = jax.grad(lambda x: encode(table, x, LEVELS).sum())(points)
    assert slope[0, 0] == 0 and slope[0, 1] != 0 and slope[0, 2] == 0 and jnp.all(jnp.isfinite(slope[3]))


def test_gradients_of_a_narrow_table_add_up_in_float32():
    levels = HashLevels(count=1, features=1, log2_size=3, base=1, finest=1)
    points = -jnp.ones((4096, 3))  # all on the first node; bfloat16 would stop counting at 256
    table = jnp.zeros(levels.shape, jnp.bfloat16)
    gradient = jax.grad(lambda t: encode(t, points, levels).sum())(table)
    chex.assert_trees_all_equal(gradient.astype(jnp.float32), jnp.zeros((8, 1)).at[0].set(4096.0))
    chex.assert_tree_all_finite(jax.grad(lambda x: encode(table, x, levels).sum())(points.astype(jnp.bfloat16)))


def test_levels_come_in_one_after_the_other():
    chex.assert_trees_all_close(coarse_to_fine(0.0, 5, first=2), jnp.array([1.0, 1.0, 0.0, 0.0, 0.0]))
    chex.assert_trees_all_close(coarse_to_fine(0.5, 5, first=2), jnp.array([1.0, 1.0, 1.0, 0.5, 0.0]), atol=1e-6)
    chex.assert_trees_all_close(coarse_to_fine(1.0, 5, first=2), jnp.ones(5))
    rising = jax.vmap(lambda progress: coarse_to_fine(progress, 4))(jnp.linspace(0, 1, 20))
    assert jnp.all(jnp.diff(rising, axis=0) >= -1e-6)


def test_bad_arguments_are_named_in_one_sentence():
    table, points, *_ = arrays(dtype=jnp.float32)
    with pytest.raises(ValueError, match=r"needs a table of shape \(576, 2\)"):
        encode(table[1:], points, LEVELS)
    with pytest.raises(ValueError, match="points with 3 coordinates"):
        encode(table, points[:, :2], LEVELS)
    with pytest.raises(ValueError, match="base <= finest"):
        HashLevels(base=16, finest=8)
    with pytest.raises(ValueError, match="first=9"):
        coarse_to_fine(0.5, 8, first=9)
