"""DreamGaussian (Tang et al., arXiv 2309.16653): Gaussians by score distillation, then a mesh with a repainted texture.

    Sketch    repeat:  Gaussians from random cameras, encode,  times fall over the run
                       minus the distillation gradient; now and then more Gaussians where pulled (scene/growth)
    Paint     mesh <- the surface of the Gaussians, texture <- what cameras see of them                       (once)
              repeat:  I = render of the texture,  I' = I noised to a time and denoised again
                       loss = mean (I - I')^2 over what is seen

`jax3d.DreamGaussian` joins the two.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from jax3d.math.orbit import OrbitSampler
from jax3d.math.ramp import Ramp, ramp
from jax3d.math.random import split_each
from jax3d.prior.guidance import Guidance
from jax3d.prior.stable_diffusion import StableDiffusion
from jax3d.render.shade import composite, random_background
from jax3d.scene.gaussians import Gaussians
from jax3d.scene.growth import Growth, Rates
from jax3d.scene.painted import Painted
from jax3d.types import Key, Params, Task


@dataclasses.dataclass(frozen=True)
class Sketch:
    """A text prompt into Gaussians. The defaults suit the bundled model."""

    model: str = "tiny-sd"
    """A bundled model, a folder in diffusers layout, a single .safetensors or .ckpt file, or a hub id."""
    scene: Gaussians = Gaussians(count=1000, capacity=4096)
    cameras: OrbitSampler = OrbitSampler()
    guidance: Guidance = Guidance(t_max=ramp(0.95, 0.2))
    steps: int = 400
    batch_size: int = 4
    """Views per step."""
    stages: tuple[tuple[float, int], ...] = ((0.0, 64),)
    """(from this fraction of the run, pixels along an edge of the renders); the prior sees them at its own size."""
    rates: Rates = Rates(
        positions=ramp(1e-2, 1e-3), scales=ramp(1e-2), rotations=ramp(5e-3), opacities=ramp(5e-2), base=ramp(2e-2)
    )
    growth: Growth = Growth(every=50, start=0.1, until=0.8, share=0.25, wide=0.05, faintest=0.01)
    export_resolution: int = 96
    """Grid nodes along an edge of the cube in which the surface is found."""
    max_faces: int | None = 10_000
    """Triangles of the mesh."""
    texture: int | None = 512
    """Texels along an edge of the mesh's texture."""

    def task(self, prior: StableDiffusion, prompt: str, size: int | None = None, start: Params | None = None) -> Task:
        """The optimisation for one prompt with renders of `size` pixels (the first stage's by default).

        It begins with `start` (`Gaussians.begin`), or with a ball.
        """
        size = size or self.stages[0][1]

        def loss(params, frozen, batch, keys, step):
            k_camera, k_background, k_guidance = split_each(keys, 3)
            view = jax.vmap(self.cameras)(k_camera)
            out = self.scene.render(params, view.camera, None, height=size, width=size)
            background = jax.vmap(lambda key: random_background(key, plain=0.0))(k_background)
            image = composite(out.rgb, out.opacity, background)
            distilled, metrics = self.guidance.loss(prior, frozen, image, view, k_guidance, step / self.steps)
            metrics |= {"opacity": jnp.mean(out.opacity), "gaussians": jnp.sum(params["alive"])}
            return distilled, metrics | out.demand

        frozen = self.guidance.frozen(prior, prompt)
        after = lambda params, step, key: self.growth.after(params, step, key, self.steps)  # noqa: E731
        optimizer = self.rates.optimizer(self.steps)
        init = self.scene.init if start is None else lambda key: start
        return Task(init, loss, optimizer, self.batch_size, frozen=frozen, after=after)


@dataclasses.dataclass(frozen=True)
class Paint:
    """The texture of a mesh of Gaussians, repainted by the model. The defaults suit the bundled one."""

    model: str | None = None
    """Of what the first stage has (`Sketch.model`) another one; None = the same."""
    scene: Painted = Painted()
    cameras: OrbitSampler = OrbitSampler()
    guidance: Guidance = Guidance()
    steps: int = 50
    batch_size: int = 4
    """Views per step."""
    stages: tuple[tuple[float, int], ...] = ((0.0, 128),)
    """(from this fraction of the run, pixels along an edge of the renders); the prior sees them at its own size."""
    time: Ramp = ramp(0.4, 0.2)
    """Up to which diffusion time, a fraction of the schedule, renders are noised."""
    sample_steps: int = 8
    """In which they are denoised."""
    texture_rate: Ramp = ramp(0.1, 0.02)
    resolution: int = 96
    """Grid nodes along an edge of the cube in which the surface of the Gaussians is found."""
    max_faces: int | None = 10_000
    """Triangles of the mesh."""
    texture: int | None = 512
    """Texels along an edge of its texture."""

    def begin(self, scene: Gaussians, params: Params) -> tuple["Paint", Params]:
        """The method, and the parameters of the mesh of some Gaussians; ValueError where they have no surface."""
        mesh = scene.export(params, resolution=self.resolution, max_faces=self.max_faces, texture=self.texture)
        return self, self.scene.begin(mesh)

    def task(self, prior: StableDiffusion, prompt: str, size: int | None = None, *, start: Params) -> Task:
        """The optimisation from `begin`'s parameters with renders of `size` pixels (the first stage's by default)."""
        frozen = self.guidance.frozen(prior, prompt) | {"scene": start["fixed"]}
        size = size or self.stages[0][1]

        def init(key: Key) -> Params:
            return {"texture": start["texture"]}

        def loss(params, frozen, batch, keys, step):
            k_camera, k_background, k_noise = split_each(keys, 3)
            view = jax.vmap(self.cameras)(k_camera)
            whole = params | {"fixed": frozen["scene"]}
            out = self.scene.render(whole, view.camera, None, height=size, width=size)
            background = jax.vmap(lambda key: random_background(key, plain=0.0))(k_background)
            image = composite(out.rgb, out.opacity, background)
            time = self.time.schedule(self.steps)(step)
            goal = self.guidance.repainted(
                prior, frozen, jax.lax.stop_gradient(image), view, k_noise, time, self.sample_steps
            )
            error = jnp.mean(out.opacity[..., None] * (image - jax.lax.stop_gradient(goal)) ** 2)
            metrics = {"opacity": jnp.mean(out.opacity)}
            return error, metrics | out.demand

        optimizer = optax.adam(self.texture_rate.schedule(self.steps), b1=0.9, b2=0.99, eps=1e-15)
        return Task(init, loss, optimizer, self.batch_size, frozen=frozen)
