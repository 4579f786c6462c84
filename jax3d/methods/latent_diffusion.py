"""Text-to-image latent diffusion: the UNet and the text encoder of a small Stable Diffusion, trained together.

Rombach et al. (arXiv 2112.10752) with the v-parameterisation of Salimans & Ho (arXiv 2202.00512), which in sigma space
is the EDM weight at sigma_data = 1, and classifier-free guidance by condition dropout (Ho & Salimans, 2207.12598).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax3d.diffusion.denoiser import from_v
from jax3d.diffusion.loss import denoising_loss, noise_like, uniform_time, v_weight
from jax3d.diffusion.schedule import Schedule
from jax3d.math.muon import muon
from jax3d.math.pixels import over_random_background
from jax3d.math.random import split_each, uniform_each
from jax3d.nn.clip import CLIPText
from jax3d.nn.clip_config import CLIPTextConfig
from jax3d.nn.unet import UNet, UNetConfig
from jax3d.nn.vae import VAE, VAEConfig
from jax3d.types import Task


@dataclasses.dataclass(frozen=True)
class LatentDiffusion:
    """Trains a UNet and a CLIP text tower to denoise the latents of captioned pictures."""

    unet: UNetConfig
    text: CLIPTextConfig
    batch_size: int = 32
    learning_rate: float = 4e-3
    warmup: int = 200
    condition_dropout: float = 0.1
    steps: int = 9000
    """Length of the cosine decay; the trainer runs as many."""

    def task(
        self,
        vae: VAEConfig,
        vae_params: Any,
        schedule: Schedule,
        empty_ids: np.ndarray,
        batches: Callable[[int], Any],
    ) -> Task:
        """A task whose batches hold `rgba` uint8 [b, s, s, 4], straight alpha, and the captions' tokens `ids` [b, n].

        Parameters are {"unet", "text_encoder"}; the VAE and the tokens of the empty caption are frozen.
        """
        unet, text, autoencoder = UNet(self.unet), CLIPText(self.text), VAE(vae)
        size = self.unet.sample_size

        def init(key):
            k_unet, k_text = jax.random.split(key)
            ids = jnp.zeros((1, len(empty_ids)), jnp.int32)
            context = jnp.zeros((1, len(empty_ids), self.unet.cross_attention_dim))
            latents = jnp.zeros((1, size, size, self.unet.in_channels))
            return {
                "unet": unet.init(k_unet, latents, jnp.zeros(1), context)["params"],
                "text_encoder": text.init(k_text, ids)["params"],
            }

        def loss(params, frozen, batch, keys, step):
            k_background, k_drop, k_time, k_noise = split_each(keys, 4)
            image = over_random_background(batch["rgba"], k_background)
            mean, _ = autoencoder.apply({"params": frozen["vae"]}, 2 * image - 1, method="encode")
            x0 = mean * vae.scaling_factor
            dropped = uniform_each(k_drop) < self.condition_dropout
            ids = jnp.where(dropped[:, None], frozen["empty_ids"], batch["ids"])
            context, *_ = text.apply({"params": params["text_encoder"]}, ids)

            def network(z, t):
                return unet.apply({"params": params["unet"]}, z, t, context)

            sigma = uniform_time(k_time, schedule)
            noise = noise_like(k_noise, x0)
            return denoising_loss(from_v(network, schedule), x0, sigma, noise, v_weight(sigma)), {}

        rise = min(self.warmup, self.steps // 2)
        rate = optax.warmup_cosine_decay_schedule(0.0, self.learning_rate, rise, self.steps)
        frozen = {"vae": vae_params, "empty_ids": jnp.asarray(empty_ids, jnp.int32)}
        return Task(init, loss, muon(rate, weight_decay=0.01), self.batch_size, frozen=frozen, batches=batches)
