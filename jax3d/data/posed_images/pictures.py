"""Reading the picture of a view: as bytes, at the size asked for, turned as its camera was.

A camera held sideways notes in the file (EXIF) how to turn the picture upright. COLMAP leaves the note unread, on
purpose (github.com/colmap/colmap/issues/1456), as do the loaders of NeRF and instant-ngp, so poses mostly belong to the
pixels as they are stored. Hence these are taken where they fit the stated size; where only the upright picture fits, or
no size is stated, it is.

Means of pixels (shrinking, undistorting) are of premultiplied colour, lest transparent pixels bleed in, and of display
values, as in the tools that make images_4/.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from jax3d.data.posed_images.scan import View
from jax3d.data.posed_images.undistort import undistort
from jax3d.io.image import read_image


def read_view(view: View, shrunk: int, factor: int) -> UInt8[np.ndarray, "h w 4"]:
    """The pinhole picture of a view as straight-alpha bytes (opaque where the file has no alpha), `factor` smaller.

    The file on disk is `shrunk` times smaller than the view's stated size. Raises ValueError when it is no picture,
    disagrees with that size, or `factor` does not divide it.
    """
    image = _turned(view, shrunk)
    alpha = image[..., 3:] if image.shape[-1] == 4 else np.ones_like(image[..., :1])
    image = undistort(np.concatenate([image[..., :3] * alpha, alpha], axis=-1), view.lens)
    image = shrink(image, factor, view.path)
    alpha = image[..., 3:]
    straight = np.concatenate([image[..., :3] / np.maximum(alpha, 1e-6), alpha], axis=-1)
    return np.round(255 * np.clip(straight, 0, 1)).astype(np.uint8)


def shrink(image: Float[np.ndarray, "h w c"], factor: int, path: Path) -> Float[np.ndarray, "h2 w2 c"]:
    """Means over blocks of factor x factor pixels."""
    height, width, channels = image.shape
    if height % factor or width % factor:
        raise ValueError(
            f"downscale must divide the pictures' sides, but {factor} does not divide the {width} x {height} pixels "
            f"of {path}; choose a common divisor, or put resized pictures in images_{factor}/."
        )
    return image.reshape(height // factor, factor, width // factor, factor, channels).mean((1, 3))


def _turned(view: View, shrunk: int) -> Float[np.ndarray, "h w c"]:
    if view.size is None:
        return read_image(view.path)
    for upright in (False, True):
        image = read_image(view.path, upright=upright)
        height, width = image.shape[:2]
        if abs(width - view.size[0] / shrunk) < 1 and abs(height - view.size[1] / shrunk) < 1:  # rounded up or down
            return image
    raise ValueError(
        f"{view.path} has {width} x {height} pixels, but its camera is for {view.size[0]:g} x {view.size[1]:g}"
        f"{f' shrunk {shrunk} times' if shrunk > 1 else ''}; give the pictures that the cameras were made from."
    )
