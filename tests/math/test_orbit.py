"""The camera prior and schedules as values."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math.camera import project
from jax3d.math.orbit import OrbitSampler, turntable
from jax3d.math.pixels import disturb, over_random_background
from jax3d.math.ramp import Ramp, ramp
from jax3d.math.random import normal_each, split_each


def views(sampler: OrbitSampler, count: int = 4000):
    return jax.vmap(sampler)(jax.random.split(jax.random.key(0), count))


def test_unshaken_cameras_see_the_origin_in_the_middle_from_their_distance():
    view = views(OrbitSampler(distance=(2.0, 4.0)), 200)
    uv, depth = project(view.camera, jnp.zeros((1, 3)))
    chex.assert_trees_all_close(uv[:, 0], jnp.full((200, 2), 0.5), atol=1e-5)
    assert 2.0 <= float(depth.min()) < 2.2 and 3.8 < float(depth.max()) <= 4.0 + 1e-5


def test_named_angles_are_those_of_the_position():
    view = views(OrbitSampler(elevation=(-10.0, 60.0)), 200)
    x, y, z = view.camera.position.T
    chex.assert_trees_all_close(jnp.arctan2(y, x) % (2 * jnp.pi), view.azimuth, atol=1e-4)
    chex.assert_trees_all_close(jnp.arcsin(z / 3.0), view.elevation, atol=1e-4)


def test_elevation_is_uniform_in_area_or_in_angle():
    by_area = views(OrbitSampler(elevation=(0.0, 90.0), uniform_area=1.0)).elevation
    by_angle = views(OrbitSampler(elevation=(0.0, 90.0), uniform_area=0.0)).elevation
    # a hemisphere's area is uniform in sin(elevation): mean 1/2 and variance 1/12
    assert abs(float(jnp.sin(by_area).mean()) - 0.5) < 0.02 and abs(float(jnp.sin(by_area).var()) - 1 / 12) < 0.005
    assert abs(float(by_angle.mean()) - jnp.pi / 4) < 0.03


def test_jitter_moves_the_camera_but_not_the_named_angles():
    still, shaken = views(OrbitSampler(), 50), views(OrbitSampler(position_jitter=0.1, target_jitter=0.2), 50)
    chex.assert_trees_all_equal(still.azimuth, shaken.azimuth)
    moved = jnp.abs(still.camera.position - shaken.camera.position)
    assert 0.05 < float(moved.max()) <= 0.1 + 1e-5
    rotation = shaken.camera.world_from_camera[:, :3, :3]
    chex.assert_trees_all_close(rotation @ rotation.mT, jnp.broadcast_to(jnp.eye(3), (50, 3, 3)), atol=1e-5)


def test_a_turntable_starts_in_front_and_goes_over_the_left_side():
    cameras = turntable(4, elevation=0.0)
    expected = 3.0 * jnp.array([[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])
    chex.assert_trees_all_close(cameras.position, expected, atol=1e-5)


def test_ramps_interpolate_over_the_run_whatever_its_length():
    for steps in (10, 1000):
        value = ramp(1.0, 0.0, until=0.5).schedule(steps)
        expected = [1.0, 0.5, 0.0, 0.0]
        np.testing.assert_allclose([float(value(steps * f)) for f in (0, 0.25, 0.5, 1)], expected, atol=1e-6)
    assert float(ramp(0.3).schedule(7)(5)) == pytest.approx(0.3)
    assert not ramp(0.0).ever and ramp(0.0, 1.0).ever
    with pytest.raises(ValueError, match="increasing fractions"):
        Ramp(((0.5, 1.0), (0.0, 2.0)))


def test_an_example_keeps_its_numbers_in_any_batch():
    keys = jax.random.split(jax.random.key(1), 6)
    first, second = split_each(keys, 2)
    together = normal_each(first, (3,))
    chex.assert_trees_all_equal(together[4], normal_each(first[4:5], (3,))[0])
    assert not np.allclose(together, normal_each(second, (3,)))


def test_backgrounds_show_through_transparency_only():
    keys = jax.random.split(jax.random.key(2), 2)
    rgba = np.zeros((2, 4, 4, 4), np.uint8)
    rgba[..., :2, :, :] = (255, 0, 0, 255)
    image = over_random_background(rgba, keys)
    chex.assert_trees_all_close(image[:, :2], jnp.broadcast_to(jnp.array([1.0, 0, 0]), (2, 2, 4, 3)), atol=1e-6)
    flat = image[:, 2:]
    assert float(jnp.ptp(flat, axis=(1, 2)).max()) == 0 and not np.allclose(flat[0], flat[1])


def test_disturbed_pictures_stay_pictures():
    image = jax.random.uniform(jax.random.key(3), (8, 16, 16, 3))
    out = disturb(image, jax.random.split(jax.random.key(4), 8))
    assert out.shape == image.shape and 0 <= float(out.min()) and float(out.max()) <= 1
    assert 0.01 < float(jnp.abs(out - image).mean()) < 0.3
