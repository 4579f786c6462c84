"""What the denoisers of Point-E and Shap-E are told of the shapes that they train on: CLIP's vectors, and pictures.

The pictures are drawn from the points themselves, from sides that differ from shape to shape, once, and kept on disk.
"""

import hashlib
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jax3d.data.meshes.store import kept
from jax3d.io.image import as_bytes
from jax3d.math.camera import orbit
from jax3d.nn.point_e_config import PointEConfig
from jax3d.preview import picture
from jax3d.prior import clip
from jax3d.prior.clip import CLIPScore
from jax3d.prior.openai_folder import check_reader
from jax3d.types import Points

CACHE = Path(".cache/pictures")
Data = dict[str, np.ndarray]


def told(part: str, network: PointEConfig, reader: str, data: Data, views: int) -> tuple[Data, dict[str, Any]]:
    """What tells a network of shapes, by the CLIP of that name: arrays, and what `Denoising.task` needs beside them.

    ValueError where that CLIP gives other features than the network reads.
    """
    if not (network.vector_features or network.grid_features):
        return {}, {}
    model = clip.load(reader)
    check_reader(part, network, model, reader)
    seen = pictures(data, views, model.config.vision_config.image_size)
    arrays = {"vectors": vectors(model, data, seen)} if network.vector_features else {}
    if not network.grid_features:
        return arrays, {}
    return arrays | {"pictures": seen}, {"grid": model.image_grid, "frozen": model.params}


def vectors(reader: CLIPScore, data: Data, seen: np.ndarray) -> np.ndarray:
    """CLIP's unit vectors of both captions and of the pictures of each shape, float16 [n, 2 + views, d]."""

    def features(read, rows, chunk: int = 256) -> np.ndarray:
        parts = [np.asarray(read(reader.params, rows[k : k + chunk])) for k in range(0, len(rows), chunk)]
        return np.concatenate(parts).astype(np.float16)

    words = [features(reader.text_features, list(map(str, data[name]))) for name in ("caption", "brief")]
    looks = features(lambda params, rows: reader.image_features(params, jnp.asarray(rows) / 255), np.concatenate(seen))
    return np.concatenate([np.stack(words, 1), looks.reshape(*seen.shape[:2], -1)], 1)


def pictures(data: Data, views: int, size: int) -> np.ndarray:
    """Pictures of the points over white, bytes [n, views, size, size, 3]; kept under a digest of what they show."""

    def make() -> Data:
        random = np.random.default_rng(0)
        angles = random.uniform([0, -10], [360, 45], (len(data["points"]), views, 2))
        seen = np.empty((*angles.shape[:2], size, size, 3), np.uint8)
        for k, directions in enumerate(tqdm(angles, "pictures", unit="object")):
            shape = Points(data["points"][k], data["colors"][k], data["normals"][k])
            for j, (azimuth, elevation) in enumerate(np.deg2rad(directions)):
                camera = orbit(azimuth, elevation, 3.0, np.deg2rad(40.0))
                seen[k, j] = as_bytes(picture(shape, camera, size))
        return {"pictures": seen}

    digest = hashlib.sha256(repr((1, data["points"].shape, views, size)).encode())
    for name in ("points", "colors", "normals"):
        digest.update(np.ascontiguousarray(data[name][:, :64]).tobytes())
    return kept(CACHE / f"points-{digest.hexdigest()[:24]}.npz", make)["pictures"]
