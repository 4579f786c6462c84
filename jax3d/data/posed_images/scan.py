"""What a capture's files say before any picture is read: lenses, poses, and the way from their world into ours.

A point x of the file's world is s R (x - c) in ours (scale s, rotation R, centre c); a pose [A, t] is there
[R A, s R (t - c)]. Distances grow by s, and what a pinhole sees stays as it is. Camera axes are OpenCV's, as in
math/camera.py; each format turns its own into these as it reads them.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float


class Lens(NamedTuple):
    """A pinhole and its distortion (undistort.py), in units of the image's width and height as Camera's."""

    focal: tuple[float, float]
    centre: tuple[float, float] = (0.5, 0.5)
    radial: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tangential: tuple[float, float] = (0.0, 0.0)


class View(NamedTuple):
    """One picture that has a camera."""

    path: Path
    pose: np.ndarray  # [4, 4] world_from_camera, the file's world
    lens: Lens
    size: tuple[float, float] | None = None  # width and height that the file states, None where it does not


class Similarity(NamedTuple):
    """The way from the file's world into ours and, for exports, back."""

    scale: float
    centre: np.ndarray  # [3] the file's point that is our origin
    rotation: np.ndarray = np.eye(3)  # [3, 3] its rows are our axes in the file's world

    def to_ours(self, points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
        """Points of the file's world in ours."""
        return self.scale * (points - self.centre) @ self.rotation.T

    def to_file(self, points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
        """Points of our world in the file's."""
        return points @ self.rotation / self.scale + self.centre

    def place(self, poses: Float[np.ndarray, "*b 4 4"]) -> Float[np.ndarray, "*b 4 4"]:
        """Poses `world_from_camera` of the file's world in ours; they stay rigid."""
        placed = poses.copy()
        placed[..., :3, :3] = self.rotation @ poses[..., :3, :3]
        placed[..., :3, 3] = self.to_ours(poses[..., :3, 3])
        return placed


class Scan(NamedTuple):
    """All that the files of one capture say."""

    views: list[View]
    similarity: Similarity
    unbounded: bool  # there is more to see than the cube [-1, 1]^3
    held_out: bool  # no file says what is for testing: every eighth picture is; pictures may be missing
    bounds: np.ndarray | None = None  # [n, 2] nearest and farthest depth, the file's units
    shrunk: int = 1  # the pictures on disk are this much smaller than their stated size


def pixel_lens(
    width: float,
    height: float,
    focal: tuple[float, float],
    centre: tuple[float, float],
    radial: tuple[float, ...] = (),
    tangential: tuple[float, float] = (0.0, 0.0),
) -> Lens:
    """The lens whose numbers are in pixels, the first pixel's corner at (0, 0). ValueError where none has such."""
    numbers = (width, height, *focal, *centre, *radial, *tangential)
    if not np.isfinite(numbers).all() or min(width, height, *focal) <= 0:
        raise ValueError(
            f"a lens needs finite numbers and positive size and focal lengths, got {width} x {height} pixels, "
            f"focal {focal}, centre {centre}, distortion {(*radial, *tangential)}; calibrate it again."
        )
    k1, k2, k3 = (*radial, 0.0, 0.0, 0.0)[:3]
    return Lens(
        (focal[0] / width, focal[1] / height), (centre[0] / width, centre[1] / height), (k1, k2, k3), tangential
    )


def rigid(matrix: Any, owner: str) -> Float[np.ndarray, "4 4"]:
    """A file's pose ([3, 4] or [4, 4] numbers) as a matrix [4, 4] whose rotation is exact.

    Raises ValueError, naming the `owner`, for other shapes, NaN, scale, shear (over 1e-3) and mirrors.
    """
    try:
        matrix = np.asarray(matrix, np.float64)
    except (TypeError, ValueError):
        matrix = np.full((), np.nan)
    pose = np.eye(4)
    if matrix.shape in ((3, 4), (4, 4)):
        pose[: len(matrix)] = matrix
    else:
        pose[:] = np.nan
    rotation = pose[:3, :3]
    good = np.isfinite(pose).all() and np.array_equal(pose[3], [0, 0, 0, 1])
    if not good or np.abs(rotation.T @ rotation - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
        raise ValueError(
            f"a pose is a rotation (orthonormal, determinant +1) and a translation in 3 or 4 rows of 4 finite numbers, "
            f"which that of {owner} is not: {matrix.tolist()}; export it without scale or mirroring."
        )
    left, _, right = np.linalg.svd(rotation)
    pose[:3, :3] = left @ right
    return pose


def unit(vectors: Float[np.ndarray, "n 3"], name: str) -> Float[np.ndarray, "3"]:
    """The direction of the vectors' sum. ValueError where they cancel out."""
    total = vectors.sum(0)
    length = np.linalg.norm(total)
    if length < 1e-6 * len(vectors):
        raise ValueError(f"the cameras' {name} directions cancel out, so the scene has none; leave some cameras out.")
    return total / length


def picture_folder(folder: Path, downscale: int) -> tuple[Path, int]:
    """Where a capture keeps its pictures and by how much they are shrunk: images_4/ for 4 where there is one."""
    shrunk = folder / f"images_{downscale}"
    return (shrunk, downscale) if downscale > 1 and shrunk.is_dir() else (folder / "images", 1)
