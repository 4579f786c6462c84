"""Posed pictures into Gaussians: 3D Gaussian splatting (Kerbl et al., arXiv 2308.04079).

repeat:  a picture (C, alpha) with its camera,  a background b,   I = render over b,  G = alpha C + (1 - alpha) b
         loss = (1 - s) mean |I - G| + s (1 - SSIM(I, G))
         between steps, now and then, more Gaussians where they are pulled and fewer where faint (scene/growth)
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jax3d.math import metrics
from jax3d.math.camera import Camera
from jax3d.math.ramp import ramp
from jax3d.math.random import split_each, uniform_each
from jax3d.render.shade import composite
from jax3d.scene.gaussians import Gaussians
from jax3d.scene.growth import Growth, Rates
from jax3d.types import Params, Task


@dataclasses.dataclass(frozen=True)
class Splatting:
    """Fits Gaussians in [-1, 1]^3 to pictures."""

    scene: Gaussians = Gaussians(count=8192, capacity=32768, degree=3)
    views: int = 1
    """Pictures a step."""
    steps: int = 2000
    similarity: float = 0.2
    """s above; 0 for pictures smaller than 11 x 11."""
    random_background: bool = True
    """Behind transparent pixels; otherwise white."""
    rates: Rates = Rates(positions=ramp(1e-3, 1e-5))
    growth: Growth = Growth()

    def task(self, rgba: np.ndarray, camera: Camera) -> Task:
        """The optimisation over pictures uint8 [n, h, w, 4], straight alpha, and their cameras [n]."""
        height, width = rgba.shape[1:3]

        def loss(params, frozen, batch, keys, step):
            k_picture, k_background = split_each(keys, 2)
            picture = jax.vmap(lambda key: jax.random.randint(key, (), 0, len(frozen["rgba"])))(k_picture)
            truth = frozen["rgba"][picture].astype(jnp.float32) / 255
            view = jax.tree.map(lambda leaf: leaf[picture], frozen["camera"])
            out = self.scene.render(params, view, None, height=height, width=width)
            background = uniform_each(k_background, (1, 1, 3)) if self.random_background else jnp.ones((1, 1, 1, 3))
            alpha = truth[..., 3]
            goal = composite(truth[..., :3] * alpha[..., None], alpha, background)
            image = composite(out.rgb, out.opacity, background)
            color = jnp.mean(jnp.abs(image - goal))
            dissimilar = 1 - jnp.mean(metrics.ssim(image, goal)) if self.similarity else 0.0
            figures = {"psnr": jnp.mean(metrics.psnr(image, goal)), "gaussians": jnp.sum(params["alive"])}
            figures |= out.demand
            return (1 - self.similarity) * color + self.similarity * dissimilar, figures

        frozen = {"rgba": jnp.asarray(rgba), "camera": camera}
        after = lambda params, step, key: self.growth.after(params, step, key, self.steps)  # noqa: E731
        return Task(self.scene.init, loss, self.rates.optimizer(self.steps), self.views, frozen=frozen, after=after)

    def whole(self, params: Params) -> Params:
        """The scene's parameters are the task's."""
        return params
