"""Display values and linear light: the sRGB transfer function of IEC 61966-2-1, on the host.

Rendered images and the colours of our meshes and points are display values; light adds up in linear values, which
glTF's vertex colours hold.
"""

import numpy as np
from jaxtyping import Float


def encode_srgb(linear: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Linear light -> display values, both clipped to [0, 1]."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def decode_srgb(display: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Display values -> linear light, both clipped to [0, 1]."""
    display = np.clip(display, 0, 1)
    return np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)
