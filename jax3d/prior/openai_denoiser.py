"""A denoiser of Point-E or Shap-E in memory, and what it is told: CLIP's vectors of words or pictures, or its grids."""

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
from jax3d.nn.point_e_config import PointEConfig
from jax3d.nn.shap_e_config import LatentConfig
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
    """A denoiser of clouds or latents."""

    config: PointEConfig | LatentConfig
    params: Params
    diffusion: Diffusion

    @property
    def inner(self) -> PointEConfig:
        """The transformer's config."""
        return openai.inner(self.config)

    def draw(self, told: Told, keys: Array, run: Run) -> Float[Array, "b n c"]:
        """Clouds or latents, one for each of the keys [b], in published units."""
        return _drawn(self.config, self.diffusion, run, self.params, told, keys)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _drawn(
    config: PointEConfig | LatentConfig, diffusion: Diffusion, run: Run, params: Params, told: Told, keys: Array
) -> Array:
    module, inner = openai.module(config), openai.inner(config)

    def denoiser(told: Told) -> Denoiser:
        return diffusion.denoiser(lambda z, t: module.apply({"params": params}, z, t, told))

    k_start, k_steps = split_each(keys, 2)
    start = noise_like(k_start, jnp.zeros((len(keys), inner.n_ctx, inner.input_channels)))
    denoise = denoiser(told)
    if run.guidance != 1 and any(part is not None for part in told):
        both = jax.tree.map(lambda part: jnp.concatenate([part, jnp.zeros_like(part)]), told)
        denoise = guide_batched(denoiser(both), run.guidance)
    return diffusion.sample(denoise, start, run.steps, k_steps, sigma_max=run.sigma_max, churn=run.churn)


def told(
    config: PointEConfig,
    clip: CLIPScore | None,
    prompts: Sequence[str | None],
    image: Float[np.ndarray, "h w 3"] | None = None,
) -> Told:
    """What a network is told of each prompt, None = anything, or of a picture in [0, 1] instead.

    ValueError for what it cannot be told.
    """
    words = [prompt for prompt in prompts if prompt is not None]
    if (words or image is not None) and not clip:
        raise ValueError("this network is told nothing; leave the prompt and the picture out.")
    if words and config.grid_features:
        raise ValueError(
            "this network is told pictures alone; give --image FILE, or a model that reads words, as Point-E's "
            "base_40m_textvec and Shap-E's text_cond do."
        )
    if config.grid_features:
        return Told(grid=grid(config, clip, len(prompts), image))
    if not config.vector_features:
        return Told()
    if image is not None:
        seen = clip.image_features(clip.params, jnp.asarray(image)[None])
        return Told(vector=jnp.repeat(seen, len(prompts), 0))
    vectors = iter(clip.text_features(clip.params, words) if words else ())
    empty = jnp.zeros(config.vector_features)
    return Told(vector=jnp.stack([empty if prompt is None else next(vectors) for prompt in prompts]))


def grid(config: PointEConfig, clip: CLIPScore | None, count: int, image: Array | np.ndarray | None) -> Array | None:
    """CLIP's grid of a picture, or zeros, `count` times; None for a network that is told none."""
    if not config.grid_features:
        return None
    vision = clip.config.vision_config
    if image is None:
        return jnp.zeros((count, (vision.image_size // vision.patch_size) ** 2, config.grid_features))
    return jnp.repeat(clip.image_grid(clip.params, jnp.asarray(image)[None]), count, 0)
