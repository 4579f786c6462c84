"""Point-E in memory: a base network, an upsampler and a regressor of distances, with the CLIP that reads for them.

    words or a picture  ->  CLIP  ->  base: 1,024 points  ->  upsampler: 3,072 more  ->  regressor: distances

(arXiv:2212.08751). A folder holds each network as a published file (base_40m_textvec.pt ...) or as a folder of ours:
base/, upsample/ and sdf/ with config.json, model.safetensors and diffusion.json, a published diffusion dict. CLIP is in
clip/, or where model.json says, and else the published one.

Clouds are [n, 6] in published units: positions in a cube of side 1, colours of 255.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jax3d.diffusion import openai as diffusions
from jax3d.diffusion.denoiser import guide_batched
from jax3d.diffusion.loss import noise_like
from jax3d.diffusion.openai import Diffusion
from jax3d.io.hub import resolve
from jax3d.io.weights import read_json
from jax3d.math.random import split_each
from jax3d.nn.point_e import Told
from jax3d.nn.point_e_config import PointEConfig, PointSDFConfig
from jax3d.prior import clip, openai
from jax3d.prior.clip import CLIPScore
from jax3d.types import Denoiser, Params

VIT_L = "openai/clip-vit-large-patch14"
DIFFUSION, ABOUT = "diffusion.json", "model.json"
DICTS = {"base": diffusions.POINT_E_BASE, "upsample": diffusions.POINT_E_UPSAMPLE}
TRAIN = "python train.py point_e_base, point_e_upsample and point_e_sdf"


@dataclasses.dataclass(frozen=True)
class Run:
    """How to draw from a network."""

    steps: int = 64
    """Of Heun's method: two calls of the network each."""
    guidance: float = 3.0
    """s in D_u + s (D_c - D_u); 1 = none."""
    sigma_max: float = 160.0
    churn: float = 0.0
    """Noise that comes and goes on the way."""


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A denoiser of clouds."""

    config: PointEConfig
    params: Params
    diffusion: Diffusion

    def draw(self, told: Told, keys: Array, run: Run) -> Float[Array, "b n c"]:
        """Clouds, one for each of the keys [b], in published units."""
        return _drawn(self.config, self.diffusion, run, self.params, told, keys)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _drawn(config: PointEConfig, diffusion: Diffusion, run: Run, params: Params, told: Told, keys: Array) -> Array:
    module = openai.module(config)

    def denoiser(told: Told) -> Denoiser:
        return diffusion.denoiser(lambda z, t: module.apply({"params": params}, z, t, told))

    k_start, k_steps = split_each(keys, 2)
    start = noise_like(k_start, jnp.zeros((len(keys), config.n_ctx, config.input_channels)))
    denoise = denoiser(told)
    if run.guidance != 1 and any(part is not None for part in told):
        both = jax.tree.map(lambda part: jnp.concatenate([part, jnp.zeros_like(part)]), told)
        denoise = guide_batched(denoiser(both), run.guidance)
    return diffusion.sample(denoise, start, run.steps, k_steps, sigma_max=run.sigma_max, churn=run.churn)


@dataclasses.dataclass(frozen=True, eq=False)
class PointE:
    """A loaded model."""

    base: Network
    upsampler: Network | None
    sdf: tuple[PointSDFConfig, Params] | None
    clip: CLIPScore | None
    """None where the base network is told nothing."""

    def told(self, prompts: Sequence[str | None], image: Float[np.ndarray, "h w 3"] | None = None) -> Told:
        """What the base network is told of each prompt, None = anything, or of a picture in [0, 1] instead.

        ValueError for what it cannot be told.
        """
        config = self.base.config
        words = [prompt for prompt in prompts if prompt is not None]
        if (words or image is not None) and not self.clip:
            raise ValueError("this base network is told nothing; leave the prompt and the picture out.")
        if words and config.grid_features:
            raise ValueError(
                "this base network is told pictures alone; give --image FILE, or a model whose base reads words, as "
                "base_40m_textvec does."
            )
        if config.grid_features:
            return Told(grid=self.grid(len(prompts), config, image))
        if not config.vector_features:
            return Told()
        if image is not None:
            seen = self.clip.image_features(self.clip.params, jnp.asarray(image)[None])
            return Told(vector=jnp.repeat(seen, len(prompts), 0))
        vectors = iter(self.clip.text_features(self.clip.params, words) if words else ())
        empty = jnp.zeros(config.vector_features)
        return Told(vector=jnp.stack([empty if prompt is None else next(vectors) for prompt in prompts]))

    def grid(self, count: int, config: PointEConfig, image: Array | np.ndarray | None) -> Array | None:
        """CLIP's grid of a picture, or zeros, `count` times; None for a network that is told none."""
        if not config.grid_features:
            return None
        vision = self.clip.config.vision_config
        if image is None:
            return jnp.zeros((count, (vision.image_size // vision.patch_size) ** 2, config.grid_features))
        return jnp.repeat(self.clip.image_grid(self.clip.params, jnp.asarray(image)[None]), count, 0)

    def coarse(
        self, prompts: Sequence[str | None], image: np.ndarray | None, keys: Array, run: Run
    ) -> Float[Array, "b n 6"]:
        """The base network's clouds, one a prompt; keys [b]. Told nothing at all, it runs without guidance."""
        free = image is None and all(prompt is None for prompt in prompts)
        run = dataclasses.replace(run, guidance=1.0) if free else run
        return self.base.draw(self.told(prompts, image), keys, run)

    def finer(
        self, cloud: Float[Array, "b k 6"], image: np.ndarray | None, keys: Array, run: Run
    ) -> Float[Array, "b n 6"]:
        """The clouds with the upsampler's points behind theirs. Told no picture, it runs without guidance."""
        if self.upsampler is None:
            return cloud
        config = self.upsampler.config
        run = dataclasses.replace(run, guidance=1.0) if image is None else run
        told = Told(grid=self.grid(len(cloud), config, image), cloud=cloud[:, : config.cond_ctx])
        return jnp.concatenate([cloud, self.upsampler.draw(told, keys, run)], 1)

    def distance(self, cloud: Float[np.ndarray, "n 3"]):
        """places [m, 3] -> signed distances [m] to the surface of a cloud, positive inside."""
        config, params = self.sdf
        module, rows = openai.module(config), np.random.default_rng(0).permutation(len(cloud))[: config.n_ctx]
        encode, decode = (functools.partial(module.apply, {"params": params}, method=m) for m in ("encode", "decode"))
        latents = jax.jit(encode)(jnp.asarray(cloud[rows])[None])
        return lambda places: decode(latents, places[None])[0]


def load(source: str | Path, base: str | None = None, reader: str | None = None) -> PointE:
    """The model in a folder, by path, bundled name or Hub id; ValueError, one sentence, for what is missing or wrong.

    `base` is the name of its base network, where it holds several, and `reader` a CLIP instead of its own.
    """
    try:
        folder = resolve(source)
    except ValueError as error:
        raise ValueError(f"{str(error).rstrip('.')}; train one ({TRAIN}), or give --model FOLDER.") from None
    if not folder.is_dir():
        raise ValueError(f"{folder} is one file, but Point-E is several; give the folder that holds them.")
    bases = [name for name in openai.PUBLISHED if name.startswith("base")]
    found = {part: find(folder, names) for part, names in parts([base] if base else ["base", *bases]).items()}
    if not found["base"]:
        wanted = f"network {base}" if base else f"base network (base/, or {', '.join(bases)} as .pt or .safetensors)"
        raise ValueError(f"{folder} holds no {wanted}; train one ({TRAIN}), or give --model FOLDER.")
    if len(found["base"]) > 1:
        names = ", ".join(path.stem for path in found["base"])
        raise ValueError(f"{folder} holds several base networks ({names}); choose one with --base NAME.")
    networks = {part: _network(part, paths[0]) if paths else None for part, paths in found.items() if part != "sdf"}
    sdf = openai.load(found["sdf"][0]) if found["sdf"] else None
    return PointE(networks["base"], networks["upsample"], sdf, _reader(folder, networks, reader))


def parts(bases: Sequence[str]) -> dict[str, Sequence[str]]:
    """The names under which each network may lie in a folder."""
    return {"base": bases, "upsample": ("upsample", "upsample_40m"), "sdf": ("sdf",)}


def find(folder: Path, names: Sequence[str]) -> list[Path]:
    """For each of the names that the folder holds, its folder or its file; safetensors before .pt."""
    offered = [[folder / name / "config.json", folder / f"{name}.safetensors", folder / f"{name}.pt"] for name in names]
    there = [next((path for path in paths if path.is_file()), None) for paths in offered]
    return [path.parent if path.name == "config.json" else path for path in there if path]


def _network(part: str, path: Path) -> Network:
    config, params = openai.load(path)
    diffusion = diffusions.from_config(diffusion_dict(part, path))
    if not isinstance(config, PointEConfig) or bool(config.cond_ctx) != (part == "upsample"):
        raise ValueError(f"{path} holds another network than {part}; give each file its published name.")
    return Network(config, params, diffusion)


def diffusion_dict(part: str, path: Path) -> dict[str, Any]:
    """The published dict of a denoiser's diffusion: its own, or the one of published files."""
    own = path / DIFFUSION
    return read_json(own) if own.is_file() else DICTS[part]


def _reader(folder: Path, networks: dict[str, Network | None], reader: str | None) -> CLIPScore | None:
    """The CLIP of a folder's networks; ValueError where it gives other features than they read."""
    told = [(part, net.config) for part, net in networks.items() if net]
    if not any(config.vector_features or config.grid_features for _, config in told):
        return None
    about = read_json(folder / ABOUT) if (folder / ABOUT).is_file() else {}
    own = folder / "clip" if (folder / "clip").is_dir() else about.get("clip", VIT_L)
    found = clip.load(reader or own)
    for part, config in told:
        check_reader(part, config, found, reader or own)
    return found


def check_reader(part: str, config: PointEConfig, reader: CLIPScore, name: str | Path) -> None:
    """ValueError where a network reads other features than CLIP gives."""
    sizes = {"vector": reader.config.projection_dim, "grid": reader.config.vision_config.hidden_size}
    for kind, size in sizes.items():
        wanted = getattr(config, f"{kind}_features")
        if wanted not in (0, size):
            raise ValueError(
                f"{part} is told CLIP's {kind} of {wanted} features, but {name} gives {size}; give the CLIP that it "
                f"reads with --clip FOLDER ({VIT_L} for the published networks)."
            )
