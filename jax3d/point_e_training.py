"""Point-E's networks from captioned shapes: joins data, method and loop; each writes its part of one folder.

python train.py point_e_base && python train.py point_e_upsample && python train.py point_e_sdf

A base network is told CLIP's vectors of captions and of pictures, which share a space; an upsampler, and a base network
with grid_features, CLIP's grids of pictures (told.py).
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jax3d.data.batches import shuffled
from jax3d.data.captioned import Shapes
from jax3d.io.image import write_image
from jax3d.io.weights import write_json
from jax3d.methods.denoising import Denoising
from jax3d.methods.point_e_sdf import Distances
from jax3d.preview import preview
from jax3d.prior import clip, openai
from jax3d.prior.openai_denoiser import Network, Run
from jax3d.prior.openai_folder import ABOUT, DIFFUSION, diffusion_dict
from jax3d.scene.point_e import points_of, to_published
from jax3d.told import Data, told
from jax3d.train.loop import TrainConfig
from jax3d.train.state import State
from jax3d.types import Params, Points, Task


@dataclasses.dataclass(frozen=True)
class PointEPart:
    """What `train.py` makes of one network of Point-E."""

    part: Literal["base", "upsample", "sdf"]
    """Which network, and its folder in `out`."""
    method: Denoising | Distances
    train: TrainConfig
    shapes: Shapes = Shapes(count=3000)
    clip: str = "tiny-clip"
    """The CLIP model that reads captions and pictures."""
    views: int = 4
    """Pictures of each shape."""
    warm: str | None = None
    """A network to train further, a published file or a folder like out/base: its weights, fields and diffusion."""
    out: Path = Path("runs/point_e")
    """The model's folder, for sample.py point_e --model; the other parts may lie there too."""

    def task(self) -> Task:
        """Shapes with what is told of them."""
        method, start = self.begun()  # first, so that a mistake shows before the shapes are made
        data = self.shapes.load()
        if isinstance(method, Distances):
            arrays = {name: data[name].astype(np.float16) for name in ("points", "normals", "sdf")}
            return method.task(self._batches(arrays, method.network.n_ctx), self.train.steps, start)
        network = method.network
        arrays, more = told(self.part, network, self.clip, data, self.views)
        arrays |= {"kept": _x0(method, data)}
        batches = self._batches(arrays, network.cond_ctx + (method.drawn or network.n_ctx))
        return method.task(batches, self.train.steps, start, **more)

    def finish(self, state: State, workdir: Path) -> None:
        """Write out/PART in float16, and of a base network a sheet of samples."""
        method, folder = self.begun()[0], self.out / self.part
        openai.save(folder, method.network, state.averaged, jnp.float16)
        write_json(self.out / ABOUT, {"clip": self.clip})
        if isinstance(method, Denoising):
            write_json(folder / DIFFUSION, method.published)
        if self.part == "base":
            network = Network(method.network, state.averaged, method.diffusion)
            write_image(preview(self._samples(network)), workdir / "samples.png")

    def begun(self) -> tuple[Denoising | Distances, Params | None]:
        """The method and the weights to begin with, those of `warm` where it is given; ValueError for another part."""
        if self.warm is None:
            return self.method, None
        path = Path(self.warm)
        config, params = openai.load(path)
        upsampler = getattr(config, "cond_ctx", 0) > 0
        if type(config) is not type(self.method.network) or upsampler != (self.part == "upsample"):
            raise ValueError(f"{path} is another network than {self.part}; give --warm one of that kind.")
        method = dataclasses.replace(self.method, network=config)
        if isinstance(method, Denoising):
            said = diffusion_dict(self.part, path)
            method = dataclasses.replace(method, mean_type=said["mean_type"], schedule=said["schedule"])
        return method, params

    def _samples(self, network: Network, count: int = 8) -> list[Points]:
        """Clouds for the first captions, or of anything."""
        said = openai.nothing(network.config, count, 1)
        if network.config.vector_features:
            reader, captions = clip.load(self.clip), self.shapes.load()["caption"]
            words = [str(captions[k % len(captions)]) for k in range(count)]
            said = said._replace(vector=reader.text_features(reader.params, words))
        clouds = network.draw(said, jax.random.split(jax.random.key(0), count), Run(32))
        return [points_of(np.asarray(cloud)) for cloud in clouds]

    def _batches(self, arrays: Data, count: int) -> Any:
        stored = arrays["kept" if "kept" in arrays else "points"].shape[1]
        if stored < count:
            raise ValueError(
                f"{self.part} needs {count} points of a shape, got {stored}; keep more with --shapes.points {count}."
            )
        return shuffled(arrays, self.method.batch_size, seed=self.shapes.seed)


def _x0(method: Denoising, data: Data) -> np.ndarray:
    """All points of a data set as x0, float16 [n, m, 6]."""
    found = []
    for points, colors in zip(data["points"], data["colors"], strict=True):
        cloud = np.concatenate([to_published(points), 255 * colors], axis=-1)
        found.append(np.asarray(method.diffusion.enter(jnp.asarray(cloud)), np.float16))
    return np.stack(found)
