"""The metallic-roughness surface of glTF 2.0 (appendix B), under point lights and under an environment.

Of a surface with base colour, metalness and roughness, unit normal n, unit vectors l to the light and v to the eye,
h = (l + v) / |l + v|, a = roughness^2, all cosines clamped to [0, 1]:

    f0 = 0.04 (1 - metallic) + base metallic,    F = f0 + (1 - f0) (1 - v.h)^5                         Schlick's Fresnel
    D  = a^2 / (pi ((n.h)^2 (a^2 - 1) + 1)^2)                                                          GGX
    V  = 1 / (2 (n.l sqrt(a^2 + (1 - a^2) (n.v)^2) + n.v sqrt(a^2 + (1 - a^2) (n.l)^2)))               Smith, joint
    f  = (1 - F) (1 - metallic) base / pi + F D V

The light that leaves towards v is f E n.l, with E the irradiance across the light's direction. An environment of
radiance L(w) = sum L_lm Y_lm(w), degree 2, lights a matt surface with (Ramamoorthi & Hanrahan 2001)

    E(n) = sum A_l L_lm Y_lm(n),    A = pi, 2 pi / 3, pi / 4.

Everything is linear light; displays want math/image's sRGB curve after it. Differentiable; 0 behind the surface.
"""

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jax3d.math import linalg
from jax3d.math.encoding import spherical_harmonics

DIELECTRIC = 0.04
"""Share of light that what is no metal mirrors head on."""
LEAST = 1e-3
"""Of cosines and of a: below it the highlight is sharper than float32."""


@struct.dataclass
class Material:
    """What a surface is made of; leading axes are those of points."""

    base: Array  # [..., 3] linear, in [0, 1]
    metallic: Array  # [...] in [0, 1]
    roughness: Array  # [...] in [0, 1]


def reflectance(
    material: Material, normal: Float[Array, "... 3"], light: Float[Array, "... 3"], eye: Float[Array, "... 3"]
) -> Float[Array, "... 3"]:
    """f, per steradian, for unit directions to the light and to the eye; meaningful where both see the surface."""
    half = linalg.normalize(light + eye)
    cosine = lambda a, b: jnp.clip(linalg.dot(a, b), LEAST, 1.0)  # noqa: E731
    n_l, n_v, n_h, v_h = cosine(normal, light), cosine(normal, eye), cosine(normal, half), cosine(eye, half)
    a2 = jnp.maximum(material.roughness**2, LEAST) ** 2
    metallic = material.metallic[..., None]
    f0 = DIELECTRIC * (1 - metallic) + material.base * metallic
    fresnel = f0 + (1 - f0) * ((1 - v_h) ** 5)[..., None]
    distribution = a2 / (jnp.pi * (n_h**2 * (a2 - 1) + 1) ** 2)
    hidden = n_l * jnp.sqrt(a2 + (1 - a2) * n_v**2) + n_v * jnp.sqrt(a2 + (1 - a2) * n_l**2)
    mirrored = fresnel * (distribution / (2 * hidden))[..., None]
    return (1 - fresnel) * (1 - metallic) * material.base / jnp.pi + mirrored


def lit(
    material: Material,
    normal: Float[Array, "... 3"],
    light: Float[Array, "... 3"],
    eye: Float[Array, "... 3"],
    irradiance: Float[Array, "..."] | float = jnp.pi,
) -> Float[Array, "... 3"]:
    """Radiance towards the eye under one light; with the irradiance pi a white matt surface facing it is about 1."""
    facing, seen = linalg.dot(normal, light), linalg.dot(normal, eye)
    there = (facing > 0) & (seen > 0)
    amount = jnp.where(there, irradiance * jnp.maximum(facing, 0.0), 0.0)
    return reflectance(material, normal, light, eye) * amount[..., None]


def irradiance(radiance: Float[Array, "9 c"], normal: Float[Array, "... 3"]) -> Float[Array, "... c"]:
    """E(n) of an environment given by its coefficients L_lm, in the order of math/encoding."""
    widths = jnp.pi * jnp.array([1.0] + [2 / 3] * 3 + [1 / 4] * 5)
    return spherical_harmonics(normal, 2) @ (widths[:, None] * radiance)


def matt(material: Material, normal: Float[Array, "... 3"], radiance: Float[Array, "9 3"]) -> Float[Array, "... 3"]:
    """Radiance of the matt part of a surface in an environment; its highlights are left out."""
    body = (1 - material.metallic)[..., None] * (1 - DIELECTRIC) * material.base
    return body * irradiance(radiance, normal) / jnp.pi
