"""DreamFusion: text to a radiance field by score distillation (Poole et al., arXiv 2209.14988), in latent space.

    repeat:  camera ~ orbit,  image = render(field, camera),  x = encode(image)      (the gradient flows through encode)
             sigma ~ schedule,  n ~ N(0, I),  D = guided denoiser of the text with the words of this view
             field <- field - gradient of  w(sigma) (x - D(x + sigma n, sigma)) / sigma  and of the regularisers

Everything that changes over a run is a `Ramp`: knots of (fraction of the run, value).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jax3d.diffusion.denoiser import guide_batched
from jax3d.diffusion.distill import sds, sigma_weight
from jax3d.diffusion.loss import noise_like, uniform_time
from jax3d.math.orbit import OrbitSampler, View
from jax3d.math.ramp import Ramp, ramp
from jax3d.math.random import split_each
from jax3d.nn.field import Voxels
from jax3d.prior.stable_diffusion import StableDiffusion
from jax3d.prior.views import BUNDLED, ViewWords
from jax3d.render import regularise
from jax3d.render.shade import composite, near_camera, point_light, random_background
from jax3d.scene.nerf import NeRF
from jax3d.types import Array, Metrics, Params, Render, Task


@dataclasses.dataclass(frozen=True)
class Regularisers:
    """Weights of the terms beside the distillation, each over the run."""

    orientation: Ramp = ramp(0.0)
    """Normals that face away from the camera (DreamFusion, App. A.2)."""
    opacity: Ramp = ramp(0.0)
    """DreamFusion's sqrt((sum w)^2 + 0.01): less of everything."""
    entropy: Ramp = ramp(0.0)
    """Binary entropy of each pixel's opacity: all or nothing."""
    sparsity: Ramp = ramp(0.0)
    """The mean opacity."""
    total_variation: Ramp = ramp(0.0)
    """Roughness of a voxel field; other fields have none."""


@dataclasses.dataclass(frozen=True)
class Shading:
    """How the field is lit while it is distilled."""

    lit: Ramp = ramp(0.0)
    """How much of the lambertian shading is applied, 0 = albedo only."""
    textureless: Ramp = ramp(0.0)
    """How much of the albedo is replaced by white."""
    light_distance: tuple[float, float] = (0.8, 1.5)
    """Of the random light near the camera, world units."""


