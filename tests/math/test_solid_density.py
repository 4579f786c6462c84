"""Densities of solids: integrals in closed form, the telescoping product, and no harm far away."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math.solid_density import neus_opacity, volsdf_density


def test_volsdf_integrates_to_the_closed_form():
    """On the way in, s = -x for x from -a to b: int Psi(x) / beta dx = b / beta + (e^(-b/beta) - e^(-a/beta)) / 2."""
    beta, a, b = 0.1, 0.4, 0.3
    x = jnp.linspace(-a, b, 20001)
    optical = jnp.trapezoid(volsdf_density(-x, beta), x)
    assert float(optical) == pytest.approx(b / beta + (np.exp(-b / beta) - np.exp(-a / beta)) / 2, rel=1e-4)
    np.testing.assert_allclose(volsdf_density(jnp.array([-9.0, 0.0, 9.0]), beta), [10, 5, 0], atol=1e-5)


def test_neus_telescopes_whatever_the_samples_are():
    s = jnp.sort(jax.random.uniform(jax.random.key(0), (5, 12), minval=-0.4, maxval=0.5), axis=-1)[:, ::-1]
    alpha = neus_opacity(s, 0.05)
    assert alpha.shape == (5, 11) and float(alpha.min()) >= 0 and float(alpha.max()) <= 1
    passed = jnp.prod(1 - alpha, axis=-1)
    np.testing.assert_allclose(passed, jax.nn.sigmoid(s[:, -1] / 0.05) / jax.nn.sigmoid(s[:, 0] / 0.05), rtol=1e-4)


def test_light_is_stopped_at_the_surface_and_only_on_the_way_in():
    s = jnp.array([0.5, 0.3, 0.1, -0.1, -0.3, -0.1, 0.1, 0.3])
    alpha = neus_opacity(s, 0.01)
    assert float(alpha[2]) > 0.99 and float(alpha[:2].max()) < 1e-4
    np.testing.assert_array_equal(alpha[4:], 0)


@pytest.mark.parametrize("function", [volsdf_density, neus_opacity])
def test_gradients_are_finite_far_away(function):
    s = jnp.array([50.0, 20.0, 0.0, -20.0, -50.0])
    for gradient in jax.grad(lambda s, beta: function(s, beta).sum(), (0, 1))(s, jnp.float32(0.01)):
        assert np.isfinite(gradient).all()
