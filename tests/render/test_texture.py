"""Textures: closed forms and a slow loop for what is looked up, finite differences for its gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math.camera import orbit
from jax3d.render import raster
from jax3d.render import texture as textures
from jax3d.render.raster import interpolate
from jax3d.render.texture import bilinear, mip_level, pyramid, trilinear

CAMERA = orbit(0.0, 0.0, 3.0, 2 * np.arctan(0.5))  # on +x; at x = 0 the image is 3 wide, y right and z up
SQUARE = jnp.array([[0.0, -1.5, -1.5], [0.0, 1.5, -1.5], [0.0, 1.5, 1.5], [0.0, -1.5, 1.5]])
FACES = jnp.array([[0, 1, 2], [0, 2, 3]])
UV = jnp.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
rasterise = jax.jit(raster.rasterise, static_argnames=("height", "width"))
derivatives, textured = jax.jit(raster.derivatives), jax.jit(textures.textured)


def random(key, *shape):
    return jax.random.uniform(jax.random.key(key), shape)


def affine(height, width, a=0.2, b=0.5, c=0.3):
    """a + b u + c v at the texels' centres."""
    v, u = 1 - (jnp.arange(height) + 0.5) / height, (jnp.arange(width) + 0.5) / width
    return (a + b * u + c * v[:, None])[..., None]


def slow(texture, uv):
    """Each place by itself, in float64."""
    height, width, _ = texture.shape
    found = []
    for u, v in np.asarray(uv, np.float64):
        x, y = np.clip(u * width - 0.5, 0, width - 1), np.clip((1 - v) * height - 0.5, 0, height - 1)
        j, i = int(x), int(y)
        across = [
            (1 - x + j) * row[j] + (x - j) * row[min(j + 1, width - 1)] for row in np.asarray(texture, np.float64)
        ]
        found.append((1 - y + i) * across[i] + (y - i) * across[min(i + 1, height - 1)])
    return np.stack(found)


@pytest.mark.parametrize("shape", [(6, 9, 3), (1, 5, 1), (4, 1, 2), (1, 1, 3)])
def test_bilinear_is_a_slow_loop_with_clamped_borders(shape):
    texture, uv = random(0, *shape), 1.4 * random(1, 200, 2) - 0.2
    np.testing.assert_allclose(bilinear(texture, uv), slow(texture, uv), atol=1e-5)


def test_row_0_is_at_v_1_and_leading_axes_stay():
    texture = jnp.arange(6.0).reshape(2, 3, 1)
    corners = jnp.array([[[0.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 0.0]]])
    np.testing.assert_allclose(bilinear(texture, corners)[..., 0], [[0, 2], [3, 5]])


def test_trilinear_mixes_two_levels_and_integer_levels_are_the_halvings():
    texture, uv = random(0, 12, 10, 2), random(1, 50, 2)
    levels = pyramid(texture)
    assert levels.levels == 5 and len(levels.texels) == 12 * 10 + 6 * 5 + 3 * 3 + 2 * 2 + 1
    half = texture.reshape(6, 2, 5, 2, 2).mean((1, 3))
    at = lambda level: trilinear(levels, uv, jnp.full(50, level))  # noqa: E731
    np.testing.assert_allclose(at(0.0), bilinear(texture, uv), atol=1e-6)
    np.testing.assert_allclose(at(1.0), bilinear(half, uv), atol=1e-6)
    np.testing.assert_allclose(at(0.3), 0.7 * at(0.0) + 0.3 * at(1.0), atol=1e-6)
    np.testing.assert_allclose(at(4.0), jnp.broadcast_to(levels.texels[-1], (50, 2)), atol=1e-6)
    np.testing.assert_array_equal(at(-3.0), at(0.0))
    np.testing.assert_array_equal(at(99.0), at(4.0))


def test_constant_textures_are_constant_and_affine_ones_exact_at_all_levels():
    uv = 0.35 + 0.3 * random(1, 100, 2)
    for height, width in ((16, 16), (13, 7), (12, 23)):
        level = 6 * random(2, 100)
        same = trilinear(pyramid(jnp.full((height, width, 3), 0.3)), 2 * uv - 0.5, level)
        np.testing.assert_allclose(same, 0.3, atol=1e-6)
        found = trilinear(pyramid(affine(height, width)), uv, jnp.minimum(level, 1.0))  # farther up the border is near
        np.testing.assert_allclose(found[:, 0], 0.2 + uv @ jnp.array([0.5, 0.3]), atol=1e-5)


def test_levels_follow_the_size_of_pixels_whatever_lies_beside_them():
    size = 24
    seen = rasterise(SQUARE, FACES, CAMERA, height=size, width=size)
    slopes = derivatives(UV, FACES, seen, SQUARE, FACES, CAMERA)
    np.testing.assert_allclose(slopes, np.broadcast_to([[1 / size, 0], [0, -1 / size]], slopes.shape), atol=1e-6)
    np.testing.assert_allclose(mip_level(slopes, 4 * size, 8 * size), 3.0, atol=1e-4)
    # Charts of the two faces in different corners: neighbours across the diagonal say nothing.
    charts = jnp.concatenate([0.1 * UV[:3], 0.1 * UV[jnp.array([0, 2, 3])] + 0.9])
    apart = derivatives(charts, jnp.arange(6).reshape(2, 3), seen, SQUARE, FACES, CAMERA)
    np.testing.assert_allclose(apart, 0.1 * slopes, atol=1e-6)