@dataclasses.dataclass(frozen=True)
class DreamFusion:
    """A text prompt into a radiance field. The defaults suit the bundled model."""

    model: str = "tiny-sd"
    """A bundled model, a folder in diffusers layout, a single .safetensors or .ckpt file, or a hub id."""
    scene: NeRF = NeRF(field=Voxels())
    cameras: OrbitSampler = OrbitSampler()
    views: ViewWords = BUNDLED
    negative_prompt: str = ""
    steps: int = 800
    batch_size: int = 4
    """Views per step."""
    stages: tuple[tuple[float, int], ...] = ((0.0, 32), (0.4, 64))
    """(from this fraction of the run, pixels along an edge of the renders); the prior sees them at its own size."""
    distillation: float = 1.0
    """Weight of the distillation loss."""
    guidance_scale: float = 7.5
    """s in D_u + s (D_c - D_u)."""
    view_guidance: float = 5.0
    """Added to that: how often D_c - D_p, with D_p the denoiser of the prompt without the words of the view."""
    guidance_rescale: float = 0.0
    """Share of Lin et al.'s rescaling of the guided denoiser's spread (arXiv 2305.08891)."""
    t_min: Ramp = ramp(0.02)
    """Lowest diffusion time, a fraction of the schedule."""
    t_max: Ramp = Ramp(((0.0, 0.95), (0.3, 0.95), (1.0, 0.3)))
    """Highest diffusion time."""
    weight: Callable[[Array], Array] = sigma_weight
    """w(sigma) of the distillation gradient."""
    max_gradient: float = 0.0
    """Largest norm of an example's distillation gradient; 0 = no bound."""
    random_background: float = 1.0
    """Probability of a random background colour; otherwise the scene's learned sky, or white where it has none."""
    shading: Shading = Shading()
    regularisers: Regularisers = Regularisers()
    learning_rate: Ramp = ramp(2e-2)
    export_resolution: int = 128
    """Grid cells along an edge of the cube in which the surface is found."""
    max_faces: int | None = None
    """Triangles that the exported mesh may have; None = as many as the grid gives."""
    texture: int | None = 1024
    """Texels along an edge of the exported mesh's texture; None = colours at the vertices."""

    def task(self, prior: StableDiffusion, prompt: str, size: int | None = None) -> Task:
        """The optimisation for one prompt with renders of `size` pixels (the first stage's by default).

        Its parameters are the scene's, the same in every stage.
        """
        texts = prior.embed([*self.views.prompts(prompt), prompt, self.negative_prompt])
        frozen = {"prior": prior.params, "text": texts[:-2], "plain": texts[-2], "negative": texts[-1]}
        optimizer = optax.adam(self.learning_rate.schedule(self.steps), b1=0.9, b2=0.99, eps=1e-15)
        loss = self._loss(prior, size or self.stages[0][1])
        return Task(self.scene.init, loss, optimizer, self.batch_size, frozen=frozen)

    def _loss(self, prior: StableDiffusion, size: int) -> Callable:
        t_min, t_max = self.t_min.schedule(self.steps), self.t_max.schedule(self.steps)

        def loss(params, frozen, batch, keys, step):
            k_camera, k_render, k_light, k_background, k_time, k_noise = split_each(keys, 6)
            view = jax.vmap(self.cameras)(k_camera)
            out = self.scene.render(params, view.camera, k_render, **self._look(view, k_light, step, size))
            image = composite(out.rgb, out.opacity, self._background(params, view, k_background, size))
            latents = prior.encode(frozen["prior"], enlarged(image, prior.resolution))

            text = frozen["text"][self.views.index(view.azimuth, view.elevation)]
            contexts, scales = [text], [self.guidance_scale + self.view_guidance]
            if self.view_guidance:
                contexts, scales = [text, frozen["plain"]], [*scales, -self.view_guidance]
            context = jnp.concatenate([jnp.broadcast_to(each, text.shape) for each in (*contexts, frozen["negative"])])
            denoise = guide_batched(prior.denoiser(frozen["prior"], context), *scales, rescaled=self.guidance_rescale)
            sigma = uniform_time(k_time, prior.schedule, t_min(step), t_max(step))
            noise = noise_like(k_noise, latents)
            distilled, metrics = sds(
                denoise, latents, sigma, noise, self.weight(sigma), max_norm=self.max_gradient or None
            )
            terms = self._regularise(params, out, step)
            metrics["opacity"] = jnp.mean(out.opacity)
            return self.distillation * distilled + sum(terms.values()), metrics | terms

        return loss

    def _look(self, view: View, keys: Array, step: Array, size: int) -> dict:
        """Arguments of the scene's render: size, and the light where the config has one."""
        look = {"height": size, "width": size, "normals": self.regularisers.orientation.ever}
        if not self.shading.lit.ever:
            return look
        lit, white = (amount.schedule(self.steps)(step) for amount in (self.shading.lit, self.shading.textureless))
        near = lambda key, position: near_camera(key, position, distance=self.shading.light_distance)  # noqa: E731
        return look | {"light": point_light(jax.vmap(near)(keys, view.camera.position), lit, white)}

    def _background(self, params: Params, view: View, keys: Array, size: int) -> Array:
        """What is behind each pixel: [b, 1, 1, 3] or [b, size, size, 3]."""
        k_choice, k_color = split_each(keys, 2)
        color = jax.vmap(lambda key: random_background(key, plain=0.0))(k_color)
        drawn = jax.vmap(lambda key: jax.random.bernoulli(key, self.random_background))(k_choice)
        other = 1.0
        if self.scene.sky is not None:
            other = self.scene.backdrop(params, view.camera, height=size, width=size)
        return jnp.where(drawn[:, None, None, None], color, other)

    def _regularise(self, params: Params, out: Render, step: Array) -> Metrics:
        """The terms of the config that are ever used, weighted."""
        weights = self.regularisers
        terms = {
            "orientation": (weights.orientation, lambda: jnp.mean(out.extras["orientation"])),
            "sparse_view": (weights.opacity, lambda: regularise.opacity(out.opacity)),
            "entropy": (weights.entropy, lambda: regularise.entropy(out.opacity)),
            "sparsity": (weights.sparsity, lambda: jnp.mean(out.opacity)),
            "roughness": (weights.total_variation, lambda: regularise.total_variation(params["field"]["grid"])),
        }
        return {
            name: weight.schedule(self.steps)(step) * value() for name, (weight, value) in terms.items() if weight.ever
        }


def enlarged(image: Array, size: int) -> Array:
    """Square pictures [b, h, w, 3] at the prior's resolution."""
    if image.shape[1:3] == (size, size):
        return image
    return jax.image.resize(image, (len(image), size, size, 3), "bilinear", antialias=False)
