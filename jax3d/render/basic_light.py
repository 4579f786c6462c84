"""The light of the pictures that Shap-E learnt from (arXiv:2305.02463; shap-e rendering/blender/constants.py).

From one side and, as surfaces have no outside there, from the other; it adds up on linear values:

    linear * (0.3 + 0.7 |normal . light|)
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

LIGHT, AMBIENT, DIFFUSE = (0.09387503, -0.63953443, -0.7630093), 0.3, 0.7


def basic(colors: Float[Array, "*lead 3"], normals: Float[Array, "*lead 3"]) -> Float[Array, "*lead 3"]:
    """What is seen of sRGB colours at unit normals."""
    light = AMBIENT + DIFFUSE * jnp.abs(normals @ jnp.array(LIGHT))
    return to_display(to_linear(colors) * light[..., None])


def to_linear(display: Float[Array, "..."]) -> Float[Array, "..."]:
    """sRGB values to linear light."""
    return jnp.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)


def to_display(linear: Float[Array, "..."]) -> Float[Array, "..."]:
    """Linear light to sRGB values."""
    safe = jnp.maximum(linear, 0.0031308)
    return jnp.where(linear <= 0.0031308, 12.92 * linear, 1.055 * safe ** (1 / 2.4) - 0.055)
