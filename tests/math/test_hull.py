"""The visual hull of a ball and of nothing, and what pictures that miss a place say."""

import jax
import jax.numpy as jnp
import numpy as np

from jax3d.math.camera import orbit
from jax3d.math.hull import visual_hull

DISTANCE, RADIUS, SIZE = 3.0, 0.6, 64
FOV = 2 * np.arctan(0.4)  # at the origin a picture shows 2.4


def pictures(azimuth, elevation):
    """Opacities of a ball about the origin, and cameras: a ray hits it that passes nearer than the radius."""
    camera = orbit(jnp.asarray(azimuth), jnp.asarray(elevation), DISTANCE, FOV)
    line = 0.8 * ((np.arange(SIZE) + 0.5) / SIZE - 0.5)
    tangent = np.hypot(line[:, None], line)
    passes = DISTANCE * tangent / np.sqrt(1 + tangent**2)
    return jnp.broadcast_to(jnp.asarray(passes < RADIUS, jnp.float32), (len(azimuth), SIZE, SIZE)), camera


def test_the_hull_of_a_ball_holds_it_and_little_else():
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    alpha, camera = pictures(np.tile(angles, 3), np.repeat([-0.8, 0.0, 0.8], 12))
    way = np.random.default_rng(0).normal(size=(500, 3))
    way /= np.linalg.norm(way, axis=-1, keepdims=True)
    inside = visual_hull(alpha, camera, jnp.asarray(0.95 * RADIUS * way, jnp.float32))
    outside = visual_hull(alpha, camera, jnp.asarray(1.15 * RADIUS * way, jnp.float32))
    assert np.all(inside > 0.5) and np.mean(outside < 0.5) > 0.97


def test_one_picture_tells_of_its_cone_alone():
    alpha, camera = pictures(np.zeros(1), np.zeros(1))  # from +x
    along = jnp.array([[-5.0, 0, 0], [2.0, 0, 0], [0, 0.9, 0], [0, 5.0, 0], [4.0, 0, 0]])
    # behind and before the ball, beside it, out of the picture, behind the camera
    np.testing.assert_array_equal(jax.jit(visual_hull)(alpha, camera, along), [1, 1, 0, 1, 1])
