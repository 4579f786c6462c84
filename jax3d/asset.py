"""What a generator makes: a scene, what it was exported to and how it is written; weights by their dotted names."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax3d.io.image import contact_sheet, write_image, write_video
from jax3d.io.mesh import save_mesh
from jax3d.io.points import save_points
from jax3d.io.splats import save_splats
from jax3d.io.weights import write_json, write_weights
from jax3d.math.camera import Camera
from jax3d.math.orbit import turntable
from jax3d.render.shade import composite
from jax3d.scene.gaussians import Gaussians
from jax3d.types import Mesh, Params, Points, Scene

WEIGHTS = "nerf.safetensors"


@dataclasses.dataclass
class Asset:
    """A generated scene and what it was exported to."""

    scene: Scene
    params: Params
    mesh: Mesh | None
    points: Points | None
    metrics: dict[str, Any]
    before: "Asset | None" = None
    """What the stage before made, of a method of two stages; of it only the scene."""

    def render(self, cameras: Camera, size: int, background: float = 1.0) -> np.ndarray:
        """Pictures [n, size, size, 3] of the field from a batch of cameras, one after the other."""
        look = picture(self.scene, size, background)
        return np.stack([np.asarray(look(self.params, camera)) for camera in each(cameras)])

    def save(self, folder: str | Path, *, frames: int = 48, size: int = 192) -> None:
        """Write the asset, turntable.mp4 of `frames` square pictures, preview.png of 8 of them, and metrics.json.

        Gaussians, also those of the stage before, go to splats.ply.
        Where there was a stage before, preview.png has 4 views of it in the first row.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if self.mesh is not None:
            save_mesh(self.mesh, folder / "mesh.glb")
            save_mesh(self.mesh, folder / "mesh.ply")
        if self.points is not None:
            save_points(self.points, folder / "points.ply")
        for stage in filter(None, (self.before, self)):
            if isinstance(stage.scene, Gaussians):
                save_splats(stage.scene.export_splats(stage.params), folder / "splats.ply")
        if self.mesh is None and self.points is None:
            write_weights(folder / WEIGHTS, named(self.params))
        pictures = self.render(turntable(frames), size)
        views = pictures[:: max(frames // 8, 1)]
        if self.before is not None:
            views = np.concatenate([self.before.render(turntable(4), size), views])
        write_image(contact_sheet(views, 4), folder / "preview.png")
        write_video(pictures, folder / "turntable.mp4", 20)
        write_json(folder / "metrics.json", self.metrics)


def named(params: Params) -> dict[str, Any]:
    """A tree's leaves under their dotted paths: what stands in nerf.safetensors."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {".".join(str(key.key) for key in path): leaf for path, leaf in leaves}


def unnamed(found: Mapping[str, np.ndarray], wanted: Params, path: Path) -> Params:
    """The tree of the form `wanted` from leaves by name (`named`); ValueError where they are of another."""
    for name, leaf in named(wanted).items():
        if name not in found or found[name].shape != leaf.shape:
            there = f"has the shape {list(found[name].shape)}" if name in found else "is missing"
            raise ValueError(
                f"{path} is of another model: {name} {there}, not {list(leaf.shape)}; give the config and the fields "
                "that it was trained with."
            )
    leaves = [jnp.asarray(found[name], leaf.dtype) for name, leaf in named(wanted).items()]
    return jax.tree.unflatten(jax.tree.structure(wanted), leaves)


def each(cameras: Camera) -> list[Camera]:
    """The cameras of a batch [n]."""
    return [jax.tree.map(lambda x, i=i: x[i], cameras) for i in range(len(cameras.focal))]


def picture(scene: Scene, size: int, background: float) -> Callable[[Params, Camera], jax.Array]:
    """(params, camera) -> what the scene looks like over a grey, [size, size, 3]."""

    @jax.jit
    def look(params, camera):
        out = scene.render(params, camera, None, height=size, width=size)
        return jnp.clip(composite(out.rgb, out.opacity, background), 0.0, 1.0)

    return look
