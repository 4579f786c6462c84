"""Outlines: covered areas in closed form, gradients against finite differences of supersampled images."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from jax3d.math import camera as cameras
from jax3d.render.antialias import antialias, edges
from jax3d.render.raster import interpolate, rasterise

CAMERA = cameras.orbit(0.0, 0.0, 3.0, 2 * np.arctan(0.5))  # on +x; at x = 0 the image is 3 wide, y right and z up
BALL = trimesh.creation.icosphere(4)


@functools.partial(jax.jit, static_argnames="size")
def draw(vertices, faces, values, outline, camera, size):
    seen = rasterise(vertices, faces, camera, height=size, width=size)
    image = interpolate(values, faces, seen)
    return image if outline is None else antialias(image, seen, vertices, outline, camera)[0]


def picture(vertices, faces, values, size, *, smooth=True, camera=CAMERA):
    outline = jax.tree.map(jnp.asarray, edges(faces)) if smooth else None
    return draw(vertices, jnp.asarray(faces), values, outline, camera, size)


def square(low, high, x=0.0):
    corners = [[x, low[0], low[1]], [x, high[0], low[1]], [x, high[0], high[1]], [x, low[0], high[1]]]
    return jnp.array(corners), np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def test_edges_are_found_once_with_the_faces_on_both_sides():
    found = edges(np.array([[0, 1, 2], [2, 1, 3], [4, 1, 2], [5, 5, 6]], np.int32))  # three faces meet at 1, 2
    table = {tuple(ends): tuple(sorted(third)) for ends, third in zip(found.ends, found.opposite, strict=True)}
    assert table[(1, 2)] in {(0, 0), (3, 3), (4, 4)} and table[(0, 1)] == (2, 2) and len(table) == 7
    closed = edges(BALL.faces.astype(np.int32))
    assert len(closed.ends) == 3 * len(BALL.faces) // 2 and (closed.opposite[:, 0] != closed.opposite[:, 1]).all()
    with pytest.raises(ValueError, match="none"):
        edges(np.zeros((2, 3), np.int32))


def test_the_covered_area_of_a_square_and_its_gradient_are_exact():
    vertices, faces = square((-0.61, -0.5), (0.53, 0.5))  # top and bottom between two rows at 48 pixels

    @jax.jit
    def area(offset):
        moved = vertices + offset * jnp.array([0.0, 1.0, 0.0])
        return jnp.sum(picture(moved, faces, jnp.ones((4, 1)), 48)) * (3 / 48) ** 2

    for offset in np.linspace(0, 3 / 48, 7):
        assert float(area(offset)) == pytest.approx(1.14, abs=1e-3)

    @jax.jit
    def wider(stretch):
        moved = vertices * jnp.array([1.0, stretch, 1.0])
        image = picture(moved, faces, jnp.ones((4, 1)), 48)[..., 0]
        return jnp.sum(image) * (3 / 48) ** 2, image

    (value, image), slope = jax.jvp(wider, (1.01,), (1.0,))
    assert float(value) == pytest.approx(1.14 * 1.01, abs=1e-3) and float(slope[0]) == pytest.approx(1.14, abs=1e-3)
    column = (-0.61 * 1.01 / 3 + 0.5) * 48
    np.testing.assert_allclose(image[24, int(column)], 1 - column % 1, atol=1e-3)
    assert image[:15].max() == 0 and image[24, 20:30].min() > 1 - 1e-5  # neither background nor inside change


def test_only_what_is_in_front_has_an_outline():
    near, faces = square((-0.5, -0.5), (0.52, 0.51), x=0.5)
    far, _ = square((-0.3, -0.3), (0.27, 0.28), x=-0.5)
    vertices, both = jnp.concatenate([near, far]), np.concatenate([faces, faces + 4])
    color = jnp.repeat(jnp.array([[1.0, 0.0], [0.0, 1.0]]), 4, axis=0)
    hidden = picture(vertices, both, color, 48)
    chex.assert_trees_all_close(hidden, picture(near, faces, color[:4], 48))
    lifted = vertices * jnp.where(jnp.arange(8)[:, None] < 4, 1.0, jnp.array([1.0, 4.0, 4.0]))
    around = picture(lifted, both, color, 48)  # the near one before the far one: colours mix, the sum stays
    within = np.asarray(around)[12:36, 12:36].sum(axis=-1)
    np.testing.assert_allclose(within, 1, atol=1e-5)
    assert ((np.asarray(around)[12:36, 12:36] > 0.01) & (np.asarray(around)[12:36, 12:36] < 0.99)).sum() > 20


def bumpy(freedom):
    """Eleven degrees of freedom: where, how long along each axis, and five waves."""
    base = jnp.asarray(BALL.vertices, jnp.float32)
    x, y, z = base.T
    waves = [jnp.sin(5 * x + 1), jnp.sin(6 * y), jnp.cos(7 * z), jnp.sin(4 * x + 4 * y), jnp.cos(5 * y - 5 * z)]
    radius = 0.8 * (1 + jnp.stack(waves, axis=-1) @ (0.06 + freedom[6:]))
    return base * radius[:, None] * (1 + freedom[3:6]) + freedom[:3]


def test_the_gradient_is_that_of_the_supersampled_image():
    camera, size, finer = cameras.orbit(0.4, 0.3, 3.0, 0.7), 64, 8
    faces = BALL.faces.astype(np.int32)
    color = jnp.concatenate([0.5 + 0.4 * jnp.sin(3 * jnp.asarray(BALL.vertices, jnp.float32)), jnp.ones((2562, 1))], 1)
    v, u = jnp.meshgrid((jnp.arange(size) + 0.5) / size, (jnp.arange(size) + 0.5) / size, indexing="ij")
    weight = jnp.stack([jnp.sin(9 * u + 3 * k) * jnp.cos(7 * v - 2 * k) + 0.3 * k for k in range(4)], axis=-1)

    def fine(freedom):
        image = picture(bumpy(freedom), faces, color, finer * size, smooth=False, camera=camera)
        return jnp.sum(weight * image.reshape(size, finer, size, finer, 4).mean((1, 3)))

    def coarse(freedom, smooth):
        return jnp.sum(weight * picture(bumpy(freedom), faces, color, size, smooth=smooth, camera=camera))

    steps = 0.015 * jnp.concatenate([jnp.eye(11), -jnp.eye(11)])
    values = np.asarray(jax.jit(functools.partial(jax.lax.map, fine))(steps))
    expected = (values[:11] - values[11:]) / 0.03
    slope = jax.jit(jax.grad(coarse), static_argnums=1)
    gradient, without = (np.asarray(slope(jnp.zeros(11), smooth)) for smooth in (True, False))
    length = np.linalg.norm(expected)
    assert np.linalg.norm(gradient - expected) < 0.05 * length
    assert gradient @ expected > 0.998 * length * np.linalg.norm(gradient)
    assert np.linalg.norm(without - expected) > 0.9 * length  # without outlines there is none


def test_broken_faces_and_overflow():
    vertices, faces = square((-0.6, -0.5), (0.5, 0.5))
    vertices = jnp.concatenate([vertices, jnp.array([[jnp.nan] * 3, [5.0, 0.1, 0.2], [0.0, 0.0, 0.0]])])
    faces = np.concatenate([faces, [[4, 5, 6], [0, 1, 5], [6, 6, 6], [0, 2, 2]]]).astype(np.int32)

    def total(vertices, camera, crossings=None):
        seen = rasterise(vertices, jnp.asarray(faces), camera, height=48, width=48)
        image = interpolate(jnp.ones((7, 2)), jnp.asarray(faces), seen)
        image, demand = antialias(image, seen, vertices, edges(faces), camera, crossings=crossings)
        return jnp.sum(image**2), demand

    (_, demand), gradient = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))(vertices, CAMERA)
    chex.assert_tree_all_finite(jax.tree.leaves(gradient))
    assert 0 < demand <= 1 and jnp.abs(gradient[0]).max() > 0
    assert jax.jit(total, static_argnums=2)(vertices, CAMERA, 32)[1] > 1
    with pytest.raises(ValueError, match="crossings"):
        jax.eval_shape(lambda vertices, camera: total(vertices, camera, 0), vertices, CAMERA)


def test_several_cameras_at_once():
    vertices, faces = square((-0.6, -0.5), (0.5, 0.5))
    views = cameras.orbit(jnp.array([0.0, 0.5]), 0.2, 3.0, 0.9)
    one = jax.jit(lambda camera: picture(vertices, faces, jnp.ones((4, 1)), 24, camera=camera))
    single = jnp.stack([one(jax.tree.map(lambda leaf, i=i: leaf[i], views)) for i in range(2)])
    chex.assert_trees_all_close(jax.vmap(one)(views), single, atol=1e-5)
