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

from jax3d.math.orbit import OrbitSampler, View
from jax3d.math.ramp import Ramp, ramp
from jax3d.math.random import split_each
from jax3d.nn.field import Voxels
from jax3d.prior.guidance import Guidance
from jax3d.prior.stable_diffusion import StableDiffusion
from jax3d.render import regularise
from jax3d.render.shade import Shading, composite, random_background
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
class DreamFusion:
    """A text prompt into a radiance field. The defaults suit the bundled model."""

    model: str = "tiny-sd"
    """A bundled model, a folder in diffusers layout, a single .safetensors or .ckpt file, or a hub id."""
    scene: NeRF = NeRF(field=Voxels())
    cameras: OrbitSampler = OrbitSampler()
    guidance: Guidance = Guidance()
    steps: int = 800
    batch_size: int = 4
    """Views per step."""
    stages: tuple[tuple[float, int], ...] = ((0.0, 32), (0.4, 64))
    """(from this fraction of the run, pixels along an edge of the renders); the prior sees them at its own size."""
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
        frozen = self.guidance.frozen(prior, prompt)
        optimizer = optax.adam(self.learning_rate.schedule(self.steps), b1=0.9, b2=0.99, eps=1e-15)
        loss = self._loss(prior, size or self.stages[0][1])
        return Task(self.scene.init, loss, optimizer, self.batch_size, frozen=frozen)

    def _loss(self, prior: StableDiffusion, size: int) -> Callable:
        def loss(params, frozen, batch, keys, step):
            k_camera, k_render, k_light, k_background, k_guidance = split_each(keys, 5)
            view = jax.vmap(self.cameras)(k_camera)
            out = self.scene.render(params, view.camera, k_render, **self._look(view, k_light, step, size))
            image = composite(out.rgb, out.opacity, self._background(params, view, k_background, size))
            distilled, metrics = self.guidance.loss(prior, frozen, image, view, k_guidance, step / self.steps)
            terms = self._regularise(params, out, step)
            return distilled + sum(terms.values()), metrics | {"opacity": jnp.mean(out.opacity)} | terms

        return loss

    def _look(self, view: View, keys: Array, step: Array, size: int) -> dict:
        """Arguments of the scene's render: size, and the light where the config has one."""
        look = {"height": size, "width": size, "normals": self.regularisers.orientation.ever}
        if not self.shading.lit.ever:
            return look
        return look | {"light": self.shading.light(keys, view.camera.position, step / self.steps)}

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
