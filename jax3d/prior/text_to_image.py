"""Pictures from prompts: the published pipeline's run, under classifier-free guidance (arXiv:2207.12598)."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.diffusion.denoiser import guide_batched
from jax3d.diffusion.sampler import Sampler
from jax3d.prior.stable_diffusion import StableDiffusion
from jax3d.types import Key, Params


def sample_images(
    prior: StableDiffusion,
    params: Params,
    prompts: Sequence[str],
    key: Key,
    steps: int = 30,
    scale: float = 7.5,
    sampler: Sampler | None = None,
    *,
    negative_prompt: str = "",
) -> Float[Array, "b h w 3"]:
    """One picture a prompt in [0, 1]; `sampler` is by default the one that the model's scheduler_config.json names.

    scale: s in D_u + s (D_c - D_u).
    """
    k_latents, k_steps = jax.random.split(key)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(k_latents, jnp.arange(len(prompts)))  # a picture's own numbers
    latents = jax.vmap(lambda key: jax.random.normal(key, prior.latent_shape))(keys)
    text = prior.embed([*prompts, negative_prompt], params)
    z = sample_latents(prior, params, text[:-1], text[-1:], latents, k_steps, steps, scale, sampler)
    return decode(prior, params, z)


@functools.partial(jax.jit, static_argnames=("prior", "steps", "sampler"))
def sample_latents(
    prior: StableDiffusion,
    params: Params,
    text: Float[Array, "b n d"],
    negative: Float[Array, "1 n d"],
    latents: Float[Array, "b y x c"],
    key: Key | None = None,
    steps: int = 30,
    scale: Float[Array, ""] | float = 7.5,
    sampler: Sampler | None = None,
) -> Float[Array, "b y x c"]:
    """From standard normal `latents` to those that `decode` takes, as a published pipeline does it."""
    context = jnp.concatenate([text, jnp.broadcast_to(negative, text.shape)])
    denoise = guide_batched(prior.denoiser(params, context), scale)
    published = prior.published if sampler is None else dataclasses.replace(prior.published, sampler=sampler)
    return published.sample(denoise, latents, steps, key)


@functools.partial(jax.jit, static_argnames="prior")
def decode(prior: StableDiffusion, params: Params, latents: Float[Array, "b y x c"]) -> Float[Array, "b h w 3"]:
    """Latents -> pictures in [0, 1], jitted."""
    return prior.decode(params, latents)
