"""NeRF-synthetic's transforms_{train,val,test}.json and instant-ngp's transforms.json (arXiv 2003.08934, 2201.05989).

Poses are `transform_matrix`, world from camera with OpenGL's camera axes (x right, y up, z backward). Worlds are
right-handed with z up, as ours. instant-ngp sees a point x of the file at scale x + offset in its unit cube (before it
renames the axes, which we do not), by default 0.33 x + 0.5; its cube is our [-1, 1]^3, so

    x_ours = 2 (scale x + offset) - 1 = 2 scale (x - c),    c = (1/2 - offset) / scale,

and the objects of NeRF-synthetic, which reach about 1.5 from the origin, come to lie within 0.99. `aabb` [min, max]
stands for the scale and offset that make it fill the cube; `aabb_scale` above 1 says the scene goes beyond.

Lenses are fl_x, fl_y, cx, cy in pixels of w, h, or camera_angle_x, camera_angle_y in radians (one of the two axes is
enough), and k1, k2, k3, p1, p2 of undistort.py; a frame's own go before the file's.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jax3d.data.posed_images.scan import Lens, Scan, Similarity, View, pixel_lens, rigid
from jax3d.io.image import read_image

NGP_SCALE = 0.33
SUFFIXES = ("", ".png", ".jpg", ".jpeg", ".webp", ".PNG", ".JPG", ".JPEG")
MODELS = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
FOCALS = {"fl_x", "fl_y", "camera_angle_x", "camera_angle_y"}
OTHER_LENSES = ("is_fisheye", "ftheta_p0", "latlong", "equirectangular", "orthographic", "k4")


def find(folder: Path) -> dict[str, Path]:
    """The files of this format by their split; the one without splits is under "all"."""
    files = {split: folder / f"transforms_{split}.json" for split in ("train", "val", "test")}
    files = {split: path for split, path in files.items() if path.is_file()}
    single = folder / "transforms.json"
    return files or ({"all": single} if single.is_file() else {})


def scan(folder: Path, split: str) -> Scan:
    """The views of a split, or of the whole transforms.json, some of whose pictures may be missing."""
    files = find(folder)
    held_out = list(files) == ["all"]
    if not held_out and split != "all" and split not in files:
        raise ValueError(f"there is no transforms_{split}.json in {folder}, only those of {', '.join(files)}.")
    chosen = list(files.values()) if held_out or split == "all" else [files[split]]
    tops = [_parse(path) for path in chosen]
    entries = [
        (_picture(folder, frame), path, _inherited(top, frame))
        for path, top in zip(chosen, tops, strict=True)
        for frame in top["frames"]
    ]
    if held_out:
        entries.sort(key=lambda entry: entry[0])
    size = (1.0, 1.0)
    if not all({"w", "h"} <= entry.keys() for *_, entry in entries):
        there = (picture for picture, *_ in entries if picture.is_file())
        size = next((_size(picture) for picture in there), size)  # load sees that all have it
    views = [_view(*entry, size) for entry in entries]
    unbounded = _number(tops[0], "aabb_scale", chosen[0], 1.0) > 1
    return Scan(views, _similarity(tops[0], chosen[0]), unbounded, held_out)


def path_views(path: Path, size: int) -> list[View]:
    """The cameras of a file of this format that names no pictures: a flight. They see `size` squared unless it says."""
    top = _parse(path, pictures=False)
    entries = [_inherited(top, frame) for frame in top["frames"]]
    return [
        _view(Path(str(k)), path, {"file_path": f"frame {k}", **entry}, (float(size),) * 2)
        for k, entry in enumerate(entries)
    ]


def _size(picture: Path) -> tuple[float, float]:
    height, width, _ = read_image(picture).shape
    return float(width), float(height)


def _parse(path: Path, pictures: bool = True) -> dict[str, Any]:
    try:
        top = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is no JSON text ({error}); write it again, it may be cut short.") from None
    frames = top.get("frames") if isinstance(top, dict) else None
    if not isinstance(frames, list):
        raise ValueError(f"{path} needs a list 'frames' of pictures with their poses and has none; add it.")
    for index, frame in enumerate(frames):
        for key in ("file_path", "transform_matrix")[not pictures :]:
            if not isinstance(frame, dict) or key not in frame:
                raise ValueError(f"every frame of {path} needs {key!r}, which frame {index} lacks; add it.")
    return top


def _picture(folder: Path, frame: dict[str, Any]) -> Path:
    path = folder / str(frame["file_path"]).replace("\\", "/")
    choices = [Path(f"{path}{suffix}") for suffix in SUFFIXES]
    return next((choice for choice in choices if choice.is_file()), path)


def _inherited(top: dict[str, Any], frame: dict[str, Any]) -> dict[str, Any]:
    """What holds for a frame: its own numbers, else the file's. The ways to say a focal length go together."""
    own_focal = not FOCALS.isdisjoint(frame)
    return {key: value for key, value in top.items() if not (own_focal and key in FOCALS)} | frame


