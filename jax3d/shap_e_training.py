"""Shap-E's networks from captioned shapes: joins data, method and loop; each writes its part of one folder.

python train.py shap_e_encoder && python train.py shap_e_text && python train.py shap_e_image

The first trains the transmitter, an encoder of points and pictures and the field that its latents stand for. The others
are told CLIP's vectors of captions and of pictures, or its grids of pictures (told.py), and make the latents that the
transmitter in the folder gives the shapes.
"""

import dataclasses
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from jax3d.data.batches import shuffled
from jax3d.data.captioned import Shapes
from jax3d.data.meshes.views import dataset_views, spread
from jax3d.io.image import write_image
from jax3d.io.weights import write_json
from jax3d.math.axes import grid_to_blender, to_blender
from jax3d.methods.denoising import Denoising
from jax3d.methods.shap_e import Autoencoding, encode
from jax3d.nn.shap_e_config import LatentConfig, TransmitterConfig
from jax3d.preview import preview
from jax3d.prior import clip, openai
from jax3d.prior.openai_denoiser import Network, Run
from jax3d.prior.openai_folder import ABOUT, DIFFUSION, diffusion_dict
from jax3d.shap_e import mesh_of
from jax3d.told import Data, told
from jax3d.train.loop import TrainConfig
from jax3d.train.state import State
from jax3d.types import Mesh, Params, Task

SEEN = 6
"""Views of a shape from anywhere, beside those that the encoder sees."""
TOGETHER = 8  # shapes that are encoded at a time
ARRAYS = ("points", "colors", "rows", "rgba", "depth", "poses")
"""What the encoder reads."""


