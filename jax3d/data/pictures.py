"""Captioned pictures of the procedural world: the data set of the bundled text-to-image models.

Pictures are straight-alpha RGBA bytes (colour not multiplied by alpha), so that training can put any background behind
them. Angles are degrees. A data set is a pure function of (count, size, seed, held_out), kept on disk under that name
and rendered in chunks, so that work which was interrupted goes on where it stopped.
"""

import dataclasses
import json
import zipfile
from numbers import Real
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jax3d.data.procedural import Object, Spec, build, caption, render_batch, sample_spec, stack, view_phrase
from jax3d.math.camera import Camera, orbit
from jax3d.types import Render

VERSION = 3
"""Part of the name on disk; goes up when the pictures of the world change."""
FOV = 40.0
DISTANCE = 3.0
CHUNK = 512
BATCH = 32


def sample_view(rng: np.random.Generator) -> tuple[float, float, float]:
    """Azimuth and elevation in degrees, and distance, of a training camera."""
    elevation = rng.uniform(0, 45) if rng.random() < 0.7 else rng.uniform(-15, 75)
    return rng.uniform(0, 360), elevation, DISTANCE * rng.uniform(0.9, 1.1)


def full_caption(spec: Spec, azimuth: Real, elevation: Real, rng: np.random.Generator | None = None) -> str:
    """Caption and view; with `rng` details are left out at random, and the view once in ten times."""
    text = caption(spec, rng)
    if rng is not None and rng.random() < 0.1:
        return text
    return f"{text}, {view_phrase(azimuth, elevation)}"


def cameras(azimuth: np.ndarray, elevation: np.ndarray, distance: np.ndarray) -> Camera:
    """Training cameras from angles in degrees."""
    return orbit(jnp.deg2rad(azimuth), jnp.deg2rad(elevation), jnp.asarray(distance), jnp.deg2rad(FOV))


def to_rgba(picture: Render) -> np.ndarray:
    """Straight-alpha bytes [..., h, w, 4] of a render over nothing."""
    opacity = np.asarray(picture.opacity)[..., None]
    rgb = np.asarray(picture.rgb) / np.maximum(opacity, 1e-6)
    return np.round(255 * np.clip(np.concatenate([rgb, opacity], axis=-1), 0, 1)).astype(np.uint8)


def picture_dataset(
    count: int, size: int, seed: int, *, held_out: bool | None = False, cache: Path | str = ".cache/pictures"
) -> dict[str, np.ndarray]:
    """Pictures `rgba` uint8 [n, s, s, 4] with `caption`, `spec` (JSON text), `azimuth`, `elevation` and `distance`."""
    split = {False: "train", True: "heldout", None: "all"}[held_out]
    folder = Path(cache) / f"v{VERSION}-{split}-{size}px-seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    chunks = []
    with tqdm(total=count, unit="picture", desc=f"pictures ({split})", disable=count <= CHUNK) as bar:
        for start in range(0, count, CHUNK):
            chunks.append(_chunk(folder / f"{start // CHUNK:05d}.npz", size, (seed, start // CHUNK), held_out))
            bar.update(min(CHUNK, count - start))
    return {name: np.concatenate([chunk[name] for chunk in chunks])[:count] for name in chunks[0]}


def _chunk(path: Path, size: int, seed: tuple[int, int], held_out: bool | None) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as file:
            return dict(file)
    except (FileNotFoundError, zipfile.BadZipFile, EOFError, ValueError):
        chunk = _rendered(size, np.random.default_rng(seed), held_out)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, **chunk)
        partial.replace(path)
        return chunk


def _rendered(size: int, rng: np.random.Generator, held_out: bool | None) -> dict[str, np.ndarray]:
    specs = [sample_spec(rng, held_out) for _ in range(CHUNK)]
    objects = [build(spec, rng) for spec in specs]
    azimuth, elevation, distance = np.array([sample_view(rng) for _ in specs]).T.astype(np.float32)
    captions = [full_caption(*arguments, rng) for arguments in zip(specs, azimuth, elevation, strict=True)]
    rgba = np.empty((CHUNK, size, size, 4), np.uint8)
    order = np.argsort([spec.category for spec in specs], kind="stable")
    for start in range(0, CHUNK, BATCH):
        rows = order[start : start + BATCH]
        rgba[rows] = to_rgba(
            render_batch(_batch(objects, rows), cameras(azimuth[rows], elevation[rows], distance[rows]), size)
        )
    return {
        "rgba": rgba,
        "caption": np.array(captions),
        "spec": np.array([json.dumps(dataclasses.asdict(spec)) for spec in specs]),
        "azimuth": azimuth,
        "elevation": elevation,
        "distance": distance,
    }


def _batch(objects: list[Object], rows: np.ndarray) -> Object:
    return stack([objects[row] for row in rows])
