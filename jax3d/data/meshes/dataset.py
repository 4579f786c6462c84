"""A folder of mesh files as the arrays that 3D-native models train on, converted once and kept on disk.

An example is kept under the digest of its mesh file and of all that decides what is made of it; whether the materials
and textures are still those it was made from is looked up too. A run that was cut short goes on where it stopped. The
work is numpy's and scipy's, mostly without the interpreter's lock, so threads share it; no process is forked from
under JAX.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from tqdm import tqdm

from jax3d.data.meshes.pieces import bounding_pieces
from jax3d.data.meshes.sample import sample
from jax3d.data.meshes.sdf_grid import cell, sdf_grid
from jax3d.data.meshes.shape import closed, prepare
from jax3d.data.meshes.store import Example, kept, stacked
from jax3d.data.meshes.surface import READABLE, Companions, read_surface

VERSION = 1
"""Part of the digest; goes up when a file's arrays change."""
UNREADABLE = (".gltf", ".fbx", ".dae", ".3ds", ".blend", ".usd", ".usda", ".usdc", ".usdz", ".stp", ".step", ".x3d")


class Settings(NamedTuple):
    """What decides, beside the file, what is made of it."""

    points: int
    resolution: int
    inflate: float
    up: str
    seed: int
    max_faces: int


def mesh_dataset(
    folder: Path | str,
    *,
    points: int = 4096,
    resolution: int = 64,
    inflate: float = 0.0,
    truncation: float | None = None,
    up: Literal["z", "y"] = "z",
    captions: Mapping[str, str] | None = None,
    seed: int = 0,
    max_faces: int = 1_000_000,
    cache: Path | str = ".cache/meshes",
    workers: int | None = None,
) -> dict[str, np.ndarray]:
    """All meshes below `folder` (.obj, .glb, .ply, .stl, .off), in the order of their names.

    Arrays: `points`, `colors` (display values in [0, 1]), `normals` float32 [m, points, 3]; `sdf` float32 [m, r, r, r],
    negative inside, at the nodes of [-1, 1]^3, clipped to +- `truncation`; `name` (path below the folder) and `caption`
    (from `captions` by name, else the words of the file's name); `brief`, what is said of all of its kind (the words of
    its folder's name; of files right in `folder` the caption); `scale` [m], `centre` [m, 3], `rotation` [m, 3, 3],
    the way from the file's world as in `Similarity`. `up` is the axis that points up in files other than .glb.
    `inflate` is subtracted from the distances, before they are clipped: it gives open sheets and walls thinner than a
    cell an inside, which without it they do not have.

    A file that gives no solid is left out and named on stderr with the reason, one line each, as is a missing
    texture. Raises ValueError when the folder has no usable mesh at all, or for settings out of range.
    """
    if points < 1 or not inflate >= 0 or (truncation is not None and not truncation > 0) or up not in ("z", "y"):
        raise ValueError(
            f"a mesh data set needs points >= 1, inflate >= 0, truncation > 0 or None, and up 'z' or 'y', got "
            f"{points}, {inflate}, {truncation} and {up!r}."
        )
    cell(resolution)
    folder = Path(folder)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in READABLE + UNREADABLE)
    if not files:
        raise ValueError(f"{folder} holds no {', '.join(READABLE)} files; give a folder of meshes.")
    settings = Settings(points, resolution, inflate, up, seed, max_faces)
    example = partial(_example, folder, Path(cache), settings)
    made: dict[str, Example] = {}
    reason = ""
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        for path, result in zip(files, tqdm(pool.map(example, files), "meshes", len(files), unit="mesh"), strict=True):
            name = path.relative_to(folder).as_posix()
            if isinstance(result, str):
                reason = f"{name} is left out: {result}"
                tqdm.write(reason, sys.stderr)
                continue
            missing = [which for which, digest in json.loads(str(result.pop("companions"))).items() if not digest]
            if missing:
                tqdm.write(f"{name} names files that its folder does not hold: {', '.join(missing)}", sys.stderr)
            caption = (captions or {}).get(name) or " ".join(_words(path.stem))
            brief = " ".join(_words(path.parent.name)) if path.parent != folder else caption
            made[name] = {**result, "name": np.array(name), "caption": np.array(caption), "brief": np.array(brief)}
    finally:
        pool.shutdown(cancel_futures=True)
    if not made:
        raise ValueError(f"none of the {len(files)} meshes in {folder} can be used; the last one: {reason}")
    return stacked(list(made.values()), truncation)


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name)


def _example(folder: Path, cache: Path, settings: Settings, path: Path) -> Example | str:
    """The arrays of a file, or why there are none."""
    try:
        key = hashlib.sha256(json.dumps([VERSION, path.relative_to(folder).as_posix(), settings]).encode())
        key.update(path.read_bytes())
        return kept(
            cache / f"{path.stem}-{key.hexdigest()[:24]}.npz",
            partial(convert, path, settings, np.random.default_rng([settings.seed, *key.digest()])),
            lambda example: Companions(path.parent).unchanged(json.loads(str(example["companions"]))),
        )
    except Exception as error:  # one bad file of thousands must not end the run, whatever it sets off
        return " ".join(str(error).split()) if isinstance(error, ValueError) else repr(error)


def convert(path: Path, settings: Settings, rng: np.random.Generator) -> Example:
    """The arrays of one mesh file. Raises ValueError where it bounds no solid that the grid can show."""
    companions = Companions(path.parent)
    surface = read_surface(path, companions, max_faces=settings.max_faces)
    surface, similarity = prepare(surface, y_up=settings.up == "y" or path.suffix.lower() == ".glb")
    triangles = surface.vertices[surface.faces]
    pieces = bounding_pieces(triangles, 2 * cell(settings.resolution))
    distance = sdf_grid(triangles, pieces, settings.resolution, is_closed=closed(surface.faces))
    distance -= settings.inflate
    if distance.min() >= 0:
        raise ValueError(
            f"{path} surrounds no node of a grid of {settings.resolution}^3, as it is open or thinner than a cell; "
            f"close it, inflate it (by {cell(settings.resolution):.2g}, a cell), or raise the resolution."
        )
    drawn = sample(surface, pieces, settings.points, rng)
    return {
        "points": drawn.positions,
        "colors": drawn.colors,
        "normals": drawn.normals,
        "sdf": distance,
        "scale": np.float32(similarity.scale),
        "centre": similarity.centre.astype(np.float32),
        "rotation": similarity.rotation.astype(np.float32),
        "companions": np.array(json.dumps(companions.digests)),
    }
