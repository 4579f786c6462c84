"""3D-native diffusion: one recipe for point clouds, SDF grids and triplanes. What differs is the codec and the network.

Training (Karras et al., arXiv 2206.00364, with their preconditioning F of the network and weight; sigma_d = sigma_data)

    x0 ~ codec,  log sigma ~ N(mean, std^2),  n ~ N(0, I)
    D(x, sigma) = c_skip x + c_out F(c_in x, log(sigma) / 4, c)
    loss = (sigma^2 + sigma_d^2) / (sigma sigma_d)^2 |D(x0 + sigma n, sigma) - x0|^2

(diffusion/denoiser.edm) with the condition c set to 0 for a share of the examples, so that one network is the
conditional and the unconditional denoiser and guidance (arXiv 2207.12598) is between the two. Sampling goes from
sigma_max to 0 on Karras' grid.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float

from jax3d.diffusion import sampler as samplers
from jax3d.diffusion.denoiser import edm, guide_batched
from jax3d.diffusion.inpaint import inpaint
from jax3d.diffusion.loss import denoising_loss, edm_weight, log_normal, noise_like
from jax3d.diffusion.sampler import Sampler
from jax3d.diffusion.schedule import karras
from jax3d.math.muon import muon
from jax3d.math.random import split_each, uniform_each
from jax3d.types import Codec, Denoiser, Key, Params, Task


@dataclasses.dataclass(frozen=True)
class Native:
    """Trains and samples a denoiser of a codec's arrays."""

    codec: Codec
    network: nn.Module
    """(x [b, *shape], t [b], condition [b, d]) -> like x; d = 0 where the model knows no conditions."""
    sigma_data: float = 0.5
    """Standard deviation of x0."""
    skip: bool = True
    """EDM's D; False for a network with fewer channels than its patches have numbers (diffusion/denoiser.edm)."""
    sigma_mean: float = -1.2
    sigma_std: float = 1.2
    """Of log sigma in training; EDM's are for pictures of 64 x 64 pixels and sigma_data = 0.5. The more numbers say the
    same, the more noise it takes to hide it: a grid of distances shows its solid at sigma = 5, and what it is to be is
    decided above that."""
    dropout: float = 0.1
    """Share of examples whose condition is dropped."""
    batch_size: int = 32
    learning_rate: float = 4e-3
    warmup: int = 200
    """Steps of the rate's rise, at most half of all."""
    sampler: Callable[[], Sampler] = samplers.dpmpp_2m
    sample_steps: int = 32
    guidance: float = 2.0
    """s in D_u + s (D_c - D_u)."""
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def init(self, key: Key, told: int) -> Params:
        """The network's initial weights, for conditions of `told` numbers."""
        x, condition = jnp.zeros((1, *self.codec.shape)), jnp.zeros((1, told))
        return self.network.init(key, x, jnp.zeros(1), condition)["params"]

    def denoiser(self, params: Params, condition: Float[Array, "b d"]) -> Denoiser:
        """D(x, sigma) under the conditions, one a row of x; 0 = none."""

        def network(x: Array, t: Array) -> Array:
            return self.network.apply({"params": params}, x, t, condition)

        return edm(network, self.sigma_data, skip=self.skip)

    def task(self, batches: Callable[[int], dict[str, Any]], steps: int, start: Params | None = None) -> Task:
        """A task of so many steps, whose batches hold `kept` [b, ...], what the codec's `encode` keeps, and `condition`
        [b, w, d], of whose w wordings one is told at a time. It begins with the weights `start`, or with random ones.
        """

        def init(key: Key) -> Params:
            return self.init(key, batches(0)["condition"].shape[-1]) if start is None else start

        rate = optax.warmup_cosine_decay_schedule(0.0, self.learning_rate, min(self.warmup, steps // 2), steps)
        return Task(init, self._loss, muon(rate, weight_decay=0.01), self.batch_size, batches=batches)

    def _loss(self, params: Params, frozen: Params, batch: dict[str, Array], keys: Array, step: Array):
        k_draw, k_drop, k_word, k_sigma, k_noise = split_each(keys, 5)
        x0 = jax.vmap(self.codec.draw)(batch["kept"], k_draw)
        told = uniform_each(k_drop) >= self.dropout
        wording = jax.vmap(jax.random.choice)(k_word, batch["condition"]).astype(jnp.float32)
        condition = jnp.where(told[:, None], wording, 0.0)
        sigma = log_normal(k_sigma, self.sigma_mean, self.sigma_std)
        floor = 0.0 if self.skip else 0.4 * self.sigma_data  # what is foretold alike at all small sigma counts once
        weight = edm_weight(jnp.maximum(sigma, floor), self.sigma_data)
        return denoising_loss(self.denoiser(params, condition), x0, sigma, noise_like(k_noise, x0), weight), {}

    @partial(jax.jit, static_argnums=0)
    def sample(
        self,
        params: Params,
        condition: Float[Array, "b d"],
        keys: Array,
        start: Float[Array, "b ..."] | None = None,
        known: Float[Array, "..."] | None = None,
        mask: Float[Array, "..."] | None = None,
    ) -> Float[Array, "b ..."]:
        """x0 [b, *shape] under the conditions; keys [b], one an example, draw whatever is random.

        start: the initial noise, N(0, 1), instead of a draw. known: x0 as it must be where `mask` is 1; both broadcast.
        """
        k_start, k_steps = split_each(keys, 2)
        start = noise_like(k_start, jnp.zeros((len(condition), *self.codec.shape))) if start is None else start
        denoise = self.denoiser(params, condition)
        if condition.shape[1] and self.guidance != 1:
            both = jnp.concatenate([condition, jnp.zeros_like(condition)])
            denoise = guide_batched(self.denoiser(params, both), self.guidance)
        if known is not None:
            denoise = inpaint(denoise, known, mask)
        levels = jnp.append(jnp.asarray(karras(self.sample_steps, self.sigma_min, self.sigma_max)), 0.0)
        return samplers.sample(self.sampler(), denoise, self.sigma_max * start, levels, k_steps)
