"""Training the denoisers of Point-E and Shap-E (arXiv:2212.08751, sec. 4; arXiv:2305.02463, sec. 4.3).

    t uniform among the whole times,  sigma = sigma_t,  n ~ N(0, I)
    (D, u) = what the network makes of x0 + sigma n, told c
    loss = |prediction - its truth|^2 + b bound(u)          the hybrid of arXiv:2102.09672, eq. 16, in bits a number;
                                                            b = 0 leaves the learned variance as it was

x0 are the latents of an object, or points of it drawn anew for every example; an upsampler is told others of the same
object, in published units. What is told is dropped for a share of the examples, so that guidance has a network that is
told nothing; an upsampler's picture is dropped for more of them, as text comes without one.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jax3d.diffusion import openai as diffusions
from jax3d.diffusion.denoiser import expand
from jax3d.diffusion.loss import eps_weight, noise_like, uniform_time, v_weight, x0_weight
from jax3d.diffusion.openai import Diffusion
from jax3d.diffusion.variance import below, variational_bound, with_variance
from jax3d.math.muon import muon
from jax3d.math.random import split_each, uniform_each
from jax3d.nn import nearby
from jax3d.nn.point_e import Told
from jax3d.nn.point_e_config import PointEConfig
from jax3d.nn.shap_e_config import LatentConfig
from jax3d.prior import openai
from jax3d.types import Key, Params, Task

STRETCH = (nearby.POSITION,) * 3 + (nearby.OTHER,) * 3
"""How a point's position and colour enter at first."""
WEIGHTS = {"epsilon": eps_weight, "v": v_weight, "x_start": x0_weight}
Grid = Callable[[Params, Array], Array]
"""(CLIP's parameters, pictures [b, h, w, 3] in [0, 1]) -> its grids [b, m, d]."""


