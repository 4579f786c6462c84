"""Triplanes and factorised grids: slow references, what each can represent exactly, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math import planes


def arrays(resolution=5, channels=2, count=30):
    """Three planes, three lines and points, random."""
    keys = jax.random.split(jax.random.key(0), 3)
    flat = jax.random.normal(keys[0], (3, resolution, resolution, channels))
    lines = jax.random.normal(keys[1], (3, resolution, channels))
    return flat, lines, jax.random.uniform(keys[2], (count, 3), minval=-1, maxval=1)


def slow_plane(plane, u, v):
    """Bilinear interpolation by hand."""
    steps = len(plane) - 1
    a, b = (u + 1) / 2 * steps, (v + 1) / 2 * steps
    i, j = min(int(a), steps - 1), min(int(b), steps - 1)
    a, b = a - i, b - j
    rows = [(1 - b) * plane[k, j] + b * plane[k, j + 1] for k in (i, i + 1)]
    return (1 - a) * rows[0] + a * rows[1]


def slow_line(line, u):
    """Linear interpolation by hand."""
    return np.stack([np.interp(u, np.linspace(-1, 1, len(line)), channel) for channel in line.T])


@pytest.mark.parametrize(
    ("combine", "join"),
    [(planes.add, sum), (planes.multiply, lambda f: f[0] * f[1] * f[2]), (planes.concatenate, np.concatenate)],
)
def test_a_triplane_is_three_bilinear_lookups(combine, join):
    flat, _, points = arrays()
    found = planes.triplane(flat, points.reshape(5, 6, 3), combine)
    xy, xz, yz = np.asarray(flat, np.float64)
    expected = [
        join([slow_plane(xy, x, y), slow_plane(xz, x, z), slow_plane(yz, y, z)])
        for x, y, z in np.asarray(points, np.float64)
    ]
    np.testing.assert_allclose(found.reshape(30, -1), expected, atol=1e-5)


def test_vm_multiplies_each_plane_by_the_line_across_it():
    flat, lines, points = arrays()
    xy, xz, yz = np.asarray(flat, np.float64)
    along_x, along_y, along_z = np.asarray(lines, np.float64)
    expected = [
        np.concatenate(
            [
                slow_plane(xy, x, y) * slow_line(along_z, z),
                slow_plane(xz, x, z) * slow_line(along_y, y),
                slow_plane(yz, y, z) * slow_line(along_x, x),
            ]
        )
        for x, y, z in np.asarray(points, np.float64)
    ]
    np.testing.assert_allclose(planes.vector_matrix(flat, lines, points), expected, atol=1e-5)


def test_gradients_of_both_orders_match_finite_differences():
    with jax.enable_x64(True):
        flat, lines, points = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), arrays())
        weight = jnp.linspace(-1, 1, 6)

        def normals(flat, lines, points):  # a loss on the gradient in the points
            return jnp.sum(jnp.sin(jax.grad(lambda x: jnp.sum(planes.vector_matrix(flat, lines, x) * weight))(points)))

        arguments, step = (flat, lines, points), 1e-6
        gradients = jax.jit(jax.grad(normals, argnums=(0, 1, 2)))(*arguments)
        function = jax.jit(normals)
        for which, argument in enumerate(arguments):
            moves = [step * sign * jnp.cos(7 * argument) for sign in (-1, 1)]
            low, high = (function(*arguments[:which], argument + d, *arguments[which + 1 :]) for d in moves)
            slope = jnp.sum(gradients[which] * jnp.cos(7 * argument))
            np.testing.assert_allclose(slope, (high - low) / (2 * step), rtol=1e-5)
