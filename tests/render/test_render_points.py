"""Discs for points: where they are, how large, and which is in front."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math.camera import orbit
from jax3d.render.points import draw_points

CAMERA = orbit(0.0, 0.0, 3.0, np.deg2rad(40.0))  # on +x; +y is to the right and +z up
RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def picture(positions, colors, **options):
    return draw_points(jnp.array(positions), jnp.array(colors), CAMERA, size=32, **options)


def test_a_disc_covers_its_area_about_its_projection():
    out = picture([(0.0, 0.3, 0.5)], [RED], radius=0.2)
    focal = 16 / np.tan(np.deg2rad(20.0))
    area = np.pi * (0.2 * focal / 3) ** 2
    assert float(out.opacity.sum()) == pytest.approx(area, rel=0.1)
    rows, columns = np.indices((32, 32)) + 0.5
    weights = np.asarray(out.opacity) / float(out.opacity.sum())
    assert (weights * columns).sum() == pytest.approx(16 + focal * 0.1, abs=0.3)
    assert (weights * rows).sum() == pytest.approx(16 - focal * 0.5 / 3, abs=0.3)
    np.testing.assert_allclose(out.rgb, np.asarray(out.opacity)[..., None] * np.array(RED), atol=1e-6)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearer_disc_hides_the_farther_in_any_order(order):
    positions, colors = np.array([(0.5, 0.0, 0.0), (-0.5, 0.0, 0.0)]), np.array([RED, BLUE])
    out = picture(positions[list(order)], colors[list(order)], radius=0.1)
    np.testing.assert_allclose(out.rgb[16, 16], RED)
    assert float(out.depth[16, 16]) == pytest.approx(2.5, abs=1e-3)


def test_points_behind_the_camera_or_turned_away_are_not_seen():
    assert float(picture([(4.0, 0.0, 0.0)], [RED]).opacity.max()) == 0
    away = picture([(0.0, 0.0, 0.0)], [RED], radius=0.2, normals=jnp.array([(-1.0, 0.0, 0.0)]))
    toward = picture([(0.0, 0.0, 0.0)], [RED], radius=0.2, normals=jnp.array([(1.0, 0.0, 0.0)]))
    assert float(away.opacity.max()) == 0 and float(toward.opacity.max()) == 1
    np.testing.assert_allclose(toward.normal[16, 16], (1.0, 0.0, 0.0))


def test_nothing_is_written_outside_the_picture():
    key = jax.random.key(0)
    out = picture(jax.random.uniform(key, (500, 3), minval=-3, maxval=2), jax.random.uniform(key, (500, 3)))
    assert np.isfinite(np.asarray(out.rgb)).all() and float(out.opacity.max()) <= 1