@dataclasses.dataclass(frozen=True)
class Denoising:
    """Trains a base network, an upsampler, or a network of latents."""

    network: PointEConfig | LatentConfig
    mean_type: Literal["epsilon", "v", "x_start"] = "epsilon"
    """What the network predicts; the published ones predict epsilon. A small one cannot give the noise of the highest
    levels as exactly as x0 needs it, and does better with v."""
    schedule: Literal["cosine", "linear", "exp"] = "cosine"
    """Published: cosine for the base network, linear for the upsampler, exp for latents."""
    bound: float = 1.0
    """b above."""
    dropout: float = 0.1
    """Share of examples that are told nothing."""
    unseen: float = 0.0
    """Share of the others that are told no picture, of a network that is told pictures and clouds."""
    drawn: int | None = None
    """Points that an example has in training, fewer than the n_ctx that the network makes; None = as many."""
    batch_size: int = 16
    learning_rate: float = 4e-3
    warmup: int = 200
    """Steps of the rate's rise, at most half of all."""

    @property
    def published(self) -> dict[str, Any]:
        """The published dict of this diffusion."""
        names = {"mean_type": self.mean_type, "schedule": self.schedule, "timesteps": 1024}
        return {**(diffusions.CHANNELS if isinstance(self.network, PointEConfig) else {}), **names}

    @property
    def inner(self) -> PointEConfig:
        """The transformer's config."""
        return openai.inner(self.network)

    @property
    def diffusion(self) -> Diffusion:
        """Its schedule, border and units."""
        return diffusions.from_config(self.published)

    def init(self, key: Key) -> Params:
        """The network's initial weights; points attend at first to those near them (nn/nearby)."""
        k_params, k_in, k_asked = jax.random.split(key, 3)
        params = openai.module(self.network).init(k_params, *openai.example(self.network))["params"]
        if isinstance(self.network, LatentConfig):
            return params
        width, heads = self.network.width, self.network.heads
        enter, first = nearby.entrance(k_in, STRETCH, width), params["backbone"]["resblocks.0"]
        params |= {name: enter for name in ("input_proj", "cond_point_proj") if name in params}
        qkv, ask = first["attn.c_qkv"]["kernel"], nearby.question(k_asked, nearby.SHARPNESS, width)
        first["attn.c_qkv"]["kernel"] = nearby.asked(qkv, ask, heads, keys=(0, 1))
        return params

    def task(
        self,
        batches: Callable[[int], dict[str, Any]],
        steps: int,
        start: Params | None = None,
        grid: Grid | None = None,
        frozen: Params = (),
    ) -> Task:
        """A task of so many steps. Batches hold `kept`, points as x0 [b, m, 6] or latents [b, n, d], and what the
        network is told of: `vectors` [b, w, d], one of which is told at a time, or `pictures` [b, w, h, w, 3] of bytes,
        whose grid CLIP gives with its parameters `frozen`. It begins with the weights `start`, or with random ones.
        """
        diffusion = self.diffusion

        def loss(params: Params, frozen: Params, batch: Mapping[str, Array], keys: Array, step: Array):
            k_draw, k_told, k_time, k_noise = split_each(keys, 4)
            points = jax.vmap(self._draw)(batch["kept"], k_draw)
            cloud, x0 = jnp.split(points, [self.inner.cond_ctx], 1)
            told = self._told(diffusion.leave(cloud), batch, k_told, grid, frozen)
            sigma = uniform_time(k_time, diffusion.schedule, integer=True)
            return self._loss(diffusion, params, told, x0, sigma, noise_like(k_noise, x0))

        rate = optax.warmup_cosine_decay_schedule(0.0, self.learning_rate, min(self.warmup, steps // 2), steps)
        init = self.init if start is None else lambda key: start
        return Task(init, loss, muon(rate, weight_decay=0.01), self.batch_size, frozen=frozen, batches=batches)

    def _loss(
        self,
        diffusion: Diffusion,
        params: Params,
        told: Told,
        x0: Float[Array, "b n c"],
        sigma: Float[Array, " b"],
        noise: Float[Array, "b n c"],
    ) -> tuple[Array, dict[str, Array]]:
        def network(z: Array, t: Array) -> Array:
            return openai.module(self.network).apply({"params": params}, z, t, told)

        noisy = x0 + expand(sigma, x0) * noise
        foretold, u = with_variance(diffusion.border, network, diffusion.schedule)(noisy, sigma)
        error = jnp.mean(expand(WEIGHTS[self.mean_type](sigma), x0) * (foretold - x0) ** 2)
        if not self.bound:
            return error, {"error": error}
        bits = jnp.mean(variational_bound(x0, foretold, u, sigma, below(diffusion.schedule, sigma)))
        return error + self.bound * bits, {"error": error, "bits": bits}

    def _draw(self, kept: Float[Array, "m c"], key: Key) -> Float[Array, "n c"]:
        """Other points at every draw: those that are told, and behind them those that are made. Latents as they are."""
        if isinstance(self.network, LatentConfig):
            return kept.astype(jnp.float32)
        count = self.network.cond_ctx + (self.drawn or self.network.n_ctx)
        return jax.random.choice(key, kept, (count,), replace=False).astype(jnp.float32)

    def _told(self, cloud: Array, batch: Mapping[str, Array], keys: Array, grid: Grid | None, frozen: Params) -> Told:
        k_drop, k_unseen, k_which = split_each(keys, 3)
        told = uniform_each(k_drop) >= self.dropout
        seen = told & (uniform_each(k_unseen) >= self.unseen)
        pick = jax.vmap(jax.random.choice)
        vector = image = None
        if self.inner.vector_features:
            vector = told[:, None] * pick(k_which, batch["vectors"]).astype(jnp.float32)
        if self.inner.grid_features:
            pictures = pick(k_which, batch["pictures"]).astype(jnp.float32) / 255
            image = seen[:, None, None] * grid(frozen, pictures)
        return Told(vector, image, told[:, None, None] * cloud if self.inner.cond_ctx else None)
