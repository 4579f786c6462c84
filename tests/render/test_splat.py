"""Splatting against its definition (all ellipses at all pixels), against closed forms, and its lists against a loop."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math import camera as cameras
from jax3d.math import gaussians
from jax3d.render import blend
from jax3d.render.splat import draw
from jax3d.render.tiles import TILE, tile_lists
from jax3d.types import Splats

HEIGHT, WIDTH, COUNT = 40, 56, 60
CAMERA = cameras.orbit(0.4, 0.3, 2.5, 0.9, aspect=WIDTH / HEIGHT)
SIZE = {"height": HEIGHT, "width": WIDTH}
quick = functools.partial(
    jax.jit(draw, static_argnames=("height", "width", "pairs", "normals", "least", "stop")), **SIZE, pairs=2000
)


def some(dtype=jnp.float32, count=COUNT, degree=1):
    rng = np.random.default_rng(0)
    arrays = (
        rng.uniform(-0.9, 0.9, (count, 3)),
        np.exp(rng.uniform(-4.5, -1.2, (count, 3))),
        rng.normal(size=(count, 4)),
        rng.uniform(0.05, 0.999, count),
        0.4 * rng.normal(size=(count, (degree + 1) ** 2, 3)),
    )
    return Splats(*(jnp.asarray(array, dtype) for array in arrays))


def loss(splats, target, **options):
    camera = jax.tree.map(lambda leaf: leaf.astype(splats.positions.dtype), CAMERA)
    out = draw(splats, camera, **SIZE, normals=True, pairs=2000, **options)
    values = jnp.concatenate([out.rgb, out.opacity[..., None], out.depth[..., None], out.normal], axis=-1)
    return jnp.sum(values * target), values


def both(dtype, **cuts):
    """Picture and gradients by tiles and by the definition."""
    splats, target = some(dtype), np.random.default_rng(1).normal(size=(HEIGHT, WIDTH, 8)).astype(dtype)
    results = []
    for plainly in (False, True):
        gradient = jax.jit(jax.grad(functools.partial(loss, plainly=plainly, **cuts), has_aux=True))
        results.append(gradient(splats, target))
    return results


def relative(found, wanted):
    return max(float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b))) for a, b in zip(found, wanted, strict=True))


def test_equals_the_definition_in_float64():
    with jax.enable_x64(True):
        (gradient, image), (wanted, plain) = both(np.float64, least=0.0, stop=0.0)
        chex.assert_trees_all_close(image, plain, atol=1e-12)
        assert relative(gradient, wanted) < 1e-10


def test_equals_the_definition_in_float32_with_the_cuts():
    (gradient, image), (wanted, plain) = both(np.float32)
    assert float(jnp.max(jnp.abs(image[..., :4] - plain[..., :4]))) < 2e-4  # what STOP leaves out
    assert relative(gradient, wanted) < 1e-4
    with_all, plain = (value[1] for value in both(np.float32, least=0.0, stop=0.0))
    chex.assert_trees_all_close(with_all, plain, atol=1e-5)


def test_tiles_together_as_on_accelerators(monkeypatch):
    one = both(np.float32)[0]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(blend, "TOGETHER", 5)  # of 12 tiles: the last group is filled up
    together = both(np.float32)[0]
    chex.assert_trees_all_close(together[1], one[1], atol=1e-5)
    assert relative(together[0], one[0]) < 1e-5


def test_gradient_is_the_slope():
    with jax.enable_x64(True):
        splats, target = some(np.float64), np.random.default_rng(1).normal(size=(HEIGHT, WIDTH, 8))
        value = jax.jit(functools.partial(loss, least=0.0, stop=0.0))
        gradient = jax.grad(lambda splats: value(splats, target)[0])(splats)
        for seed in range(3):
            way = Splats(*(np.random.default_rng(seed).normal(size=leaf.shape) for leaf in splats))
            ends = [value(jax.tree.map(lambda a, b, h=h: a + h * b, splats, way), target)[0] for h in (1e-6, -1e-6)]
            slope = sum(float(jnp.sum(a * b)) for a, b in zip(gradient, way, strict=True))
            assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(slope, rel=1e-5)


def test_one_small_gaussian_in_closed_form():
    """In the middle of the image: a round blob with the deviation f s / z and the filter, in its colour."""
    s, size, distance = 0.05, 33, 3.0
    turn = jnp.array([[1.0, 0, 0, 0]])
    splats = Splats(jnp.zeros((1, 3)), jnp.full((1, 3), s), turn, jnp.array([0.8]), jnp.full((1, 1, 3), 0.5))
    camera = cameras.orbit(0.7, 0.2, distance, 0.8)
    out = quick(splats, camera, height=size, width=size)
    variance = (float(camera.focal[0]) * size * s / distance) ** 2 + gaussians.BLUR
    grid = np.arange(size) - size // 2
    alpha = 0.8 * np.exp(-(grid[:, None] ** 2 + grid**2) / (2 * variance))
    alpha[alpha < 1 / 255] = 0
    chex.assert_trees_all_close(out.opacity, alpha, atol=1e-5)
    chex.assert_trees_all_close(out.rgb[..., 0], alpha * (0.5 + 0.5 * 0.28209479), atol=1e-5)
    chex.assert_trees_all_close(out.depth, alpha * distance, atol=1e-4)


def test_the_covariance_is_that_of_projected_points():
    """A small Gaussian anywhere: the linear J is exact to second order in its size."""
    rng = np.random.default_rng(0)
    positions, scales = rng.uniform(-0.5, 0.5, (20, 3)), rng.uniform(1e-3, 4e-3, (20, 3))
    turned = gaussians.rotations(jnp.asarray(rng.normal(size=(20, 4))))
    chex.assert_trees_all_close(jnp.swapaxes(turned, 1, 2) @ turned, jnp.tile(jnp.eye(3), (20, 1, 1)), atol=1e-5)
    ellipses = gaussians.project(
        jnp.asarray(positions), turned * scales[:, None], CAMERA, HEIGHT, WIDTH, near=0.1, blur=0.0
    )
    draws = positions[:, None] + np.einsum("nij,nkj->nki", turned * scales[:, None], rng.normal(size=(20, 20000, 3)))
    image = np.asarray(cameras.project(CAMERA, jnp.asarray(draws.reshape(-1, 3), jnp.float32))[0], np.float64)
    image = image.reshape(20, -1, 2) * [WIDTH, HEIGHT]
    for k in range(20):
        a, b, c = np.asarray(ellipses.conic[k], np.float64)
        found = np.linalg.inv(np.array([[a, b], [b, c]]))
        chex.assert_trees_all_close(found, np.cov(image[k].T), rtol=0.1, atol=0.03 * np.trace(found))
        chex.assert_trees_all_close(np.asarray(ellipses.centre[k]), image[k].mean(0), atol=0.05)


def test_lists_are_exact_and_in_order():
    rng = np.random.default_rng(3)
    centre = rng.uniform(-20, 76, (50, 2)).astype(np.float32)
    spread = rng.normal(size=(50, 2, 2)) * rng.uniform(0.5, 12, (50, 1, 1))
    inverse = np.linalg.inv(spread @ spread.transpose(0, 2, 1) + 0.3 * np.eye(2))
    conic, level = np.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], 1), rng.uniform(-2, 9, 50)
    lists = tile_lists(*(jnp.asarray(x, jnp.float32) for x in (centre, conic, level)), HEIGHT, WIDTH, 1024)
    columns, needed = -(-WIDTH // TILE), 0
    for tile in range(len(lists.start) - 1):
        y, x = np.mgrid[:TILE, :TILE].reshape(2, -1) + 0.5 + TILE * np.array([[tile // columns], [tile % columns]])
        inside = (x < WIDTH) & (y < HEIGHT)
        dx, dy = x[inside, None] - centre[:, 0], y[inside, None] - centre[:, 1]
        power = conic[:, 0] * dx**2 + 2 * conic[:, 1] * dx * dy + conic[:, 2] * dy**2
        touched = set(np.flatnonzero((power <= level).any(0)))
        found = np.asarray(lists.splat[lists.start[tile] : lists.start[tile + 1]])
        assert list(found) == sorted(found)
        assert touched <= set(found.tolist())
        needed += len(touched)
    assert needed > 50
    assert int(lists.start[-1]) <= 1.1 * needed  # ellipses that reach between the pixels of a tile
    assert float(lists.demand) == pytest.approx(int(lists.start[-1]) / 1024)


def test_room_that_lacks_is_told():
    splats = some()
    order = jnp.argsort(cameras.project(CAMERA, splats.positions)[1])
    near = jax.tree.map(lambda leaf: leaf[order[:8]], splats)
    splats = near._replace(opacities=jnp.full(8, 0.99), scales=3 * near.scales)
    wanted = 2016 * float(quick(splats, CAMERA).extras["demand"])
    assert wanted > 32
    out = draw(splats, CAMERA, **SIZE, pairs=32)
    assert 1 < float(out.extras["demand"]) <= wanted / 32
    assert float(jnp.sum(out.opacity)) < float(jnp.sum(quick(splats, CAMERA).opacity))


def test_keys_of_two_numbers_sort_alike(monkeypatch):
    """Where tile and order don't fit 32 bits, they are two."""
    splats = some()
    one = quick(splats, CAMERA)
    monkeypatch.setattr("jax3d.render.tiles.BITS", 8)
    chex.assert_trees_all_close(draw(splats, CAMERA, **SIZE, pairs=2000).rgb, one.rgb, atol=1e-6)


