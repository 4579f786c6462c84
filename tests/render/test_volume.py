"""The renderer against closed forms, a slow loop over rays and samples, and itself in chunks."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math import camera as cameras
from jax3d.math import linalg
from jax3d.nn.field import FieldSample
from jax3d.render import volume
from jax3d.render.shade import point_light


def cloud(points, directions, normals=True):
    """A smooth ball with position-dependent colour."""
    density = 8.0 * jnp.exp(-4.0 * linalg.dot(points, points))
    return FieldSample(density, 0.5 + 0.4 * jnp.sin(3 * points), linalg.normalize(points) if normals else None)


def fog(points, directions, density=0.7):
    return FieldSample(jnp.full(points.shape[:-1], density), jnp.full(points.shape, 0.25))


def rays(height=5, width=6):
    return cameras.rays(cameras.orbit(0.4, 0.3, 3.0, 0.6), height, width)


render = functools.partial(jax.jit, static_argnames=("query", "samples", "region", "proposals", "chunk"))(
    volume.render_rays
)


def test_homogeneous_slab():
    straight = cameras.Rays(jnp.array([[3.0, 0.0, 0.0], [3.0, 2.0, 0.0]]), jnp.array([[-1.0, 0.0, 0.0]] * 2))
    out = render(fog, straight, samples=64)
    opacity = 1 - np.exp(-0.7 * 2)
    chex.assert_trees_all_close(out.opacity, jnp.array([opacity, 0.0]), atol=1e-6)  # the second ray misses the box
    chex.assert_trees_all_close(out.rgb[0], jnp.full(3, 0.25 * opacity), atol=1e-6)
    depth = (2 + 1 / 0.7) - np.exp(-0.7 * 2) * (4 + 1 / 0.7)  # integral of t sigma exp(-sigma (t - 2)) over [2, 4]
    chex.assert_trees_all_close(out.depth, jnp.array([depth, 0.0]), rtol=1e-3)
    chex.assert_trees_all_equal(out.normal, jnp.zeros((2, 3)))


def test_an_opaque_wall_shows_only_its_front():
    def wall(points, directions):
        front = points[..., :1] > 0.4
        return FieldSample(jnp.where(points[..., 0] < 0.5, 1e6, 0.0), jnp.where(front, 1.0, 0.0) * jnp.ones(3))

    ray = cameras.Rays(jnp.array([[3.0, 0.0, 0.0]]), jnp.array([[-1.0, 0.0, 0.0]]))
    out = render(wall, ray, samples=128)
    chex.assert_trees_all_close((out.opacity, out.rgb), (jnp.ones(1), jnp.ones((1, 3))), atol=1e-6)
    assert abs(out.depth[0] - 2.5) < 2 / 128


def test_matches_a_slow_loop_and_chunks_do_not_matter():
    bundle, samples = rays(), 20
    region = volume.Ball(0.9)
    out = render(cloud, bundle, samples=samples, region=region)
    chunked = render(cloud, bundle, samples=samples, region=region, chunk=7)
    chex.assert_trees_all_close(out, chunked, atol=1e-6)
    origins, directions = np.asarray(bundle.origins, np.float64), np.asarray(bundle.directions, np.float64)
    for i, j in [(0, 0), (2, 3), (4, 1), (1, 5)]:
        o, d = origins[i, j], directions[i, j]
        middle, square = -o @ d, 0.81 - o @ o + (o @ d) ** 2
        rgb, normal, depth, transmittance, away = np.zeros(3), np.zeros(3), 0.0, 1.0, 0.0
        half = np.sqrt(max(square, 0))
        delta = 2 * half / samples
        for k in range(samples):
            t = middle - half + (k + 0.5) * delta
            x = o + t * d
            alpha = 1 - np.exp(-8 * np.exp(-4 * x @ x) * delta)
            n = x / np.linalg.norm(x)
            rgb += transmittance * alpha * (0.5 + 0.4 * np.sin(3 * x))
            normal += transmittance * alpha * n
            depth += transmittance * alpha * t
            away += transmittance * alpha * max(0, n @ d) ** 2
            transmittance *= 1 - alpha
        pixel = (out.rgb, out.normal, out.depth, out.opacity, out.extras["orientation"])
        for value, expected in zip(pixel, (rgb, normal, depth, 1 - transmittance, away), strict=True):
            np.testing.assert_allclose(value[i, j], expected, atol=2e-5)


def test_gradients_are_the_same_in_chunks_and_finite():
    bundle = rays(4, 4)

    @functools.partial(jax.jit, static_argnames="chunk")
    def slope(scale, chunk):
        def loss(scale):
            def query(points, directions):
                return cloud(points, directions)._replace(density=scale * cloud(points, directions).density)

            out = volume.render_rays(query, bundle, samples=8, chunk=chunk)
            return jnp.sum(out.rgb**2) + out.depth.sum() + sum(value.sum() for value in out.extras.values())

        return jax.grad(loss)(scale)

    whole = slope(1.0, 16)
    assert jnp.isfinite(whole) and whole != 0
    chex.assert_trees_all_close(slope(1.0, 5), whole, rtol=1e-5)


def test_jitter_follows_the_ray_s_own_key():
    bundle = rays(4, 4)
    keys = jax.random.split(jax.random.key(0), (4, 4))
    out = render(cloud, bundle, samples=8, keys=keys)
    chex.assert_trees_all_close(out, render(cloud, bundle, samples=8, keys=keys, chunk=3), atol=1e-6)
    some = jax.tree.map(lambda leaf: leaf[1:3], bundle)
    part = render(cloud, some, samples=8, keys=keys[1:3])
    chex.assert_trees_all_close(part, jax.tree.map(lambda leaf: leaf[1:3], out), atol=1e-6)
    assert jnp.abs(out.depth - render(cloud, bundle, samples=8).depth).max() > 1e-3
    assert jnp.all(out.opacity <= 1)


def test_proposals_beat_equidistant_samples_on_a_thin_shell():
    def shell(points, directions):
        radius = linalg.safe_norm(points)
        return FieldSample(jnp.where(jnp.abs(radius - 0.5) < 0.05, 40.0, 0.0), jnp.ones_like(points))

    bundle = rays(8, 8)
    exact = render(shell, bundle, samples=2000).depth
    error = [jnp.abs(render(shell, bundle, samples=16, proposals=count).depth - exact).mean() for count in (0, 32)]
    assert error[1] < 0.4 * error[0]


def test_regions_bound_the_ray():
    origin, direction = jnp.array([3.0, 0.2, 0.0]), jnp.array([-1.0, 0.0, 0.0])
    chex.assert_trees_all_close(volume.Box(1.0)(origin, direction), (jnp.float32(2.0), jnp.float32(4.0)))
    half = np.sqrt(1 - 0.04)
    chex.assert_trees_all_close(volume.Ball()(origin, direction), (jnp.float32(3 - half), jnp.float32(3 + half)))
    for region in (volume.Box(1.0), volume.Ball(1.0)):
        inside_near, inside_far = region(0.1 * origin, direction)
        assert inside_near == 0 and inside_far > 0
        for miss_origin, miss_direction in ((origin, -direction), (origin, jnp.array([0.0, 0.0, 1.0]))):
            near, far = region(miss_origin, miss_direction)
            assert near == far
        gradient = jax.grad(lambda o, r=region: r(o, direction)[1])(origin + jnp.array([0.0, 0.8, 0.0]))
        assert jnp.all(jnp.isfinite(gradient))
    chex.assert_trees_all_close(volume.Shell(0.1, 4.0)(origin, direction), (jnp.float32(0.1), jnp.float32(4.0)))


def test_light_behind_the_camera_shades_like_lambert():
    def ball(points, directions):
        density = jnp.where(linalg.safe_norm(points) < 0.6, 1e5, 0.0)
        return FieldSample(density, jnp.full(points.shape, 0.5), linalg.normalize(points))

    ray = cameras.Rays(jnp.array([[3.0, 0.0, 0.0]]), jnp.array([[-1.0, 0.0, 0.0]]))
    for shading, textureless, expected in ((0.0, 0.0, 0.5), (1.0, 0.0, 0.5), (1.0, 1.0, 1.0)):
        light = point_light(jnp.array([[1e3, 0.0, 0.0]]), shading, textureless)
        out = render(ball, ray, samples=64, light=light)
        chex.assert_trees_all_close(out.rgb, jnp.full((1, 3), expected), atol=1e-4)
    behind = render(ball, ray, samples=64, light=point_light(jnp.array([[-1e3, 0.0, 0.0]])))
    chex.assert_trees_all_close(behind.rgb, jnp.full((1, 3), 0.05), atol=1e-4)  # ambient only


def test_bad_counts_are_refused():
    with pytest.raises(ValueError, match="samples=0"):
        volume.render_rays(cloud, rays(), samples=0)
