"""Convolutions and their gradients against XLA's own, and Toom-Cook's form against the sum it replaces."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.nn import convolution
from jax3d.nn.convolution import convolve
from jax3d.nn.toom_cook import toom_cook


@pytest.mark.parametrize("points, outputs", [((0.0, 1.0, -1.0), 2), ((0.0, 2 / 3, -2 / 3, 3 / 2, -3 / 2), 4)])
def test_six_products_make_four_sums_of_three(points, outputs):
    A, G, B = toom_cook(points, outputs, 3)
    rng = np.random.default_rng(0)
    kernel, x = rng.standard_normal(3), rng.standard_normal(outputs + 2)
    np.testing.assert_allclose(A @ ((G @ kernel) * (B @ x)), np.correlate(x, kernel), atol=1e-13)


def random_pair(space, inputs, outputs):
    shapes = (2, *space, inputs), (*(3 for _ in space), inputs, outputs)
    return (jax.random.normal(jax.random.key(k), shape) for k, shape in enumerate(shapes))


@pytest.fixture
def always_six(monkeypatch):
    """Toom-Cook's form for all sizes, in blocks of 150 numbers: some of the arrays below whole, some in parts."""
    for name, value in (("MANY", {2: (0, 0), 3: (0, 0)}), ("STRIP", 150), ("BLOCK", 150)):
        monkeypatch.setattr(convolution, name, value)


@pytest.mark.parametrize("space", [(8, 6), (12, 5), (8, 5, 6), (8, 2, 3), (6, 8)])
def test_it_is_the_same_convolution_with_the_same_gradients(space, always_six):
    x, kernel = random_pair(space, 3, 5)
    plain = lambda x, kernel: convolution._convolve(x, kernel, 1, ((1, 1),) * len(space))  # noqa: E731
    wanted, back = jax.vjp(plain, x, kernel)
    found, ours = jax.vjp(lambda x, kernel: convolve(x, kernel, 1, (1, 1)), x, kernel)
    g = jax.random.normal(jax.random.key(2), wanted.shape)
    suits = space[0] % 4 == 0
    assert ("optimization_barrier" in str(jax.make_jaxpr(lambda x: convolve(x, kernel, 1, (1, 1)))(x))) == suits
    assert ("optimization_barrier" in str(jax.make_jaxpr(ours)(g))) == suits
    for mine, other in zip((found, *ours(g)), (wanted, *back(g)), strict=True):
        np.testing.assert_allclose(mine, other, atol=3e-6 * float(jnp.abs(other).max()))


@pytest.mark.parametrize("inputs, outputs", [(1, 5), (5, 1), (1, 1)])
def test_one_channel_of_a_volume(inputs, outputs):
    x, kernel = random_pair((3, 5, 4), inputs, outputs)
    wanted, back = jax.vjp(lambda x, kernel: convolution._convolve(x, kernel, 1, ((1, 1),) * 3), x, kernel)
    found, ours = jax.vjp(lambda x, kernel: convolve(x, kernel, 1, (1, 1)), x, kernel)
    g = jax.random.normal(jax.random.key(2), wanted.shape)
    for mine, other in zip((found, *ours(g)), (wanted, *back(g)), strict=True):
        np.testing.assert_allclose(mine, other, atol=3e-6 * float(jnp.abs(other).max()))


@pytest.mark.parametrize("space", [(4, 3), (2, 3, 4)])
def test_of_what_is_enlarged(space):
    x, kernel = random_pair(space, 3, 5)
    large = functools.reduce(lambda x, axis: x.repeat(2, axis + 1), range(len(space)), x)
    wanted = convolution._convolve(large, kernel, 1, ((1, 1),) * len(space))
    np.testing.assert_allclose(convolution.convolve_doubled(x, kernel), wanted, atol=2e-5)


def test_it_is_left_to_large_float32_arrays():
    def six(shape, channels, dtype=jnp.float32):
        x, kernel = jnp.zeros((*shape, channels), dtype), jnp.zeros((3, 3, channels, channels), dtype)
        return "optimization_barrier" in str(jax.make_jaxpr(lambda x: convolve(x, kernel, 1, (1, 1)))(x))

    assert six((1, 64, 64), 256) and six((1, 64, 64), 172)
    assert not six((1, 64, 64), 64) and not six((1, 32, 32), 512) and not six((1, 64, 64), 256, jnp.bfloat16)


CONVOLUTIONS = [(2, 8, 10, 3, (0, 1)), (2, 9, 6, 3, (1, 1)), (2, 7, 8, 4, (1, 2))]


@pytest.mark.parametrize(
    "stride, count, height, width, size, padding",
    [(2, *case) for case in CONVOLUTIONS] + [(1, *case) for case in [*CONVOLUTIONS, (6, 11, 13, 3, (1, 1))]],
)
def test_the_gradients_of_a_convolution_are_autodiff_s(stride, count, height, width, size, padding):
    x, kernel = (
        jax.random.normal(jax.random.key(k), shape)
        for k, shape in enumerate([(count, height, width, 3), (size, size, 3, 5)])
    )
    plain = lambda x, kernel: jax.lax.conv_general_dilated(  # noqa: E731
        x, kernel, (stride, stride), (padding, padding), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    y, wanted = jax.vjp(plain, x, kernel)
    ours, found = jax.vjp(lambda x, kernel: convolve(x, kernel, stride, padding), x, kernel)
    g = jax.random.normal(jax.random.key(2), y.shape)
    np.testing.assert_allclose(ours, y, atol=1e-6)
    for mine, other in zip(found(g), wanted(g), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_its_gradients_are_adjoint(stride):
    """<g, conv(x, k)> is linear in x and in k, so the gradients dotted with x and with k give it back."""
    x, kernel = (
        jax.random.normal(jax.random.key(seed), shape) for seed, shape in enumerate([(2, 4, 6, 4, 3), (3, 3, 3, 3, 5)])
    )
    y, back = jax.vjp(lambda x, kernel: convolve(x, kernel, stride, (1, 1)), x, kernel)
    g = jax.random.normal(jax.random.key(2), y.shape)
    for array, gradient in zip((x, kernel), back(g), strict=True):
        np.testing.assert_allclose(jnp.vdot(array, gradient), jnp.vdot(g, y), rtol=1e-4)
    point = jnp.zeros_like(x).at[1, 0, 5, 2, 1].set(1.0)  # one row of the transposed map
    wanted = jnp.vdot(g, convolve(point, kernel, stride, (1, 1)))
    np.testing.assert_allclose(jnp.vdot(point, back(g)[0]), wanted, rtol=1e-4)
