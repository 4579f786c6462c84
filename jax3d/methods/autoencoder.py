"""The image autoencoder of latent diffusion: pixels <-> a small latent picture (Rombach et al., arXiv 2112.10752).

    z = mean(x) + std(x) n,    loss = |x - decode(z)| + lambda KL(N(mean, std^2) || N(0, 1))

without the adversarial and perceptual terms, which flat-shaded pictures do not need.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax

from jax3d.math.muon import muon
from jax3d.math.pixels import over_random_background
from jax3d.math.random import normal_each, split_each
from jax3d.nn.vae import VAE, VAEConfig
from jax3d.types import Task


@dataclasses.dataclass(frozen=True)
class Autoencoder:
    """Trains a VAE on pictures with transparency, over random solid backgrounds."""

    vae: VAEConfig
    size: int = 64
    """Pixels along an edge of the pictures."""
    batch_size: int = 16
    learning_rate: float = 6e-3
    kl_weight: float = 1e-4
    """Weight of the mean KL per latent number."""
    warmup: int = 100
    steps: int = 4000
    """Length of the cosine decay; the trainer runs as many."""

    def task(self, batches: Callable[[int], Any]) -> Task:
        """A task whose batches hold `rgba` uint8 [b, size, size, 4], straight alpha."""
        network = VAE(self.vae)

        def init(key):
            return network.init(key, jnp.zeros((1, self.size, self.size, 3)))["params"]

        def loss(params, frozen, batch, keys, step):
            k_background, k_sample = split_each(keys, 2)
            image = 2 * over_random_background(batch["rgba"], k_background) - 1
            mean, logvar = network.apply({"params": params}, image, method="encode")
            latents = mean + jnp.exp(0.5 * logvar) * normal_each(k_sample, mean.shape[1:])
            decoded = network.apply({"params": params}, latents, method="decode")
            error = jnp.mean(jnp.abs(decoded - image)) + jnp.mean((decoded - image) ** 2)
            kl = 0.5 * jnp.mean(mean**2 + jnp.exp(logvar) - 1 - logvar)
            psnr = 10 * jnp.log10(4 / jnp.mean((decoded - image) ** 2))
            return error + self.kl_weight * kl, {"psnr": psnr, "kl": kl, "latent_std": jnp.std(mean)}

        rise = min(self.warmup, self.steps // 2)
        rate = optax.warmup_cosine_decay_schedule(0.0, self.learning_rate, rise, self.steps)
        return Task(init, loss, muon(rate), self.batch_size, batches=batches)