def _view(picture: Path, path: Path, entry: dict[str, Any], size: tuple[float, float]) -> View:
    pose = rigid(entry["transform_matrix"], f"{entry['file_path']} in {path}")
    stated = {"w", "h"} <= entry.keys()
    width, height = (_number(entry, key, path) for key in "wh") if stated else size
    return View(picture, pose * [1, -1, -1, 1], _lens(entry, width, height, path), (width, height) if stated else None)


def _lens(entry: dict[str, Any], width: float, height: float, path: Path) -> Lens:
    model = str(entry.get("camera_model", "OPENCV"))
    others = [f"{key} = {entry[key]}" for key in OTHER_LENSES if entry.get(key)]
    if model not in MODELS or others:
        raise ValueError(
            f"lenses must be perspective ({', '.join(MODELS)}), but {path} has "
            f"{others[0] if others else f'camera_model {model}'}; run colmap image_undistorter on the pictures."
        )
    focals = []
    for axis, pixels in (("x", width), ("y", height)):
        if f"fl_{axis}" in entry:
            focals.append(_number(entry, f"fl_{axis}", path))
        elif f"camera_angle_{axis}" in entry:
            angle = _number(entry, f"camera_angle_{axis}", path)
            if not 0 < angle < math.pi:
                raise ValueError(
                    f"camera_angle_{axis} is in radians, between 0 and pi, but {path} has {angle}; mend it."
                )
            focals.append(0.5 * pixels / math.tan(0.5 * angle))
    if not focals:
        raise ValueError(f"{path} needs the focal length, fl_x in pixels or camera_angle_x in radians; add one.")
    centre = _number(entry, "cx", path, width / 2), _number(entry, "cy", path, height / 2)
    k1, k2, k3, p1, p2 = (_number(entry, key, path, 0.0) for key in ("k1", "k2", "k3", "p1", "p2"))
    return pixel_lens(width, height, (focals[0], focals[-1]), centre, (k1, k2, k3), (p1, p2))


def _similarity(top: dict[str, Any], path: Path) -> Similarity:
    if "aabb" in top:
        low, high = _array(top, "aabb", path, (2, 3))
        return Similarity(float(2 / np.max(high - low)), (low + high) / 2)
    scale = _number(top, "scale", path, NGP_SCALE)
    if scale <= 0:
        raise ValueError(f"'scale' in {path} must be positive, not {scale}; mend it.")
    offset = _array({"offset": 0.5, **top}, "offset", path, (3,))
    return Similarity(2 * scale, (0.5 - offset) / scale)


def _number(entry: dict[str, Any], key: str, path: Path, default: float | None = None) -> float:
    value = entry.get(key, default)
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key!r} in {path} must be a finite number, not {value!r}; mend it.")
    return float(value)


def _array(entry: dict[str, Any], key: str, path: Path, shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    try:
        return np.broadcast_to(np.asarray(entry[key], np.float64), shape)
    except (TypeError, ValueError):
        raise ValueError(f"{key!r} in {path} must be {shape} numbers, not {entry[key]!r}; mend it.") from None
