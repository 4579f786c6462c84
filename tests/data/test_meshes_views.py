"""Pictures with depth of points, for Shap-E's encoder."""

import jax.numpy as jnp
import numpy as np

from jax3d.data.meshes import views as of
from jax3d.math.axes import from_blender, grid_to_blender
from jax3d.math.camera import rays
from jax3d.math.grid import nodes
from jax3d.math.pan import at_borders, pan
from jax3d.types import Points

RNG = np.random.default_rng(0)
NORMALS = RNG.normal(size=(4096, 3)).astype(np.float32)
NORMALS /= np.linalg.norm(NORMALS, axis=-1, keepdims=True)
BALL = Points(0.5 * NORMALS, np.full((4096, 3), 0.5, np.float32), NORMALS)


def test_the_first_views_are_the_published_circles_and_all_look_at_the_origin():
    pose = of.poses(3, 5, 16, np.random.default_rng(1))
    np.testing.assert_allclose(pose[:3], pan(16, 4).world_from_camera[:3])
    np.testing.assert_allclose(pose[:, :3, 3] + of.DISTANCE * pose[:, :3, 2], 0, atol=1e-5)


def test_depths_lead_to_the_points_surface_and_opacity_to_its_outline():
    pose = of.poses(2, 1, 24, np.random.default_rng(0))
    seen = of.views(BALL, pose, 24)
    sight = rays(at_borders(jnp.asarray(pose), 24), 24, 24)
    places = np.asarray(sight.origins) + seen["depth"][..., None].astype(np.float32) * np.asarray(sight.directions)
    whole = seen["rgba"][..., 3] == 255
    radius = np.linalg.norm(places, axis=-1)[whole]
    assert np.abs(radius - 0.5).max() < 0.1 and abs(np.median(radius) - 0.5) < 0.02
    nearest = np.linalg.norm(np.cross(np.asarray(sight.origins), np.asarray(sight.directions)), axis=-1)
    assert whole[nearest < 0.4].mean() > 0.95 and not whole[nearest > 0.54].any()
    assert (seen["rgba"][nearest > 0.6] == 0).all() and (seen["depth"][nearest > 0.6] == 0).all()


def test_views_of_a_data_set_are_kept_and_each_shape_has_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(of, "CACHE", tmp_path)
    data = {name: np.stack([part[:256]] * 2) for name, part in zip(("points", "colors", "normals"), BALL, strict=True)}
    first, again = (of.dataset_views(data, 1, 1, 8) for _ in range(2))
    assert first["rgba"].shape == (2, 2, 8, 8, 4) and first["poses"].shape == (2, 2, 4, 4)
    assert not np.allclose(first["poses"][0, 1], first["poses"][1, 1])
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert len(list(tmp_path.iterdir())) == 1


def test_points_that_are_spread_come_far_apart():
    points = np.concatenate([np.zeros((50, 3)), np.eye(3), RNG.uniform(0, 0.1, (50, 3))]).astype(np.float32)
    rows = of.spread(points, 4)
    assert rows[0] == 0 and set(rows[1:]) == {50, 51, 52}


def test_a_grid_turns_with_the_axes():
    value = lambda p: p[..., 0] + 10 * p[..., 1] + 100 * p[..., 2]  # noqa: E731
    grid = np.asarray(nodes(4)).reshape(-1, 3)
    turned = grid_to_blender(value(grid).reshape(1, 4, 4, 4))
    np.testing.assert_allclose(turned[0], value(from_blender(grid)).reshape(4, 4, 4), rtol=1e-6)
