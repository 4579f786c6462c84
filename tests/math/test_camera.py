"""The camera convention: geometry, round trips, and the published conventions it converts from."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math import camera as cameras
from jax3d.math import linalg

ANGLES = (jnp.array([0.0, 1.0, 2.5, -2.0]), jnp.array([0.0, 0.4, -0.9, 1.5]))


def views(aspect: float = 1.0) -> cameras.Camera:
    return cameras.orbit(*ANGLES, 2.5, 0.8, aspect=aspect)


def test_a_point_on_a_ray_projects_to_the_centre_of_its_pixel():
    height, width = 6, 9
    camera = views(aspect=width / height)
    rays = cameras.rays(camera, height, width)
    chex.assert_shape(rays.directions, (4, height, width, 3))
    chex.assert_trees_all_close(linalg.safe_norm(rays.directions), jnp.ones((4, height, width)), atol=1e-6)
    points = rays.origins + 1.7 * rays.directions
    image, depth = cameras.project(camera, points.reshape(4, -1, 3))
    u, v = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    expected = np.broadcast_to(np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2), image.shape)
    chex.assert_trees_all_close(image, jnp.array(expected, jnp.float32), atol=1e-5)
    assert jnp.all((depth > 0) & (depth <= 1.7 + 1e-5))


def test_pixels_are_square_at_the_image_aspect():
    rays = cameras.rays(views(aspect=1.5), 6, 9).directions
    across = linalg.safe_norm(rays[:, 3, 4] - rays[:, 3, 5])
    down = linalg.safe_norm(rays[:, 2, 4] - rays[:, 3, 4])
    chex.assert_trees_all_close(across, down, rtol=0.02)


def test_vertical_field_of_view():
    top = jnp.array(
        [0.0, 0.0, jnp.tan(0.4) * 2.5]
    )  # at the edge of a camera at the horizon, through the origin's plane
    image, _ = cameras.project(cameras.orbit(0.0, 0.0, 2.5, 0.8), top[None])
    chex.assert_trees_all_close(image[0], jnp.array([0.5, 0.0]), atol=1e-6)


def test_orbit_stands_where_it_says_and_looks_at_the_origin():
    azimuth, elevation = ANGLES
    camera = views()
    expected = 2.5 * jnp.stack(
        [jnp.cos(elevation) * jnp.cos(azimuth), jnp.cos(elevation) * jnp.sin(azimuth), jnp.sin(elevation)], axis=-1
    )
    chex.assert_trees_all_close(camera.position, expected, atol=1e-6)
    image, depth = cameras.project(camera, jnp.zeros((4, 1, 3)))
    chex.assert_trees_all_close(image, jnp.full((4, 1, 2), 0.5), atol=1e-6)
    chex.assert_trees_all_close(depth, jnp.full((4, 1), 2.5), atol=1e-6)
    pose = cameras.look_at(camera.position, jnp.zeros(3), jnp.array([0.0, 0.0, 1.0]))
    chex.assert_trees_all_close(pose, camera.world_from_camera, atol=1e-5)


def test_the_front_camera_sees_the_left_hand_on_the_right_and_the_head_on_top():
    front = cameras.orbit(0.0, 0.0, 3.0, 0.7)
    (left_hand, head), _ = cameras.project(front, jnp.array([[0.0, 0.5, 0.0], [0.0, 0.0, 0.5]]))
    assert left_hand[0] > 0.5 and abs(left_hand[1] - 0.5) < 1e-6
    assert head[1] < 0.5 and abs(head[0] - 0.5) < 1e-6
    left_side = cameras.orbit(jnp.pi / 2, 0.0, 3.0, 0.7)
    (nose, hand), depth = cameras.project(left_side, jnp.array([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]))
    assert nose[0] < 0.5, "seen from its left, the object faces left"
    assert depth[1] < depth[0], "its left hand is nearer"


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_orbit_is_continuous_at_the_poles(sign):
    at, before = (cameras.orbit(0.3, sign * jnp.pi / 2 - d, 2.0, 0.7).world_from_camera for d in (0.0, 1e-3 * sign))
    chex.assert_trees_all_close(at, before, atol=3e-3)
    gradient = jax.grad(lambda e: jnp.sum(cameras.orbit(0.3, e, 2.0, 0.7).world_from_camera ** 2))(sign * jnp.pi / 2)
    assert jnp.isfinite(gradient)


def test_opengl_poses_round_trip_and_look_along_minus_z():
    pose = views().world_from_camera
    chex.assert_trees_all_equal(cameras.from_opengl(cameras.to_opengl(pose)), pose)
    opengl = cameras.to_opengl(pose)
    chex.assert_trees_all_close(-2.5 * opengl[..., :3, 2], -pose[..., :3, 3], atol=1e-6)
    assert jnp.all(opengl[..., 2, 1] > 0), "OpenGL's y axis is up"


def test_nerf_synthetic_frame():
    # r_0 of the training frames of the Blender "lego" scene: transform_matrix and camera_angle_x as published.
    matrix = jnp.array(
        [
            [-0.9999021887779236, 0.004192245192825794, -0.013345719315111637, -0.05379832163453102],
            [-0.013988681137561798, -0.2996590733528137, 0.95394366979599, 3.845470428466797],
            [-4.656612873077393e-10, 0.9540371894836426, 0.29968830943107605, 1.2080823183059692],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
    camera = cameras.from_nerf_synthetic(matrix, 0.6911112070083618)
    chex.assert_trees_all_close(camera.focal * 800, jnp.full(2, 1111.1111), rtol=1e-5)
    image, depth = cameras.project(camera, jnp.zeros((1, 3)))
    chex.assert_trees_all_close(image, jnp.full((1, 2), 0.5), atol=1e-4)  # that camera looks at the origin
    chex.assert_trees_all_close(depth, jnp.full(1, 4.0311), rtol=1e-4)  # from its published radius


def test_threestudio_pose():
    elevation, azimuth, distance = 25.0, 130.0, 1.8
    e, a = np.deg2rad(elevation), np.deg2rad(azimuth)
    position = distance * np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    forward = -position / np.linalg.norm(position)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    opengl = np.eye(4)
    opengl[:3] = np.stack([right, np.cross(right, forward), -forward, position], axis=-1)
    camera = cameras.from_threestudio(elevation, azimuth, distance, 50.0)
    chex.assert_trees_all_close(cameras.to_opengl(camera.world_from_camera), jnp.array(opengl, jnp.float32), atol=1e-6)
    chex.assert_trees_all_close(camera.focal[1], jnp.float32(0.5 / np.tan(np.deg2rad(25.0))), rtol=1e-6)
