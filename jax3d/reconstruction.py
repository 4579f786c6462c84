"""From a folder of posed pictures to a field or a mesh and a report of it: joins the data, the method and the loop.

asset = jax3d.reconstruct("captures/chair")
asset.save("outputs/chair")
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jax3d.asset import WEIGHTS, Asset, named, unnamed
from jax3d.data.posed_images import PosedImages, Similarity, load, read_path
from jax3d.io.image import contact_sheet, write_image, write_video
from jax3d.io.weights import read_json, read_weights, write_weights
from jax3d.math import metrics
from jax3d.math.camera import Camera
from jax3d.math.orbit import turntable
from jax3d.math.triangles import points_on
from jax3d.methods.deform import Deform
from jax3d.methods.reconstruct import Reconstruct
from jax3d.methods.splatting import Splatting
from jax3d.scene.nerf import NeRF
from jax3d.train.loop import TrainConfig, train
from jax3d.train.state import State
from jax3d.types import Params, Scene, Task


@dataclasses.dataclass(frozen=True)
class Capture:
    """What `train.py nerf` does: the pictures, the method, and the report at the end."""

    data: Path | None = None
    """Folder of the pictures and their cameras."""
    downscale: int = 1
    """Pictures are made smaller by this factor."""
    scene_scale: float | None = None
    """Length in our cube [-1, 1]^3 of the file's unit; None = what suits the format."""
    test: str | None = "test"
    """The split that is kept for testing; None = no test views."""
    method: Reconstruct | Deform | Splatting = Reconstruct()
    accumulate: int = 1
    """Parts that a step's rays are computed in; with large networks, parts that fit the cache are faster on CPUs."""
    texture: int | None = 1024
    """Texels along an edge of the mesh's texture; None = colours at the vertices, and all triangles."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    training_seed: int = 0
    """Of the initial weights and of every draw."""

    @property
    def train(self) -> TrainConfig:
        """As long as the method's schedules."""
        return TrainConfig(
            self.method.steps,
            self.training_seed,
            accumulate=self.accumulate,
            checkpoint_every=self.checkpoint_every,
        )

    @property
    def scene(self) -> Scene:
        """What `sample.py nerf --from DIR` renders."""
        return self.method.scene

    def task(self) -> Task:
        """The pictures of the training split."""
        self._load(self.test)  # so that a mistake there shows before the work
        data = self._load("train")
        if data.unbounded and not (isinstance(self.scene, NeRF) and self.scene.unbounded):
            print("warning: this capture reaches beyond the cube of the scene; for all of it take nerf_unbounded.")
        return self.method.task(data.rgba, data.camera)

    def finish(self, state: State, workdir: Path) -> None:
        """Test views, geometry and figures, in the run's own folder."""
        test = self._load(self.test)
        params, similarity = self.method.whole(state.averaged), self._load("train").similarity
        report(self.scene, params, similarity, test, workdir, texture=self.texture)

    def _load(self, split: str | None) -> PosedImages | None:
        if self.data is None:
            raise ValueError("a capture is a folder of posed pictures; give it with --data FOLDER.")
        if split is None:
            return None
        return load(self.data, split, downscale=self.downscale, scene_scale=self.scene_scale)


def reconstruct(
    folder: str | Path,
    *,
    method: Reconstruct | Deform | Splatting | None = None,
    downscale: int = 1,
    scene_scale: float | None = None,
    seed: int = 0,
    workdir: str | Path | None = None,
) -> Asset:
    """A radiance field (or what `method` makes) of the pictures in `folder` (see data/posed_images), with its mesh.

    It writes nothing unless `workdir` is given: then checkpoints, from which it resumes. ValueError, one sentence, for
    pictures or poses that can't be used.
    """
    start = time.time()
    capture = Capture(Path(folder), downscale, scene_scale, None, method or Reconstruct(), training_seed=seed)
    state = train(capture.task(), capture.train, workdir, about={"config": capture})
    params = capture.method.whole(state.averaged)
    figures = {"data": str(folder), "steps": int(state.step), "seconds": round(time.time() - start, 1)}
    return Asset(capture.scene, params, capture.scene.export(params), None, figures)


