"""Metrics against closed forms, slow loops and scikit-image."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from jax3d.math import metrics
from jax3d.math.metrics import iou, nearest, psnr

ssim = jax.jit(metrics.ssim)
chamfer, chamfer_squared = (jax.jit(f, static_argnums=2) for f in (metrics.chamfer, metrics.chamfer_squared))


def images(seed: int, shape=(3, 24, 17, 3)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    a = rng.uniform(size=shape).astype(np.float32)
    noise = rng.normal(size=shape) * np.array([0.02, 0.1, 0.4])[:, None, None, None]
    return a, np.clip(a + noise, 0, 1).astype(np.float32)


def clouds(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 3)).astype(np.float32), rng.normal(size=(m, 3)).astype(np.float32)


def test_psnr():
    a, b = images(0)
    expected = [peak_signal_noise_ratio(x, y, data_range=1) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(psnr(jnp.array(a), jnp.array(b)), expected, rtol=1e-5)
    flat = jnp.full((4, 4, 3), 0.5)
    np.testing.assert_allclose(psnr(flat, flat + 0.1), 20, atol=1e-4)  # -10 log10 0.01
    assert psnr(flat, flat) == np.inf


def test_ssim_is_that_of_scikit_image():
    a, b = images(1)
    options = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, channel_axis=-1)
    pairs = zip(a.astype(np.float64), b.astype(np.float64), strict=True)
    expected = [structural_similarity(x, y, **options) for x, y in pairs]
    np.testing.assert_allclose(ssim(jnp.array(a), jnp.array(b)), expected, atol=1e-5)


def test_ssim_closed_forms():
    a, b = (jnp.array(x[:, :11, :11]) for x in images(2))
    np.testing.assert_allclose(ssim(a, a), 1, atol=1e-5)
    np.testing.assert_allclose(ssim(a, b), ssim(b, a), atol=1e-6)
    dark, light = jnp.full((11, 11, 1), 0.2), jnp.full((11, 11, 1), 0.8)  # no structure: the luminance term alone
    np.testing.assert_allclose(ssim(dark, light), (0.32 + 1e-4) / (0.68 + 1e-4), rtol=1e-3)
    chex.assert_tree_all_finite(jax.jit(jax.grad(lambda x: ssim(x, a).sum()))(a))
    with pytest.raises(ValueError, match="at least 11 x 11"):
        ssim(a[:, :10], a[:, :10])


def test_iou_of_boxes():
    grid = np.arange(10)
    a = jnp.array((grid[:, None] < 6) & (grid[None] < 5))  # 30 cells
    b = jnp.array((grid[:, None] >= 3) & (grid[None] < 8))  # 56 cells, 15 of them shared
    empty = jnp.zeros_like(a)
    first = jnp.stack([a, a, a, empty])
    second = jnp.stack([b, a, empty, empty])
    np.testing.assert_allclose(iou(first, second), [15 / 71, 1, 0, 1], rtol=1e-6)


@pytest.mark.parametrize("chunk", [1, 7, 1024])
def test_nearest_and_chamfer_are_the_slow_loop(chunk):
    a, b = clouds(23, 40)
    distances = np.linalg.norm(a[:, None].astype(np.float64) - b[None], axis=-1)
    np.testing.assert_array_equal(nearest(jnp.array(a), jnp.array(b), chunk), distances.argmin(1))
    both = distances.min(1), distances.min(0)
    np.testing.assert_allclose(chamfer(jnp.array(a), jnp.array(b), chunk), sum(d.mean() for d in both), rtol=1e-5)
    squared = sum((d**2).mean() for d in both)
    np.testing.assert_allclose(chamfer_squared(jnp.array(a), jnp.array(b), chunk), squared, rtol=1e-5)


def test_no_points_are_no_distance():
    with pytest.raises(ValueError, match="got 3 and 0"):
        metrics.chamfer(jnp.zeros((3, 3)), jnp.zeros((0, 3)))


def test_chamfer_of_a_small_shift_keeps_its_digits():
    """A lattice moved by h is h away from itself, squared h^2 - far from the origin and for tiny h too."""
    axis = np.arange(5.0)
    lattice = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3).astype(np.float32) + 8
    step = 2.0**-10
    moved = lattice + np.array([step, 0, 0], np.float32)
    np.testing.assert_allclose(chamfer(jnp.array(lattice), jnp.array(moved)), 2 * step, rtol=1e-6)
    np.testing.assert_allclose(chamfer_squared(jnp.array(lattice), jnp.array(moved)), 2 * step**2, rtol=1e-6)


def test_chamfer_gradients():
    a, b = map(jnp.array, clouds(6, 6))  # equal sizes, so that each function compiles once
    h = 1e-2 * np.random.default_rng(1).normal(size=a.shape).astype(np.float32)
    for distance in (chamfer, chamfer_squared):
        gradient = jax.jit(jax.grad(distance))
        assert distance(a, a) == 0
        chex.assert_trees_all_equal(gradient(a, a), jnp.zeros_like(a))  # finite where the root is not
        change = (distance(a + h, b) - distance(a - h, b)) / 2
        np.testing.assert_allclose(np.sum(gradient(a, b) * h), change, rtol=0.02)