@dataclasses.dataclass(frozen=True)
class ShapEPart:
    """What `train.py` makes of one network of Shap-E."""

    part: Literal["transmitter", "text", "image"]
    """Which network, and its folder in `out`."""
    method: Autoencoding | Denoising
    train: TrainConfig
    shapes: Shapes = Shapes(count=3000)
    clip: str = "tiny-clip"
    """The CLIP model that reads captions and pictures."""
    views: int = 4
    """Pictures of each shape for CLIP."""
    warm: str | None = None
    """A network to train further, a published file or a folder like out/text: its weights, fields and diffusion."""
    encoder: str | None = None
    """The transmitter, a published file or a folder, whose latents are denoised; None = the one in `out`."""
    out: Path = Path("runs/shap_e")
    """The model's folder, for sample.py shap_e --model; the other parts may lie there too."""

    def task(self) -> Task:
        """Shapes with what is told of them."""
        method, start = self.begun()  # first, so that a mistake shows before the shapes are made
        if isinstance(method, Autoencoding):
            data = shown(self.shapes.load(), method.network)
            half = ("points", "normals", "colors", "sdf")
            arrays = {name: data[name].astype(np.float16) for name in half} | {name: data[name] for name in ARRAYS[2:]}
            batches = shuffled(arrays, method.batch_size, seed=self.shapes.seed)
            return method.task(batches, self.train.steps, start)
        config, params = self.transmitter()
        inner, rows = method.inner, (config.decoder.rows, config.decoder.d_latent)
        if (inner.n_ctx, inner.input_channels) != rows:
            raise ValueError(
                f"the transmitter makes {rows[0]} latents of {rows[1]}, but {self.part} denoises "
                f"{inner.n_ctx} of {inner.input_channels}; give its own with --encoder or --out."
            )
        data = self.shapes.load()
        arrays, more = told(self.part, inner, self.clip, data, self.views)
        arrays |= {"kept": latents(config, params, shown(data, config))}
        return method.task(shuffled(arrays, method.batch_size, seed=self.shapes.seed), self.train.steps, start, **more)

    def finish(self, state: State, workdir: Path) -> None:
        """Write out/PART in float16, and a sheet of meshes: of the first shapes encoded, or of samples."""
        method, folder = self.begun()[0], self.out / self.part
        openai.save(folder, method.network, state.averaged, jnp.float16)
        if isinstance(method, Denoising):
            write_json(self.out / ABOUT, {"clip": self.clip})
            write_json(folder / DIFFUSION, method.published)
        solids = self._examples(method, state.averaged)
        if solids:  # untrained fields have no surface, which is said for each of them
            write_image(preview(solids), workdir / "samples.png")

    def begun(self) -> tuple[Autoencoding | Denoising, Params | None]:
        """The method and the weights to begin with, those of `warm` where it is given; ValueError for another part."""
        if self.warm is None:
            return self.method, None
        path = Path(self.warm)
        config, params = openai.load(path)
        features = "grid_features" if self.part == "image" else "vector_features"
        suits = getattr(config.inner, features) if isinstance(config, LatentConfig) else True
        if type(config) is not type(self.method.network) or not suits:
            raise ValueError(f"{path} is another network than {self.part}; give --warm one of that kind.")
        method = dataclasses.replace(self.method, network=config)
        if isinstance(method, Denoising):
            said = diffusion_dict(self.part, path)
            method = dataclasses.replace(method, mean_type=said["mean_type"], schedule=said["schedule"])
        return method, params

    def transmitter(self) -> tuple[TransmitterConfig, Params]:
        """The one whose latents are denoised; ValueError where there is none."""
        path = self.out / "transmitter" if self.encoder is None else Path(self.encoder)
        if not path.exists():
            raise ValueError(f"{path} is missing; train it first: python train.py shap_e_encoder --out {self.out}.")
        config, params = openai.load(path)
        if not isinstance(config, TransmitterConfig):
            raise ValueError(f"{path} holds another network than a transmitter; give --encoder one.")
        return config, params

    def _examples(self, method: Autoencoding | Denoising, params: Params, count: int = 8) -> list[Mesh]:
        if isinstance(method, Autoencoding):
            config, decoder = method.network, openai.decoder_of(params)
            data = {name: array[:count] for name, array in shown(self.shapes.load(), config).items()}
            made = latents(config, params, data)
        else:
            config, own = self.transmitter()
            decoder, captions = openai.decoder_of(own), self.shapes.load()["caption"]
            said = openai.nothing(method.inner, count, 1)
            if method.inner.vector_features:
                reader = clip.load(self.clip)
                words = [str(captions[k % len(captions)]) for k in range(count)]
                said = said._replace(vector=reader.text_features(reader.params, words))
            network = Network(method.network, params, method.diffusion)
            made = network.draw(said, jax.random.split(jax.random.key(0), count), Run(32))
        solids = [mesh_of(config.decoder, decoder, z, resolution=config.decoder.grid_size) for z in np.asarray(made)]
        return [solid for solid in solids if solid is not None]


def shown(data: Data, config: TransmitterConfig) -> Data:
    """A data set in Blender's axes, with the views of its shapes and the rows of points that lie far apart."""
    if data["points"].shape[1] < config.inner_batch_size[0]:
        raise ValueError(
            f"the encoder reads {config.inner_batch_size[0]} points of a shape, got {data['points'].shape[1]}; keep "
            f"more with --shapes.points {config.inner_batch_size[0]}."
        )
    turned = {name: to_blender(data[name]) for name in ("points", "normals")}
    turned |= {"colors": data["colors"], "sdf": grid_to_blender(data["sdf"])}
    views = dataset_views(turned, config.inner_batch_size[1], SEEN, config.image_size)
    rows = np.stack([spread(points, config.data_ctx) for points in turned["points"]]).astype(np.int32)
    return {**turned, **views, "rows": rows}


def latents(config: TransmitterConfig, params: Params, data: Data) -> Float[np.ndarray, "n rows d"]:
    """What the encoder makes of shapes, float16."""
    run = jax.jit(lambda params, shapes, keys: encode(config, params, shapes, keys))
    count, found = len(data["points"]), []
    for begin in tqdm(range(0, count, TOGETHER), "latents", unit="batch", disable=count <= TOGETHER):
        rows = np.minimum(np.arange(begin, begin + TOGETHER), count - 1)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), rows)
        found.append(np.asarray(run(params, {name: data[name][rows] for name in ARRAYS}, keys), np.float16))
    return np.concatenate(found)[:count]