def report(
    scene: Scene,
    params: Params,
    similarity: Similarity,
    test: PosedImages | None,
    folder: Path,
    points: int = 16384,
    frames: int = 48,
    texture: int | None = None,
) -> dict[str, Any]:
    """Write all that a trained scene is good for into a folder, and return its figures.

    test/NAME.png (truth, render and depth side by side) with PSNR and SSIM over white, nerf.safetensors, mesh.glb and
    .ply, points.ply, turntable.mp4, preview.png and metrics.json.
    """
    figures: dict[str, Any] = {"similarity": {name: np.asarray(v).tolist() for name, v in similarity._asdict().items()}}
    write_weights(folder / WEIGHTS, named({name: leaf for name, leaf in params.items() if name != "fixed"}))
    if test is not None:
        figures |= _test_views(scene, params, test, folder / "test")
    mesh = scene.export(params, texture=texture)
    cloud = points_on(mesh, points, np.random.default_rng(0))
    Asset(scene, params, mesh, cloud, figures).save(folder, frames=frames)
    return figures


def _test_views(scene: Scene, params: Params, test: PosedImages, folder: Path) -> dict[str, Any]:
    height, width = test.rgba.shape[1:3]
    look = viewer(scene, height, width)
    rows = []
    for k, name in enumerate(test.names):
        rgba = jnp.asarray(test.rgba[k], jnp.float32) / 255
        truth = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
        image, depth = look(params, jax.tree.map(lambda leaf, k=k: leaf[k], test.camera))
        rows.append({"name": name, "psnr": float(metrics.psnr(image, truth))})
        if min(height, width) >= 2 * metrics.RADIUS + 1:
            rows[-1]["ssim"] = float(metrics.ssim(image, truth))
        sheet = contact_sheet(jnp.stack([truth, image, depth]), 3)
        write_image(sheet, folder / f"{Path(name).stem}.png")
    mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key != "name"}
    print(f"{len(rows)} test views: " + ", ".join(f"{key} {value:.4g}" for key, value in mean.items()))
    return mean | {"views": rows}


def viewer(scene: Scene, height: int, width: int) -> Callable[[Params, Camera], tuple[jax.Array, jax.Array]]:
    """(params, camera) -> the picture over white and its depth as grey, near bright, both [h, w, 3]."""

    @jax.jit
    def look(params: Params, camera: Camera):
        out = scene.render(params, camera, None, height=height, width=width)
        image = jnp.clip(out.rgb + (1 - out.opacity)[..., None], 0.0, 1.0)
        seen = out.opacity > 0.5
        depth = out.depth / jnp.maximum(out.opacity, 1e-6)
        near, far = jnp.min(jnp.where(seen, depth, jnp.inf)), jnp.max(jnp.where(seen, depth, -jnp.inf))
        grey = jnp.where(seen, 1 - 0.9 * (depth - near) / jnp.maximum(far - near, 1e-6), 0.0)
        return image, jnp.repeat(grey[..., None], 3, axis=-1)

    return look


def load_scene(scene: Scene, folder: str | Path) -> Params:
    """The weights that `report` left in a folder; ValueError where they are not this scene's."""
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise ValueError(f"{path} is not there; train first (python train.py nerf --data FOLDER --workdir {folder}).")
    form = dict(scene.init(jax.random.key(0)))
    fixed = {"fixed": form.pop("fixed")} if "fixed" in form else {}
    return unnamed(read_weights(path), form, path) | fixed


def fly(scene: Scene, source: Path, path: Path | None, out: Path, *, size: int = 256, frames: int = 120) -> None:
    """Render a trained scene along the cameras of a transforms.json in the capture's world, or once around.

    Writes frames/00000.png ... and path.mp4.
    """
    params = load_scene(scene, source)
    cameras, height, width = turntable(frames), size, size
    if path is not None:
        similarity = read_json(source / "metrics.json")["similarity"]
        similarity = Similarity(**{name: np.asarray(value) for name, value in similarity.items()})
        cameras, height, width = read_path(path, similarity, size=size)
    look = viewer(scene, height, width)
    pictures = []
    for k in tqdm(range(len(cameras.focal)), "frames", unit="frame", delay=2):
        image, _ = look(params, jax.tree.map(lambda leaf, k=k: leaf[k], cameras))
        pictures.append(np.asarray(image))
        write_image(pictures[-1], out / "frames" / f"{k:05d}.png")
    write_video(np.stack(pictures), out / "path.mp4", 24)
