"""Signed distances against brute force: the boundary sampled densely, membership from the definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math import sdf

N = 4001


def _outline(corners):
    """Points along a closed polygon."""
    ends = np.roll(corners, -1, axis=0)
    return np.concatenate([np.linspace(a, b, N) for a, b in zip(corners, ends, strict=True)])


def _jnp(*arrays):
    return (jnp.asarray(a, jnp.float32) for a in arrays)


def _check(values, points, outline, inside):
    nearest = np.min(np.linalg.norm(points[:, None] - outline[None], axis=-1), axis=1)
    np.testing.assert_allclose(values, np.where(inside, -nearest, nearest), atol=2e-3)


@pytest.fixture
def points(rng):
    return rng.uniform(-1.5, 1.5, (300, 2))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("bottom, top, half", [(0.8, 0.3, 0.5), (0.2, 0.9, 0.7), (0.5, 0.5, 0.2), (0.6, 0.0, 0.9)])
def test_trapezoid(points, bottom, top, half):
    x, y = points.T
    outline = _outline(np.array([[-bottom, -half], [bottom, -half], [top, half], [-top, half]]))
    width = bottom + (top - bottom) * (y + half) / (2 * half)
    _check(sdf.trapezoid(*_jnp(x, y), bottom, top, half), points, outline, (np.abs(y) < half) & (np.abs(x) < width))


@pytest.mark.parametrize("bottom, top, half", [(0.8, 0.3, 0.5), (0.5, 0.5, 0.7), (0.4, 0.9, 0.0)])
def test_segment(points, bottom, top, half):
    outline = np.linspace([bottom, -half], [top, half], N)
    _check(sdf.segment(*_jnp(*points.T), bottom, top, half), points, outline, False)


@pytest.mark.parametrize("cut", [0.0, 0.4, -0.5])
def test_cut_disk(points, cut):
    radius = 0.9
    x, y = points.T
    start = np.arcsin(cut / radius)
    angle = np.linspace(start, np.pi - start, N)
    chord = np.linspace(-np.cos(start), np.cos(start), N) * radius
    outline = np.concatenate(
        [radius * np.stack([np.cos(angle), np.sin(angle)], -1), np.stack([chord, 0 * chord + cut], -1)]
    )
    _check(sdf.cut_disk(*_jnp(x, y), radius, cut), points, outline, (np.hypot(x, y) < radius) & (y > cut))


def test_extruded_rectangle_is_the_box(rng):
    p = rng.uniform(-1.5, 1.5, (500, 3))
    half = np.array([0.6, 0.3, 0.4])
    q = np.abs(p) - half
    box = np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(-1), 0)
    x, y, z = _jnp(*p.T)
    ours = sdf.extrude(sdf.trapezoid(x, z, 0.6, 0.6, 0.4), y, 0.3)
    np.testing.assert_allclose(ours, box, atol=1e-6)


def test_a_trapezoid_of_no_size_is_a_point_and_has_finite_gradients():
    def ball(p):
        return sdf.trapezoid(sdf.length(p[0], p[2]), p[1], 0.0, 0.0, 0.0)

    np.testing.assert_allclose(ball(jnp.array([0.3, 0.4, 1.2])), 1.3, rtol=1e-6)
    assert np.all(np.isfinite(jax.grad(ball)(jnp.zeros(3))))
