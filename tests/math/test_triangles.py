"""Points of triangles: even over all of them and inside each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math.triangles import draw, drawn, points_on
from jax3d.types import Mesh

SQUARE = np.array([[[0.0, 0, 0], [2, 0, 0], [2, 1, 0]], [[0.0, 0, 0], [2, 1, 0], [0, 1, 0]], [[5.0, 5, 5]] * 3])


def test_points_are_uniform_over_a_square_of_two_triangles():
    face, weights = draw(SQUARE, 20000, np.random.default_rng(0))
    points = np.einsum("nk,nkd->nd", weights, SQUARE[face])
    assert weights.min() >= 0 and set(face) == {0, 1}  # the third has no area
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-12)
    cells = np.histogram2d(points[:, 0], points[:, 1], bins=(8, 4), range=((0, 2), (0, 1)))[0]
    assert np.abs(cells / cells.mean() - 1).max() < 0.15  # 625 a cell: 15 % is 3.75 standard deviations


def test_triangles_without_area_are_refused():
    with pytest.raises(ValueError, match="triangles with an area"):
        draw(SQUARE[2:], 5, np.random.default_rng(0))


def test_a_surface_is_sampled_uniformly():
    """On an L of two rectangles: a quarter of the area, a quarter of the points; means and variances of the uniform."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 3], [0, 0, 3]], np.float32)
    mesh = Mesh(corners, np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5]]))
    points = points_on(mesh, 40000, np.random.default_rng(0)).positions
    flat = points[:, 2] == 0
    assert np.mean(flat) == pytest.approx(0.25, abs=0.01)
    np.testing.assert_allclose(points[flat].mean(0), [0.5, 0.5, 0], atol=0.01)
    np.testing.assert_allclose(points[~flat].mean(0), [0, 0.5, 1.5], atol=0.02)
    np.testing.assert_allclose(points[~flat].var(0), [0, 1 / 12, 9 / 12], atol=0.01)


def test_colours_and_normals_are_those_of_the_corners_or_else_the_faces():
    corners = np.array([[0, 0, 1], [2, 0, 1], [0, 2, 1]], np.float32)
    mesh = Mesh(corners, np.array([[0, 1, 2]]), colors=0.5 * corners)
    drawn = points_on(mesh, 50, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.colors, 0.5 * drawn.positions, atol=1e-6)
    np.testing.assert_allclose(drawn.normals, np.tile([0, 0, 1], (50, 1)), atol=1e-6)
    tilted = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    drawn = points_on(mesh._replace(colors=None, normals=tilted), 50, np.random.default_rng(0))
    shares = np.stack([1 - drawn.positions[:, :2].sum(1) / 2, *(drawn.positions[:, :2].T / 2)], axis=-1)
    np.testing.assert_allclose(drawn.normals, shares / np.linalg.norm(shares, axis=-1, keepdims=True), atol=1e-5)
    assert drawn.colors is None


def test_points_drawn_under_jit_are_uniform_and_move_with_the_corners():
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 3], [0, 0, 3]], np.float32)
    faces = jnp.array([[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5], [1, 1, 2]])
    points = jax.jit(lambda v: drawn(v, faces, 40000, jax.random.key(0)))(corners)
    flat = points[:, 2] == 0
    assert np.mean(flat) == pytest.approx(0.25, abs=0.01)
    np.testing.assert_allclose(points[~flat].mean(0), [0, 0.5, 1.5], atol=0.02)
    np.testing.assert_allclose(points[~flat].var(0), [0, 1 / 12, 9 / 12], atol=0.01)
    # Moving all corners moves every point as far.
    gradient = jax.grad(lambda v: drawn(v, faces, 1000, jax.random.key(0))[:, 1].mean())(jnp.asarray(corners))
    np.testing.assert_allclose(gradient.sum(0), [0, 1, 0], atol=1e-5)


def test_colours_come_from_the_texture_where_there_is_one():
    """The unit square under its own picture, whose first row is its upper edge."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    texture = np.random.default_rng(1).random((2, 3, 3)).astype(np.float32)
    mesh = Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]), 0 * corners, None, corners[:, :2], texture)
    found = points_on(mesh, 500, np.random.default_rng(0))
    row, column = np.floor(2 * (1 - found.positions[:, 1])), np.floor(3 * found.positions[:, 0])
    np.testing.assert_array_equal(found.colors, texture[row.astype(int), column.astype(int)])
