"""Points of triangles: even over all of them and inside each."""

import numpy as np
import pytest

from jax3d.math.triangles import draw

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
