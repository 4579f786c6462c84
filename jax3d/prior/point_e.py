"""Point-E in memory: a base network, an upsampler and a regressor of distances, with the CLIP that reads for them.

    words or a picture  ->  CLIP  ->  base: 1,024 points  ->  upsampler: 3,072 more  ->  regressor: distances

(arXiv:2212.08751). Clouds are [n, 6] in published units: positions in a cube of side 1, colours of 255.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jax3d.diffusion.denoiser import guide_batched
from jax3d.diffusion.loss import noise_like
from jax3d.diffusion.openai import Diffusion
from jax3d.math.random import split_each
from jax3d.nn.point_e import Told
from jax3d.nn.point_e_config import PointEConfig, PointSDFConfig
from jax3d.prior import openai
from jax3d.prior.clip import CLIPScore
from jax3d.types import Denoiser, Params


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
