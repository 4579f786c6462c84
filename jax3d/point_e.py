"""Point-E from a prompt or a picture to files: a cloud, a finer one, and a mesh with the colours of its points.

python sample.py point_e --prompt "a red chair" --model FOLDER
"""

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jax3d.asked import asked
from jax3d.asset import each
from jax3d.io.image import contact_sheet, write_image, write_video
from jax3d.io.mesh import save_mesh
from jax3d.io.points import save_points
from jax3d.io.weights import write_json
from jax3d.math.isosurface import drop_small_parts
from jax3d.math.orbit import turntable
from jax3d.math.random import split_each
from jax3d.preview import picture, preview
from jax3d.prior import point_e
from jax3d.prior.openai_denoiser import Run
from jax3d.prior.point_e_folder import load
from jax3d.scene.point_e import mesh_of, points_of, surface
from jax3d.types import Mesh, Points

FRAMES, SIZE = 36, 192
"""Of a turntable."""
TOGETHER = 4  # clouds of a batch


@dataclasses.dataclass(frozen=True)
class PointE:
    """What `sample.py point_e` draws from, and how."""

    model: str = "tiny-point-e"
    """The folder of the networks: a path, the name of a bundled model, or a Hub id."""
    base: str | None = None
    """Name of the base network, where the folder holds several (base_40m_textvec ...)."""
    clip: str | None = None
    """A CLIP to read prompts and pictures with, instead of the model's own."""
    coarse: Run = Run(sigma_max=120.0, churn=3.0)
    """How the base network draws."""
    fine: Run = Run()
    """How the upsampler draws; told no picture, it runs without guidance."""
    resolution: int = 128
    """Nodes along an edge of the grid of distances."""
    keep: float = 0.0
    """Connected parts of a mesh that have a smaller share of its faces are left out; 0 = none, as published."""


def draw(
    config: PointE, model: point_e.PointE, prompt: str | None, image: np.ndarray | None, *, count: int, seed: int
) -> np.ndarray:
    """Clouds [count, n, 6] in published units; the k-th depends on the seed, on k and on what is told alone."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), np.arange(count))
    k_coarse, k_fine = split_each(keys, 2)
    found, together = [], min(TOGETHER, count)
    for begin in range(0, count, together):
        rows = np.minimum(np.arange(begin, begin + together), count - 1)
        cloud = model.coarse([prompt] * together, image, k_coarse[rows], config.coarse)
        found.append(np.asarray(model.finer(cloud, image, k_fine[rows], config.fine)))
    return np.concatenate(found)[:count]


def meshes(config: PointE, model: point_e.PointE, clouds: np.ndarray) -> list[Mesh | None]:
    """The mesh of each cloud in our world; None, and a line on stderr, for one that has no surface."""
    made = []
    for cloud in clouds:
        colored = Points(cloud[:, :3], np.clip(cloud[:, 3:] / 255, 0, 1))
        try:
            whole = surface(model.distance(cloud[:, :3]), colored, resolution=config.resolution)
            made.append(mesh_of(drop_small_parts(whole, config.keep)))
        except ValueError as error:
            made.append(None)
            print(error, file=sys.stderr)
    return made


def write_point_e(
    config: PointE,
    prompt: str | None,
    image: Path | None,
    out: Path,
    *,
    count: int = 1,
    seed: int = 0,
    export: str = "mesh",
) -> None:
    """Draw shapes and write points.ply and mesh.glb (of several 0000.ply, 0000.glb ...), preview.png, turntable.mp4 of
    the first, and metrics.json with the seconds of every part. ValueError, one sentence, for what can't be drawn.

    export: mesh, or point_cloud to leave the mesh out.
    """
    exports, nodes = ("mesh", "point_cloud"), config.resolution
    seen = asked("Point-E", exports, prompt, image, count=count, export=export, nodes=nodes)
    clock = [time.time()]
    model = load(config.model, config.base, config.clip)
    if export == "mesh" and model.sdf is None:
        raise ValueError(f"{config.model} holds no network of distances (sdf); add it, or give --export point_cloud.")
    clock.append(time.time())
    clouds = draw(config, model, prompt, seen, count=count, seed=seed)
    clock.append(time.time())
    solids = meshes(config, model, clouds) if export == "mesh" else [None] * count
    clock.append(time.time())
    points = [points_of(cloud) for cloud in clouds]
    shapes = [cloud if solid is None else solid for cloud, solid in zip(points, solids, strict=True)]
    for k, (cloud, solid) in enumerate(zip(points, solids, strict=True)):
        save_points(cloud, out / ("points.ply" if count == 1 else f"{k:04d}.ply"))
        if solid is not None:
            save_mesh(solid, out / ("mesh.glb" if count == 1 else f"{k:04d}.glb"))
    around = np.stack([picture(shapes[0], camera, SIZE) for camera in each(turntable(FRAMES))])
    write_image(preview(shapes) if count > 1 else contact_sheet(around[:: FRAMES // 8][:8], 4), out / "preview.png")
    write_video(around, out / "turntable.mp4", 18)
    clock.append(time.time())
    seconds = dict(zip(("load", "sample", "mesh", "write"), np.diff(clock).round(2).tolist(), strict=True))
    figures: dict[str, Any] = {"prompt": prompt, "image": image and str(image), "count": count, "seed": seed}
    figures |= {"points": clouds.shape[1], "faces": [0 if solid is None else len(solid.faces) for solid in solids]}
    write_json(out / "metrics.json", figures | {"seconds": seconds, "device": jax.devices()[0].device_kind})
    if export == "mesh" and all(solid is None for solid in solids):
        raise ValueError(f"no cloud gave a surface; see {out} for the points, and try another --seed.")


def describe(config: PointE) -> str:
    """What a run would draw from, without drawing."""
    model = load(config.model, config.base, config.clip)
    sizes = {"base": model.base.params, "upsample": model.upsampler and model.upsampler.params}
    sizes |= {"sdf": model.sdf and model.sdf[1]}
    lines = [f"{part}: {sum(leaf.size for leaf in jax.tree.leaves(params)):,}" for part, params in sizes.items()]
    return "\n".join([str(config), "parameters of", *lines])
