"""LLFF's poses_bounds.npy (arXiv 1905.00889) with the pictures in images/, in the order of their names.

A row of its 17 numbers is a matrix [3, 5], row by row, and the nearest and farthest depth seen:

    [down | right | backward | position | (height, width, focal in pixels)],    near, far.

As NeRF's loader does (arXiv 2003.08934, load_llff.py), the mean camera comes to the origin and the nearest depth of all
to 1 / 0.75. It looks along -x there, z up, so its pictures show the front. The scene begins beyond the cube, hence
unbounded.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from jax3d.data.posed_images.scan import Scan, Similarity, View, picture_folder, pixel_lens, rigid, unit

FILE = "poses_bounds.npy"
NEAREST = 0.75
PICTURES = (".jpg", ".jpeg", ".png", ".webp")


def scan(folder: Path, downscale: int) -> Scan:
    """All views, with bounds; images_4/ serves for downscale 4 where there is one."""
    rows = _rows(folder / FILE)
    pictures, shrunk = picture_folder(folder, downscale)
    paths = sorted(path for path in pictures.glob("*") if path.suffix.lower() in PICTURES)
    if len(paths) != len(rows):
        others = ", ".join(sorted(path.name for path in folder.glob("images_*"))) or "no images_N/ either"
        raise ValueError(
            f"{FILE} needs one picture a row, but it has {len(rows)} rows and {pictures} {len(paths)} pictures; "
            f"complete them, or choose a downscale that has its own folder ({others})."
        )
    views = [_view(path, row) for path, row in zip(paths, rows, strict=True)]
    bounds = rows[:, 15:]
    return Scan(views, _recentred(np.stack([view.pose for view in views]), bounds), True, True, bounds, shrunk)


def _rows(path: Path) -> Float[np.ndarray, "n 17"]:
    try:
        rows = np.load(path)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} is no NumPy array ({error}); run LLFF's imgs2poses.py again.") from None
    if rows.ndim != 2 or rows.shape[1] != 17 or not len(rows) or not np.issubdtype(rows.dtype, np.floating):
        raise ValueError(f"{path} must hold 17 floats a picture, not {rows.dtype} {list(rows.shape)}; write it again.")
    for index, (near, far) in enumerate(rows[:, 15:]):
        if not 0 < near < far < np.inf:
            raise ValueError(
                f"every row of {path} must end in 0 < near < far, not {near}, {far} (row {index}); mend it."
            )
    return rows.astype(np.float64)


def _view(path: Path, row: Float[np.ndarray, "17"]) -> View:
    down, right, backward, position, (height, width, focal) = row[:15].reshape(3, 5).T
    pose = rigid(np.stack([right, down, -backward, position], axis=-1), path.name)
    return View(path, pose, pixel_lens(width, height, (focal, focal), (width / 2, height / 2)), (width, height))


def _recentred(poses: Float[np.ndarray, "n 4 4"], bounds: Float[np.ndarray, "n 2"]) -> Similarity:
    backward = unit(-poses[:, :3, 2], "viewing")
    right = unit(np.cross(-poses[:, :3, 1], backward), "up")
    rotation = np.stack([backward, right, np.cross(backward, right)])
    return Similarity(float(1 / (NEAREST * bounds.min())), poses[:, :3, 3].mean(0), rotation)
