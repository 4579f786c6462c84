"""Resizing images: a separable linear map, one matrix an axis, y = A x B^T.

Output pixel i looks at the source coordinate

    u_i = (i + 1/2) n_in / n_out - 1/2        (pixel centres; the default)
    u_i = i (n_in - 1) / (n_out - 1)          (align_corners: first and last pixels stay put)

and weighs source pixel j by kernel(u_i - j), pixels beyond the edge repeating the edge's. With `antialias` a
shrinking map stretches the kernel by n_in / n_out, leaves out what is beyond the edge and divides by the sum.
These are torch.nn.functional.interpolate's rules; jax.image.resize differs (cubic without antialias has another
parameter, and no align_corners). Kernels: Keys 1981, "Cubic convolution interpolation", equation 15.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Kernel(NamedTuple):
    """An even weight function that is zero from `radius` pixels on."""

    radius: int
    weight: Callable[[np.ndarray], np.ndarray]


def cubic(a: float) -> Kernel:
    """Keys' kernel with slope `a` at distance 1."""

    def weight(x: np.ndarray) -> np.ndarray:
        x = np.abs(x)
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = a * (((x - 5) * x + 8) * x - 4)
        return np.where(x < 1, near, np.where(x < 2, far, 0.0))

    return Kernel(2, weight)


LINEAR = Kernel(1, lambda x: np.maximum(1 - np.abs(x), 0.0))
CUBIC = cubic(-0.75)  # PyTorch's and OpenCV's
SMOOTH_CUBIC = cubic(-0.5)  # Pillow's; PyTorch's with antialias


def resize(
    image: Float[Array, "*b h w c"],
    height: int,
    width: int,
    kernel: Kernel = LINEAR,
    *,
    antialias: bool = False,
    align_corners: bool = False,
) -> Float[Array, "*b h2 w2 c"]:
    """The image at (height, width); differentiable. ValueError for sizes under 1, or both options at once."""
    if min(height, width, *image.shape[-3:-1]) < 1:
        raise ValueError(f"sizes must be at least 1, but {image.shape[-3:-1]} -> {(height, width)} was asked for")
    if antialias and align_corners:
        raise ValueError("antialias and align_corners exclude each other: give one of them")
    rows, columns = (
        jnp.asarray(interpolation(n, m, kernel, antialias, align_corners), image.dtype)
        for n, m in zip(image.shape[-3:-1], (height, width), strict=True)
    )
    return jnp.einsum("Yy,...yxc,Xx->...YXc", rows, image, columns, precision="highest")


def nearest(image: Float[Array, "*b h w c"], height: int, width: int) -> Float[Array, "*b h2 w2 c"]:
    """Output pixel i is source pixel floor(i n_in / n_out), as torch's 'nearest'."""
    h, w = image.shape[-3:-1]
    rows, columns = np.arange(height) * h // height, np.arange(width) * w // width
    return image[..., rows[:, None], columns[None, :], :]


def interpolation(n_in: int, n_out: int, kernel: Kernel, antialias: bool, align_corners: bool) -> np.ndarray:
    """The matrix [n_out, n_in] of one axis; its rows sum to 1. Coordinates are rounded to float32, as PyTorch's."""
    step = np.float32((n_in - 1) / max(n_out - 1, 1) if align_corners else n_in / n_out)
    i, half = np.arange(n_out, dtype=np.float32), np.float32(0.5)
    u = i * step if align_corners else (i + half) * step - half
    if antialias:
        weights = kernel.weight((u[:, None] - np.arange(n_in)) / max(step, np.float32(1)))
        return weights / weights.sum(1, keepdims=True)
    matrix = np.zeros((n_out, n_in))
    for tap in range(1 - kernel.radius, kernel.radius + 1):
        j = np.floor(u).astype(int) + tap
        np.add.at(matrix, (np.arange(n_out), np.clip(j, 0, n_in - 1)), kernel.weight(u - j))
    return matrix
