"""A folder of posed pictures as arrays: which format it is, which pictures are whose, and all of them read."""

import dataclasses
import math
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from jax3d.data.posed_images import colmap, llff, transforms
from jax3d.data.posed_images.pictures import read_view
from jax3d.data.posed_images.scan import Scan, Similarity, View
from jax3d.math.camera import Camera

SPLITS = ("train", "val", "test", "all")
HOLD = 8
"""Every eighth picture is for testing where no file says which."""
READERS = 4
"""Pictures read at a time; a large one takes 200 MB on its way."""


@dataclasses.dataclass(frozen=True, eq=False)
class PosedImages:
    """n pictures of one size, on the host, with their cameras in our world."""

    rgba: np.ndarray  # uint8 [n, h, w, 4], straight alpha; 255 where the picture has none
    camera: Camera  # leaves [n, ...], float32; pinholes
    names: tuple[str, ...]  # n paths relative to the folder
    similarity: Similarity  # how the file's world became ours
    unbounded: bool  # the scene reaches beyond the cube [-1, 1]^3
    bounds: np.ndarray | None = None  # float32 [n, 2], nearest and farthest depth in our units, where the format has it


def load(
    folder: str | Path, split: str = "train", *, downscale: int = 1, scene_scale: float | int | None = None
) -> PosedImages:
    """The pictures of a split with their cameras, from NeRF-synthetic's, instant-ngp's, LLFF's or COLMAP's files.

    `split` is train, val, test or all. NeRF-synthetic has a file for each; elsewhere every eighth picture in the order
    of names, from the first, is for testing (val is test) and the others are for training. `downscale` takes means over
    square blocks of pixels. `scene_scale` is the length in our world of the file's unit, about the point that the file
    has at our origin: by default 0.66 for NeRF-synthetic and instant-ngp (twice the file's own `scale`), and what
    brings the cameras (COLMAP) or the nearest depth (LLFF) to about 1. Distorted pictures are made a pinhole's.

    Raises ValueError for a folder without these files, for files that are cut short, lack keys or disagree with the
    pictures, for lenses and poses that are not those of a perspective camera, and for a split without pictures.
    """
    folder = Path(folder)
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}.")
    if not isinstance(downscale, int) or downscale < 1:
        raise ValueError(f"downscale must be a whole number from 1 on, got {downscale}.")
    scan = _scan(folder, split, downscale)
    scale = scan.similarity.scale if scene_scale is None else scene_scale
    if not 0 < scale < math.inf:
        raise ValueError(f"the scale of a scene must be positive and finite, got {scale}; set scene_scale.")
    similarity = scan.similarity._replace(scale=float(scale))
    rows = _present(scan)
    if scan.held_out and split != "all":
        rows = rows[(np.arange(len(rows)) % HOLD == 0) == (split != "train")]
    if not len(rows):
        raise ValueError(f"the split {split!r} of {folder} holds none of its {len(scan.views)} pictures; try 'all'.")
    views = [scan.views[row] for row in rows]
    camera = _cameras(views, similarity)
    bounds = None if scan.bounds is None else (scale * scan.bounds[rows]).astype(np.float32)
    names = tuple(Path(os.path.relpath(view.path, folder)).as_posix() for view in views)
    return PosedImages(_read(scan, rows, downscale), camera, names, similarity, scan.unbounded, bounds)


def read_path(path: str | Path, similarity: Similarity, *, size: int = 256) -> tuple[Camera, int, int]:
    """Cameras [n] of a flight through a capture, and the height and width of their pictures.

    The file is a transforms.json whose poses are in the capture's world (`PosedImages.similarity` makes it ours) and
    whose frames need no pictures; without w and h they are `size` squared. ValueError as `load`, and for mixed sizes.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is not there; give a transforms.json with the cameras of the flight.")
    views = transforms.path_views(path, size)
    sizes = {view.size or (size, size) for view in views}
    if len(sizes) != 1:
        raise ValueError(f"a flight needs frames of one size, {path} has {len(sizes)} sizes; mend its w and h.")
    ((width, height),) = sizes
    return _cameras(views, similarity), int(height), int(width)


def _cameras(views: list[View], similarity: Similarity) -> Camera:
    return Camera(
        jnp.asarray(similarity.place(np.stack([view.pose for view in views])), jnp.float32),
        jnp.array([view.lens.focal for view in views], jnp.float32),
        jnp.array([view.lens.centre for view in views], jnp.float32),
    )


def _scan(folder: Path, split: str, downscale: int) -> Scan:
    if not folder.is_dir():
        raise ValueError(f"{folder} is not there or no folder; give the folder of a capture.")
    if transforms.find(folder):
        return transforms.scan(folder, split)
    if (folder / llff.FILE).is_file():
        return llff.scan(folder, downscale)
    model = colmap.find(folder)
    if model:
        return colmap.scan(folder, model, downscale)
    raise ValueError(
        f"{folder} holds no poses: looked for transforms_train.json, transforms_val.json, transforms_test.json, "
        f"transforms.json, {llff.FILE}, and images.txt with cameras.txt in {', '.join(colmap.PLACES)}; run COLMAP."
    )


def _present(scan: Scan) -> Int[np.ndarray, "n"]:
    """The views whose picture is there. Where files state the splits none may be missing, elsewhere some."""
    there = np.array([view.path.is_file() for view in scan.views], bool)
    missing = [view.path for view in scan.views if not view.path.is_file()]
    if missing and (not scan.held_out or not there.any()):
        raise ValueError(f"{len(missing)} of {len(there)} pictures are missing, as {missing[0]}; put them there.")
    if missing:
        warnings.warn(
            f"{len(missing)} of {len(there)} pictures are missing and left out, as {missing[0]}.", stacklevel=3
        )
    return np.flatnonzero(there)


def _read(scan: Scan, rows: np.ndarray, downscale: int) -> np.ndarray:
    views = [scan.views[row] for row in rows]
    with ThreadPoolExecutor(READERS) as pool:
        images = pool.map(lambda view: read_view(view, scan.shrunk, downscale // scan.shrunk), views)
        images = list(tqdm(images, "pictures", len(views), unit="picture", delay=2))
    for image, view in zip(images, views, strict=True):
        if image.shape != images[0].shape:
            (h0, w0), (h, w) = images[0].shape[:2], image.shape[:2]
            raise ValueError(
                f"all pictures must have one size, but {views[0].path} has {w0} x {h0} pixels and {view.path} has "
                f"{w} x {h} (downscale {downscale}); resize or crop them, or load them as captures of their own."
            )
    return np.stack(images)
