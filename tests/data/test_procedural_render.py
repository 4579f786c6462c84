"""Renders of the procedural world against closed forms and against its meshes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.draw import polygon

from jax3d.data.pictures import cameras
from jax3d.data.procedural import Spec, build, distance, mesh, render, render_batch, stack
from jax3d.data.procedural.furniture import GLOW
from jax3d.data.procedural.parts import assemble, ball
from jax3d.data.procedural.trace import shade
from jax3d.math.camera import project, rays

SIZE = 48
SPECS = [Spec("chair", "red", "green"), Spec("mug", "blue"), Spec("car", "yellow"), Spec("aeroplane", "white")]
AZIMUTH = np.array([30.0, 0.0, 90.0, 200.0], np.float32)
ELEVATION = np.array([20.0, 10.0, 5.0, 40.0], np.float32)


@pytest.fixture(scope="module")
def objects():
    return [build(spec, np.random.default_rng(0)) for spec in SPECS]


@pytest.fixture(scope="module")
def views():
    return cameras(AZIMUTH, ELEVATION, np.full(4, 3.0, np.float32))


@pytest.fixture(scope="module")
def pictures(objects, views):
    return render_batch(stack(objects), views, SIZE)


def _coverage(surface, camera, factor=8):
    """The share of each pixel that the projected triangles cover."""
    uv, _ = project(camera, jnp.asarray(surface.vertices))
    corners = (np.asarray(uv) * SIZE * factor - 0.5)[surface.faces]
    canvas = np.zeros((SIZE * factor,) * 2)
    for triangle in corners:
        canvas[polygon(triangle[:, 1], triangle[:, 0], canvas.shape)] = 1
    return canvas.reshape(SIZE, factor, SIZE, factor).mean((1, 3))


def test_silhouettes_are_those_of_the_mesh(objects, views, pictures):
    for i, obj in enumerate(objects):
        covered = _coverage(mesh(obj, 64), jax.tree.map(lambda leaf, i=i: leaf[i], views))
        opacity = np.asarray(pictures.opacity[i])
        overlap = np.minimum(covered, opacity).sum() / np.maximum(covered, opacity).sum()
        assert overlap > 0.95 and abs(covered.sum() / opacity.sum() - 1) < 0.03
        assert np.abs(covered - opacity).max() < 0.6


def test_depth_and_normal_are_those_of_the_surface(objects, views, pictures):
    ray = rays(views, SIZE, SIZE)
    where = ray.origins + pictures.depth[..., None] * ray.directions
    for i, obj in enumerate(objects):
        value, slope = jax.vmap(jax.value_and_grad(distance, argnums=1), in_axes=(None, 0))(
            obj, where[i].reshape(-1, 3)
        )
        seen = np.asarray(pictures.opacity[i]).ravel() > 0.99
        assert np.quantile(np.abs(np.asarray(value))[seen], 0.9) < 2e-3
        agree = np.sum(np.asarray(slope) * np.asarray(pictures.normal[i]).reshape(-1, 3), axis=-1)
        assert np.median(agree[seen]) > 0.99


def test_a_ball_in_closed_form(views):
    """Its outline is the cone of half-angle asin(r / d), its depth the smaller root of |o + t v| = r."""
    obj = assemble([ball((0, 0, 0), 1.0, (1.0, 0.0, 0.0))])
    camera = jax.tree.map(lambda leaf: leaf[0], views)
    out = render(obj, camera, SIZE, SIZE, jnp.full((1, 1, 3), 0.5))
    radius = np.tan(np.arcsin(0.9 / 3)) * float(camera.focal[1]) * SIZE
    np.testing.assert_allclose(np.sum(out.opacity), np.pi * radius**2, rtol=5e-3)
    ray = rays(camera, SIZE, SIZE)
    middle = -np.sum(np.asarray(ray.origins * ray.directions), axis=-1)
    square = 0.9**2 - 3.0**2 + middle**2
    solid = square > 0.1  # more than a pixel within the outline
    depth = middle - np.sqrt(np.maximum(square, 0))
    assert np.abs(np.asarray(out.depth) - depth)[solid].max() < 5e-3
    normal = np.asarray(ray.origins + depth[..., None] * ray.directions) / 0.9
    assert np.abs(np.asarray(out.normal) - normal)[solid].max() < 2e-2
    np.testing.assert_allclose(np.asarray(out.rgb)[solid, 0], shade(jnp.asarray(normal[solid])), atol=1e-2)
    empty = np.asarray(out.opacity) == 0
    assert np.all(np.asarray(out.rgb)[empty] == 0.5) and np.all(np.asarray(out.depth)[empty] == 0)
    edge = (np.asarray(out.opacity) > 0) & (np.asarray(out.opacity) < 1)
    shown = np.asarray(out.rgb)[edge, 1]  # no green in a red ball: only the background's share
    np.testing.assert_allclose(shown, 0.5 * (1 - np.asarray(out.opacity)[edge]), atol=1e-5)


def test_pictures_are_premultiplied(pictures):
    assert np.all(np.asarray(pictures.rgb).max(-1) <= np.asarray(pictures.opacity) + 1e-6)
    assert np.all(np.asarray(pictures.depth)[np.asarray(pictures.opacity) == 0] == 0)


def test_shading_depends_on_the_world_alone_and_keeps_colours_alive():
    normal = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)
    light = np.asarray(shade(jnp.asarray(normal / np.linalg.norm(normal, axis=-1, keepdims=True))))
    assert 0.54 < light.min() < 0.62 and 0.95 < light.max() <= 1


def _views(spec, azimuths, elevation=5.0):
    obj = build(spec, np.random.default_rng(3))
    n = len(azimuths)
    at = cameras(np.float32(azimuths), np.full(n, elevation, np.float32), np.full(n, 3.0, np.float32))
    return render_batch(stack([obj] * n), at, SIZE)


def test_azimuth_90_sees_the_left_side():
    """The camera at azimuth 90 sees what faces +y; the mug's handle, at +y, is on the right of the front view."""
    seen = _views(Spec("mug", "red"), [0, 90, 180, 270])
    facing = np.asarray(seen.normal).sum((1, 2)) / np.asarray(seen.opacity).sum((1, 2))[:, None]
    assert facing[0, 0] > 0.5 and facing[1, 1] > 0.5 and facing[2, 0] < -0.5 and facing[3, 1] < -0.5
    tall = np.asarray(seen.opacity)[0].sum(0)
    assert tall[tall > 0][:3].mean() > 2 * tall[tall > 0][-3:].mean()


def test_front_and_back_differ():
    """A car shows its head lights in front and not behind."""

    def lights(picture):
        tint = np.asarray(picture.rgb) / np.maximum(np.asarray(picture.rgb).max(-1, keepdims=True), 1e-3)
        near = np.linalg.norm(tint - np.array(GLOW) / max(GLOW), axis=-1) < 0.1
        return np.sum(near & (np.asarray(picture.opacity) > 0.9), axis=(1, 2))

    front, back = lights(_views(Spec("car", "blue"), [0, 180, 0, 180]))[:2]
    assert front > 10 and back == 0


def test_a_picture_does_not_depend_on_its_batch(objects, views, pictures):
    """Not on its place, not on its company, although that decides how many slots are visited."""
    others = [build(Spec("snowman", "white"), np.random.default_rng(i)) for i in range(3)]
    turned = jax.tree.map(lambda leaf: jnp.roll(leaf, 2, axis=0), views)
    mixed = render_batch(stack([*others, objects[1]]), turned, SIZE)
    np.testing.assert_allclose(mixed.rgb[3], pictures.rgb[1], atol=1e-5)
    np.testing.assert_array_equal(render_batch(stack(objects), views, SIZE).rgb, pictures.rgb)