def test_harmonics_turn_with_the_gaussians():
    """Colours of degree 1 seen from the camera are those of rotated coefficients seen from a rotated camera."""
    splats = some(degree=1)
    turn = jnp.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # 90 degrees about z
    quaternion = np.array([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    w, x, y, z = np.asarray(splats.rotations).T
    a, d = quaternion[0], quaternion[3]
    rotated = jnp.stack([a * w - d * z, a * x - d * y, a * y + d * x, a * z + d * w], -1)
    base, minus_y, plus_z, minus_x = jnp.moveaxis(splats.harmonics, 1, 0)
    harmonics = jnp.stack([base, minus_x, plus_z, -minus_y], 1)  # x' = -y, y' = x
    other = splats._replace(positions=splats.positions @ turn.T, rotations=rotated, harmonics=harmonics)
    camera = cameras.orbit(0.4 + jnp.pi / 2, 0.3, 2.5, 0.9, aspect=WIDTH / HEIGHT)
    first, second = quick(splats, CAMERA), quick(other, camera)
    chex.assert_trees_all_close(first.rgb, second.rgb, atol=2e-4)


def test_behind_and_beside_the_camera_is_nothing_and_finite():
    splats = some()._replace(positions=2.5 * some().positions)  # some behind, some at the camera
    gradient = jax.grad(lambda splats: jnp.sum(quick(splats, CAMERA).rgb))(splats)
    chex.assert_tree_all_finite(gradient)
    away = splats._replace(positions=splats.positions + 5 * CAMERA.position)
    assert float(jnp.max(quick(away, CAMERA).opacity)) == 0


def test_mistakes_are_said():
    with pytest.raises(ValueError, match="pixels and near"):
        draw(some(), CAMERA, height=0, width=4)
    with pytest.raises(ValueError, match="room for pairs"):
        draw(some(), CAMERA, **SIZE, pairs=0)
