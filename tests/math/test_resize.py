"""Image resizing: parity with torch's interpolate, and what a resize must keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math.image import CUBIC, LINEAR, SMOOTH_CUBIC, interpolation, nearest, resize

CASES = {
    "bilinear": (LINEAR, {}),
    "bilinear_aa": (LINEAR, {"antialias": True}),
    "bicubic": (CUBIC, {}),
    "bicubic_aa": (SMOOTH_CUBIC, {"antialias": True}),
    "bicubic_ac": (CUBIC, {"align_corners": True}),
}


def close(got, wanted, tolerance):
    wanted = np.moveaxis(wanted, 1, -1)
    assert np.abs(got - wanted).max() < tolerance * np.abs(wanted).max()


@pytest.mark.parametrize("size", [(64, 64), (28, 28), (32, 48)])
def test_equals_torch(shared, size):
    z = np.load(shared / "golden/stable_diffusion/image_ops/io.npz")
    x = jnp.asarray(np.moveaxis(z["x"], 1, -1))
    for name, (kernel, options) in CASES.items():
        close(resize(x, *size, kernel, **options), z[f"{name}_{size[0]}x{size[1]}"], 5e-6)
    close(nearest(x, *size), z[f"nearest_{size[0]}x{size[1]}"], 1e-12)


def test_gradient_equals_torch(shared):
    z = np.load(shared / "golden/stable_diffusion/image_ops/io.npz")
    x, g = (jnp.asarray(np.moveaxis(z[k], 1, -1)) for k in ("x", "g"))
    close(jax.grad(lambda x: jnp.sum(resize(x, 64, 64) * g))(x), z["grad_bilinear_64x64"], 1e-5)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("sizes", [(9, 9), (7, 20), (20, 7), (5, 1), (1, 5)])
def test_rows_sum_to_one_and_the_same_size_is_the_identity(name, sizes):
    kernel, options = CASES[name]
    options = {"antialias": False, "align_corners": False} | options
    matrix = interpolation(*sizes, kernel, **options)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
    if sizes[0] == sizes[1]:
        np.testing.assert_allclose(matrix, np.eye(sizes[0]), atol=1e-6)


def test_aligned_corners_keep_a_ramp_and_its_ends():
    ramp = jnp.linspace(-1.0, 1.0, 13)[None, :, None] * jnp.ones((4, 1, 2))
    wide = resize(ramp, 4, 37, LINEAR, align_corners=True)
    np.testing.assert_allclose(wide[0, :, 0], np.linspace(-1, 1, 37), atol=1e-6)


def test_cubic_interpolation_of_a_parabola_is_exact_inside():
    """Keys' kernel of slope -1/2 reproduces quadratics; -3/4 does not."""
    x = jnp.arange(16.0)
    u = (np.arange(48) + 0.5) / 3 - 0.5
    grow = lambda kernel: resize((x**2)[None, :, None], 1, 48, kernel)[0, :, 0]  # noqa: E731
    inside = slice(6, -6)
    np.testing.assert_allclose(grow(SMOOTH_CUBIC)[inside], u[inside] ** 2, atol=1e-4)
    assert np.abs(grow(CUBIC)[inside] - u[inside] ** 2).max() > 1e-2


def test_nonsense_is_refused():
    x = jnp.zeros((4, 4, 3))
    with pytest.raises(ValueError, match="at least 1"):
        resize(x, 0, 4)
    with pytest.raises(ValueError, match="exclude each other"):
        resize(x, 4, 4, antialias=True, align_corners=True)
