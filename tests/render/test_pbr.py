"""The surface of glTF: it conserves energy, is reciprocal, has the limits of matt and mirror; environments add up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math.encoding import spherical_harmonics
from jax3d.render.pbr import Material, irradiance, lit, matt, reflectance

UP = np.array([0.0, 0.0, 1.0], np.float32)


def hemisphere(count):
    """Midpoints [n, 3] of a grid in (z, azimuth), each of the solid angle 2 pi / n."""
    z = (np.arange(count) + 0.5) / count
    turn = 2 * np.pi * (np.arange(2 * count) + 0.5) / (2 * count)
    z, turn = (value.ravel() for value in np.meshgrid(z, turn))
    flat = np.sqrt(1 - z**2)
    return jnp.asarray(np.stack([flat * np.cos(turn), flat * np.sin(turn), z], -1), jnp.float32)


def made_of(base, metallic, roughness, count=None):
    shape = () if count is None else (count,)
    return Material(jnp.full((*shape, 3), base), jnp.full(shape, metallic), jnp.full(shape, roughness))


def tilted(angle):
    return jnp.array([np.sin(angle), 0.0, np.cos(angle)], jnp.float32)


def albedo(metallic, roughness, angle):
    """The share of even light from all sides that leaves towards an eye."""
    light = hemisphere(200)
    same = lambda vector: jnp.broadcast_to(vector, light.shape)  # noqa: E731
    out = reflectance(made_of(1.0, metallic, roughness, len(light)), same(UP), light, same(tilted(angle)))
    return float(jnp.mean(2 * jnp.pi * out[:, 0] * light[:, 2]))


def test_white_metal_reflects_no_more_than_it_gets():
    assert albedo(1.0, 1.0, 0.0) == pytest.approx(1 - np.log(2), rel=1e-3)  # D = 1 / pi, V = 1 / (2 + 2 n.l)
    assert 0.94 < albedo(1.0, 0.4, 0.0) < 1
    for roughness in (0.4, 0.7, 1.0):
        assert all(albedo(1.0, roughness, angle) < 1 for angle in (0.8, 1.3))
    assert albedo(0.0, 0.7, 0.0) == pytest.approx(1, abs=0.05)  # what is not mirrored is scattered


def test_light_and_eye_may_be_exchanged():
    light, eye = hemisphere(12), jnp.roll(hemisphere(12), 37, axis=0)
    material, normal = made_of(0.3, 0.5, 0.6, len(light)), jnp.broadcast_to(UP, light.shape)
    there, back = reflectance(material, normal, light, eye), reflectance(material, normal, eye, light)
    np.testing.assert_allclose(there, back, rtol=2e-4)


def test_matt_and_mirror():
    rough = lit(made_of(0.5, 0.0, 1.0), jnp.asarray(UP), tilted(0.5), tilted(-0.3))
    assert rough == pytest.approx(0.5 * np.cos(0.5), rel=0.1)  # Lambert's law, but for the 4 % that are mirrored
    smooth = made_of(1.0, 1.0, 0.2)
    towards, beside = (lit(smooth, jnp.asarray(UP), tilted(0.5), tilted(angle)) for angle in (-0.5, 0.0))
    assert float(towards[0]) > 50 * float(beside[0])
    for light, eye in ((tilted(2.0), tilted(0.0)), (tilted(0.0), tilted(2.0))):
        assert float(lit(smooth, jnp.asarray(UP), light, eye).max()) == 0  # from behind, or seen from behind


def test_gradients_are_finite_at_the_rim_and_for_perfect_mirrors():
    def total(normal, roughness, light):
        return lit(Material(jnp.ones(3), jnp.ones(()), roughness), normal, light, tilted(0.0)).sum()

    for light in (tilted(np.pi / 2), tilted(0.0), tilted(np.pi)):
        for gradient in jax.grad(total, (0, 1, 2))(jnp.asarray(UP), jnp.zeros(()), light):
            assert np.isfinite(gradient).all()


def test_an_environment_lights_as_its_integral():
    """Constant: pi everywhere. A random one of degree 2: the integral of L(w) max(0, n.w) over the sphere."""
    radiance = jnp.zeros((9, 1)).at[0].set(np.sqrt(4 * np.pi))
    np.testing.assert_allclose(irradiance(radiance, hemisphere(4)), np.pi, rtol=1e-5)
    radiance = jax.random.normal(jax.random.key(0), (9, 3))
    half = hemisphere(150)
    wanted = jnp.mean(2 * jnp.pi * (spherical_harmonics(half, 2) @ radiance) * half[:, 2:], axis=0)
    np.testing.assert_allclose(irradiance(radiance, jnp.asarray(UP)), wanted, atol=1e-2)
    seen = matt(made_of(0.5, 0.0, 1.0), jnp.asarray(UP), radiance)
    np.testing.assert_allclose(seen, 0.96 * 0.5 * wanted / np.pi, atol=1e-2)
