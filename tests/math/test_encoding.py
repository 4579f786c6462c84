"""Fourier features against a loop, spherical harmonics against their inner products."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math import encoding


def test_fourier_matches_the_survey_order():
    x = np.array([[0.1, -0.7, 0.35]])
    expected = [x]
    for i in range(4):
        expected += [np.sin(2**i * np.pi * x), np.cos(2**i * np.pi * x)]
    features = encoding.fourier(jnp.array(x, jnp.float32), 4)
    assert features.shape == (1, 27)
    chex.assert_trees_all_close(features, jnp.array(np.concatenate(expected, axis=-1), jnp.float32), atol=1e-5)


def test_spherical_harmonics_are_orthonormal():
    # Gauss-Legendre in z times equidistant azimuths integrates polynomials of degree 6 over the sphere exactly.
    z, weight = np.polynomial.legendre.leggauss(5)
    azimuth = np.arange(9) * 2 * np.pi / 9
    z, azimuth = (grid.ravel() for grid in np.meshgrid(z, azimuth, indexing="ij"))
    radius = np.sqrt(1 - z**2)
    directions = jnp.array(np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), z], axis=-1), jnp.float32)
    y = encoding.spherical_harmonics(directions, 3)
    gram = jnp.einsum("n,ni,nj->ij", jnp.array(np.repeat(weight, 9) * 2 * np.pi / 9, jnp.float32), y, y)
    chex.assert_trees_all_close(gram, jnp.eye(16), atol=1e-5)


def test_degrees_do_not_mix_under_rotation():
    directions = jax.random.normal(jax.random.key(0), (64, 3))
    directions = directions / jnp.linalg.norm(directions, axis=-1, keepdims=True)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    y, turned = (
        encoding.spherical_harmonics(d, 3) for d in (directions, directions @ jnp.array(rotation, jnp.float32))
    )
    for band in (slice(0, 1), slice(1, 4), slice(4, 9), slice(9, 16)):
        fit, *_ = np.linalg.lstsq(np.asarray(y[:, band]), np.asarray(turned[:, band]), rcond=None)
        np.testing.assert_allclose(y[:, band] @ fit, turned[:, band], atol=1e-4)


def test_degree_four_is_refused():
    with pytest.raises(ValueError, match="up to degree 3, got degree 4"):
        encoding.spherical_harmonics(jnp.ones((1, 3)), 4)


def test_octaves_are_fourier_features_in_other_units_and_another_order():
    x = jax.random.uniform(jax.random.key(0), (5, 2), minval=-1.0)
    _, *waves = jnp.split(encoding.fourier(x / jnp.pi, 4), 9, axis=-1)
    np.testing.assert_allclose(encoding.octaves(x, 4), jnp.concatenate([x, *waves[::2], *waves[1::2]], -1), atol=2e-6)
