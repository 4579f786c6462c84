"""Pictures of a distorting lens made those of a pinhole.

A point (x, y) = (X_c / Z_c, Y_c / Z_c) of the plane z = 1, at r^2 = x^2 + y^2, is seen by the lens at

    x' = x (1 + k1 r^2 + k2 r^4 + k3 r^6) + 2 p1 x y + p2 (r^2 + 2 x^2)
    y' = y (1 + k1 r^2 + k2 r^4 + k3 r^6) + p1 (r^2 + 2 y^2) + 2 p2 x y

(Brown 1966, "Decentering distortion of lenses", with OpenCV's signs and names; COLMAP's SIMPLE_RADIAL, RADIAL and
OPENCV are its cases without k3). A pixel of the pinhole's picture asks the lens's picture at (x', y'), so the
polynomial need never be inverted. The pinhole keeps the lens's focal length, centre and size.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import map_coordinates

from jax3d.data.posed_images.scan import Lens


def distort(plane: Float[np.ndarray, "*b 2"], lens: Lens) -> Float[np.ndarray, "*b 2"]:
    """Where on the plane z = 1 the lens sees the points (x, y)."""
    (k1, k2, k3), (p1, p2) = lens.radial, lens.tangential
    x, y = plane[..., 0], plane[..., 1]
    r2 = x * x + y * y
    stretch = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return np.stack(
        [
            x * stretch + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * stretch + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        axis=-1,
    )


def undistort(image: Float[np.ndarray, "h w 4"], lens: Lens) -> Float[np.ndarray, "h w 4"]:
    """The pinhole's picture, bilinearly, from a premultiplied one; where the lens saw nothing it is transparent."""
    if not any((*lens.radial, *lens.tangential)):
        return image
    source, seen = _source(lens, *image.shape[:2])
    channels = [map_coordinates(image[..., c], source, order=1, mode="nearest") for c in range(4)]
    return np.stack(channels, axis=-1) * seen[..., None]


@lru_cache(maxsize=2)  # the pictures of a capture mostly share one lens
def _source(lens: Lens, height: int, width: int) -> tuple[Float[np.ndarray, "2 h w"], Bool[np.ndarray, "h w"]]:
    """Row and column in the lens's picture of each pixel of the pinhole's, and whether they are in it."""
    k1, k2, k3 = lens.radial
    u, v = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    plane = (np.stack(np.meshgrid(u, v), axis=-1) - lens.centre) / lens.focal
    seen_at = distort(plane, lens) * lens.focal + lens.centre
    r2 = (plane**2).sum(-1)
    # where r' falls again as r grows the polynomial is beyond the lens's field and would show the picture mirrored
    rising = 1 + r2 * (3 * k1 + r2 * (5 * k2 + r2 * 7 * k3)) > 0
    seen = rising & ((seen_at >= 0) & (seen_at <= 1)).all(-1)
    return np.stack([seen_at[..., 1] * height - 0.5, seen_at[..., 0] * width - 0.5]), seen
