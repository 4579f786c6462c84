"""How a text-to-image model pulls at renders: score distillation with the words of each view.

    x = encode(image),  sigma ~ schedule,  n ~ N(0, I)
    D = D_- + s (D_c - D_-) + v (D_c - D_p)       c the prompt with the words of the view, p without, - the negative one
    loss with the gradient  strength w(sigma) (x - D(x + sigma n, sigma)) / sigma  on x       (diffusion/distill.sds)

The gradient flows through `encode` to the image and on to whatever was rendered. Times may change over a run.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.diffusion.denoiser import guide_batched
from jax3d.diffusion.distill import Loss, sds, sigma_weight
from jax3d.diffusion.loss import noise_like, uniform_time
from jax3d.diffusion.sampler import dpmpp_2m, sample
from jax3d.math.orbit import View
from jax3d.math.ramp import Ramp, ramp
from jax3d.math.random import split_each
from jax3d.prior.stable_diffusion import StableDiffusion
from jax3d.prior.views import BUNDLED, ViewWords
from jax3d.types import Denoiser, Params


@dataclasses.dataclass(frozen=True)
class Guidance:
    """What is asked of the model, and how strongly. The defaults suit the bundled model."""

    scale: float = 7.5
    """s above."""
    view_scale: float = 5.0
    """v above: how often the words of the view are asked for once more."""
    rescale: float = 0.0
    """Share of Lin et al.'s rescaling of the guided denoiser's spread (arXiv 2305.08891)."""
    t_min: Ramp = ramp(0.02)
    """Lowest diffusion time, a fraction of the schedule."""
    t_max: Ramp = Ramp(((0.0, 0.95), (0.3, 0.95), (1.0, 0.3)))
    """Highest diffusion time."""
    weight: Callable[[Array], Array] = sigma_weight
    """w(sigma)."""
    strength: float = 1.0
    """Of the gradient, against the terms beside it."""
    max_gradient: float = 0.0
    """Largest norm of an example's gradient; 0 = no bound."""
    negative_prompt: str = ""
    views: ViewWords = BUNDLED

    def frozen(self, prior: StableDiffusion, prompt: str) -> Params:
        """The weights and the texts that `loss` needs: arguments of the jitted step."""
        texts = prior.embed([*self.views.prompts(prompt), prompt, self.negative_prompt])
        return {"prior": prior.params, "text": texts[:-2], "plain": texts[-2], "negative": texts[-1]}

    def loss(
        self,
        prior: StableDiffusion,
        frozen: Params,
        image: Float[Array, "b h w 3"],
        view: View,
        keys: Array,
        progress: Array | float,
    ) -> Loss:
        """The loss of square images of some views, keys [b], at a fraction of the run."""
        k_time, k_noise = split_each(keys, 2)
        latents = prior.encode(frozen["prior"], enlarged(image, prior.resolution))
        denoise = self._denoiser(prior, frozen, view)
        t_min, t_max = (times.schedule(1)(progress) for times in (self.t_min, self.t_max))
        sigma = uniform_time(k_time, prior.schedule, t_min, t_max)
        noise, weight = noise_like(k_noise, latents), self.weight(sigma)
        loss, metrics = sds(denoise, latents, sigma, noise, weight, max_norm=self.max_gradient or None)
        return self.strength * loss, metrics

    def repainted(
        self,
        prior: StableDiffusion,
        frozen: Params,
        image: Float[Array, "b h w 3"],
        view: View,
        keys: Array,
        time: Array | float,
        steps: int,
    ) -> Float[Array, "b h w 3"]:
        """The images as the model would have them: noised up to a diffusion time and denoised in `steps` (SDEdit)."""
        latents = prior.encode(frozen["prior"], enlarged(image, prior.resolution))
        sigmas = prior.schedule.sigma(jnp.linspace(time, 0.0, steps + 1)[:-1] * prior.schedule.last)
        start = latents + sigmas[0] * noise_like(keys, latents)
        denoise = self._denoiser(prior, frozen, view)
        found = sample(dpmpp_2m(), denoise, start, jnp.append(sigmas, 0.0))
        return enlarged(prior.decode(frozen["prior"], found), image.shape[1])

    def _denoiser(self, prior: StableDiffusion, frozen: Params, view: View) -> Denoiser:
        """D above, of latents of these views."""
        text = frozen["text"][self.views.index(view.azimuth, view.elevation)]
        contexts, scales = [text], [self.scale + self.view_scale]
        if self.view_scale:
            contexts, scales = [text, frozen["plain"]], [*scales, -self.view_scale]
        context = jnp.concatenate([jnp.broadcast_to(each, text.shape) for each in (*contexts, frozen["negative"])])
        return guide_batched(prior.denoiser(frozen["prior"], context), *scales, rescaled=self.rescale)


def enlarged(image: Float[Array, "b h w 3"], size: int) -> Float[Array, "b {size} {size} 3"]:
    """Square pictures at another resolution; larger ones are averaged down to it."""
    if image.shape[1:3] == (size, size):
        return image
    return jax.image.resize(image, (len(image), size, size, 3), "bilinear")