def test_derivatives_are_those_of_what_is_seen_in_perspective():
    size, tilted = (
        40,
        SQUARE + jnp.array([0.5, 0.3, 0.0]) * SQUARE[:, 1:2] + 0.4 * SQUARE[:, 2:] * jnp.array([1.0, 0, 0]),
    )
    one = jnp.array([[0, 1, 2]])
    with jax.enable_x64(True):
        vertices, uv = jnp.asarray(tilted, jnp.float64), jnp.asarray(UV, jnp.float64)
        camera = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), CAMERA)
        seen = rasterise(vertices, one, camera, height=size, width=size)
        image = np.asarray(interpolate(uv, one, seen))
        slopes = np.asarray(derivatives(uv, one, seen, vertices, one, camera))
    hit = np.asarray(seen.face >= 0)
    inner = hit[1:-1, 1:-1] & hit[1:-1, 2:] & hit[1:-1, :-2] & hit[2:, 1:-1] & hit[:-2, 1:-1]
    assert inner.sum() > 100 and (slopes[~hit] == 0).all()
    central = np.stack([image[1:-1, 2:] - image[1:-1, :-2], image[2:, 1:-1] - image[:-2, 1:-1]], axis=-1) / 2
    np.testing.assert_allclose(slopes[1:-1, 1:-1][inner], central[inner], rtol=0.01, atol=2e-5)


def test_a_small_chessboard_is_grey_with_mipmaps_and_flickers_without():
    board = jnp.asarray(np.indices((256, 256)).sum(0) % 2, jnp.float32)[..., None]
    size = 30
    seen = rasterise(SQUARE, FACES, CAMERA, height=size, width=size)
    smooth = textured(pyramid(board), UV, FACES, seen, SQUARE, FACES, CAMERA)
    rough = bilinear(board, interpolate(UV, FACES, seen))
    np.testing.assert_allclose(smooth, 0.5, atol=1e-6)
    assert float(rough.std()) > 0.15


def test_nothing_is_seen_as_0_and_leaves_no_gradient():
    triangle, size = 0.3 * SQUARE, 16
    seen = rasterise(triangle, FACES[:1], CAMERA, height=size, width=size)
    look = lambda texture: textured(pyramid(texture), UV, FACES[:1], seen, triangle, FACES[:1], CAMERA)  # noqa: E731
    image = look(jnp.ones((8, 8, 1)))
    np.testing.assert_allclose(image[..., 0], seen.face >= 0, atol=1e-6)
    gradient = jax.grad(lambda texture: jnp.sum(look(texture)))(jnp.ones((8, 8, 1)))
    assert float(gradient.sum()) == pytest.approx(float((seen.face >= 0).sum()), rel=1e-5)


def test_gradients_are_finite_differences():
    with jax.enable_x64(True):
        key = functools.partial(jax.random.fold_in, jax.random.key(0))
        texture, uv = jax.random.uniform(key(0), (7, 10, 2)), jax.random.uniform(key(1), (40, 2))
        level, weight = 3 * jax.random.uniform(key(2), (40,)), jax.random.normal(key(3), (40, 2))

        def total(texture, uv):
            return jnp.sum(weight * jnp.sin(trilinear(pyramid(texture), uv, level)))

        gradients = jax.grad(total, (0, 1))(texture, uv)
        ways = jax.random.normal(key(4), texture.shape), jax.random.normal(key(5), uv.shape)
        for k, step in enumerate((1e-5, 1e-7)):  # in uv the slope jumps at centres of texels: a short step
            moved = [
                [x + sign * step * way * (n == k) for n, (x, way) in enumerate(zip((texture, uv), ways, strict=True))]
                for sign in (1, -1)
            ]
            expected = (total(*moved[0]) - total(*moved[1])) / (2 * step)
            np.testing.assert_allclose(jnp.sum(gradients[k] * ways[k]), expected, rtol=1e-5)


def test_gradients_are_finite_where_there_are_no_numbers_and_at_borders():
    texture, uv = random(0, 5, 5, 3), jnp.array([[jnp.nan, 0.5], [0.0, 1.0], [-3.0, 9.0], [0.5, 0.5]])
    total = lambda texture, uv: jnp.nansum(trilinear(pyramid(texture), uv, jnp.array([0.0, jnp.nan, 2.0, 9.0])))  # noqa: E731
    of_texture, of_uv = jax.grad(total, (0, 1))(texture, uv)
    assert np.isfinite(of_uv[2:]).all() and (of_uv[2] == 0).all() and of_texture.shape == texture.shape


def test_levels_that_there_are_not_are_refused():
    with pytest.raises(ValueError, match="8 x 4 texels has 1 to 4 levels, not 5"):
        pyramid(jnp.zeros((8, 4, 1)), levels=5)
