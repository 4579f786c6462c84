"""Features of positions and directions that a small network reads better than raw coordinates.

Fourier (NeRF, arXiv 2003.08934, eq. 4, as the survey writes it, with the input itself in front):
    gamma(x) = (x, sin(pi x), cos(pi x), sin(2 pi x), cos(2 pi x), ..., sin(2^(L-1) pi x), cos(2^(L-1) pi x)),
each term over all coordinates of x: (2 L + 1) d features of d coordinates.

Octaves, the same in other units (Shap-E, arXiv 2305.02463; mip-NeRF's code), with the waves one after the other:
    (x, sin(x), sin(2 x), ..., sin(2^(L-1) x), sin(x + pi/2), ..., sin(2^(L-1) x + pi/2)).

Real spherical harmonics Y_lm of a unit direction, orthonormal over the sphere, up to degree 3, in the order
(l, m) = (0,0), (1,-1), (1,0), (1,1), (2,-2), ... and with the signs of 3D Gaussian splatting (arXiv 2308.04079),
which are those with the Condon-Shortley phase: Y_1 = sqrt(3 / 4 pi) (-y, z, -x).
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

Y_00 = 0.5 / math.sqrt(math.pi)
"""The harmonic of degree 0, a constant."""


def fourier(x: Float[Array, "... d"], frequencies: int) -> Float[Array, "... f"]:
    """x, then sin and cos of 2^i pi x for i = 0 .. frequencies - 1: [..., (2 frequencies + 1) d]."""
    waves = [2.0**i * math.pi * x for i in range(frequencies)]
    return jnp.concatenate([x, *(wave(angle) for angle in waves for wave in (jnp.sin, jnp.cos))], axis=-1)


def octaves(x: Float[Array, "... d"], frequencies: int) -> Float[Array, "... f"]:
    """x, then sin(2^i x) for i = 0 .. frequencies - 1, then sin(2^i x + pi / 2): [..., (2 frequencies + 1) d]."""
    angles = jnp.concatenate([2.0**i * x for i in range(frequencies)], axis=-1)
    return jnp.concatenate([x, jnp.sin(jnp.concatenate([angles, angles + 0.5 * math.pi], axis=-1))], axis=-1)


def _band(degree: int, x: Array, y: Array, z: Array) -> list[Array]:
    """The 2 l + 1 harmonics of one degree, as polynomials on the unit sphere."""
    root = math.sqrt
    if degree == 0:
        return [jnp.full_like(x, Y_00)]
    if degree == 1:
        scale = root(3 / (4 * math.pi))
        return [-scale * y, scale * z, -scale * x]
    if degree == 2:
        scale = 0.5 * root(15 / math.pi)
        return [
            scale * x * y,
            -scale * y * z,
            0.25 * root(5 / math.pi) * (3 * z * z - 1),
            -scale * x * z,
            0.5 * scale * (x * x - y * y),
        ]
    outer, inner, middle = 0.25 * root(35 / (2 * math.pi)), 0.25 * root(21 / (2 * math.pi)), 0.5 * root(105 / math.pi)
    return [
        -outer * y * (3 * x * x - y * y),
        middle * x * y * z,
        -inner * y * (5 * z * z - 1),
        0.25 * root(7 / math.pi) * z * (5 * z * z - 3),
        -inner * x * (5 * z * z - 1),
        0.5 * middle * z * (x * x - y * y),
        -outer * x * (x * x - 3 * y * y),
    ]


def spherical_harmonics(directions: Float[Array, "... 3"], degree: int) -> Float[Array, "... f"]:
    """The (degree + 1)^2 real spherical harmonics of unit directions, degree 0 to 3."""
    if not 0 <= degree <= 3:
        raise ValueError(f"spherical harmonics are written up to degree 3, got degree {degree}; choose 0, 1, 2 or 3.")
    x, y, z = directions[..., 0], directions[..., 1], directions[..., 2]
    return jnp.stack([term for band in range(degree + 1) for term in _band(band, x, y, z)], axis=-1)
