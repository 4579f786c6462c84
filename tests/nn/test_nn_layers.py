"""Norms and embeddings against their definitions in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.nn.embedding import time_code
from jax3d.nn.layers import Conv, GroupNorm, LayerNorm


@pytest.mark.parametrize("mean, spread", [(0.0, 1.0), (1000.0, 1.0), (-3.0, 1e-3), (0.0, 1e-3)])
def test_group_norm_is_its_definition_also_far_from_zero(mean, spread):
    x = mean + spread * jax.random.normal(jax.random.key(0), (2, 5, 3, 12))
    scale, bias = jax.random.normal(jax.random.key(1), (2, 12))
    y = GroupNorm(4, 1e-5).apply({"params": {"scale": scale, "bias": bias}}, x)
    z = np.asarray(x, np.float64).reshape(2, 15, 4, 3)
    z = (z - z.mean((1, 3), keepdims=True)) / np.sqrt(z.var((1, 3), keepdims=True) + 1e-5)
    rounding = 4 * np.finfo(np.float32).eps * (1 + abs(mean) / np.hypot(spread, 10**-2.5))
    np.testing.assert_allclose(y, z.reshape(x.shape) * scale + bias, atol=10 * rounding)


def test_layer_norm_is_its_definition():
    x = 2 + jax.random.normal(jax.random.key(0), (3, 7, 12))
    scale, bias = jax.random.normal(jax.random.key(1), (2, 12))
    y = LayerNorm().apply({"params": {"scale": scale, "bias": bias}}, x)
    z = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5) * scale + bias
    np.testing.assert_allclose(y, z, atol=1e-5)


def test_norms_of_constants_have_finite_gradients():
    x = jnp.full((1, 4, 4, 8), 3.0)
    for norm in (GroupNorm(2), LayerNorm()):
        params = norm.init(jax.random.key(0), x)
        grad = jax.grad(lambda x, norm=norm, params=params: jnp.sum(norm.apply(params, x) ** 2))(x)
        assert jnp.isfinite(grad).all()


@pytest.mark.parametrize("size, padding", [(1, (0, 0)), (3, (1, 1))])
def test_convolution_is_a_sum_of_shifted_products(size, padding):
    x = jax.random.normal(jax.random.key(0), (2, 5, 4, 3))
    conv = Conv(6, size, padding=padding)
    params = conv.init(jax.random.key(1), x)
    kernel = params["params"]["kernel"]
    wide = jnp.pad(x, ((0, 0), padding, padding, (0, 0)))
    wanted = sum(wide[:, i : i + 5, j : j + 4] @ kernel[i, j] for i, j in np.ndindex(size, size))
    np.testing.assert_allclose(conv.apply(params, x), wanted, atol=1e-5)


def test_time_code_has_cosines_first_and_takes_fractions():
    t, n = jnp.array([0.0, 0.5, 999.0]), 6
    f = 10000.0 ** (-np.arange(3) / 3)
    angles = np.asarray(t)[:, None] * f
    np.testing.assert_allclose(time_code(t, n), np.concatenate([np.cos(angles), np.sin(angles)], -1), atol=2e-4)
    swapped = time_code(t, n, flip_sin_to_cos=False)
    np.testing.assert_array_equal(swapped, jnp.roll(time_code(t, n), 3, -1))
    np.testing.assert_allclose(time_code(t, 7, freq_shift=1)[1, 2], np.cos(0.5e-4), atol=1e-6)
    assert time_code(t, 7).shape == (3, 7)
