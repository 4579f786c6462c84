"""Posed pictures into a radiance field: NeRF (Mildenhall et al., arXiv 2003.08934) with any field and any sampling.

    repeat:  pixel ~ uniform over all pictures,   ray = its camera's,   C, a = render(field, ray)
             loss = |C + (1 - a) b - (alpha C* + (1 - alpha) b)|^2 + the terms of the config,   b ~ a random colour

The pictures lie on the device and each example draws its own pixel there, so a step needs nothing from the host. The
random background b says that what is transparent is empty; pictures without alpha don't feel it where the field is
opaque. Beside the field may be trained, per picture, an exposure (NeRF in the Wild, arXiv 2008.02268, as a gain of each
channel) and a correction of the pose (BARF, arXiv 2104.06405, as a rotation vector and a shift).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax3d.math import linalg
from jax3d.math.camera import Camera, Rays, through
from jax3d.math.ramp import Ramp, ramp
from jax3d.math.random import split_each, uniform_each
from jax3d.scene.nerf import NeRF
from jax3d.types import Array, Key, Params, Task


@dataclasses.dataclass(frozen=True)
class Reconstruct:
    """Trains a radiance field on pictures with known cameras."""

    scene: NeRF = NeRF()
    rays: int = 4096
    """Per step; with an occupancy grid so many are drawn and as many rendered as its budget has room for."""
    steps: int = 3000
    learning_rate: Ramp = ramp(1e-2, 1e-3)
    random_background: bool = True
    """Behind transparent pixels; otherwise white."""
    mask: float = 0.0
    """Weight of (opacity - alpha)^2."""
    distortion: float = 0.0
    """Weight of mip-NeRF 360's distortion: matter in one place along a ray. Not with an occupancy grid."""
    interlevel: float = 0.0
    """Weight of the proposer's loss as a proposal network (mip-NeRF 360)."""
    coarse: float = 0.0
    """Weight of the proposer's loss as a coarse network, which renders the pictures too (NeRF)."""
    exposure: bool = False
    """Learn a gain of each channel of each picture."""
    refine_poses: bool = False
    """Learn a small rigid motion of each camera."""
    camera_rate: Ramp = ramp(1e-3, 1e-5)
    """Learning rate of exposures and poses."""
    refresh: int = 16
    """Steps between updates of the occupancy grid."""
    warmup: int = 128
    """Steps during which everything counts as occupied."""

    def task(self, rgba: np.ndarray, camera: Camera) -> Task:
        """The optimisation over pictures uint8 [n, h, w, 4], straight alpha, and their cameras [n].

        Parameters are {"scene": ...} and, per picture, {"exposure": [n, 3], "pose": [n, 6]} where asked for.
        """
        count = len(rgba)
        cameras = {"exposure": (self.exposure, (count, 3)), "pose": (self.refine_poses, (count, 6))}
        extra = {name: shape for name, (wanted, shape) in cameras.items() if wanted}

        def init(key: Key) -> Params:
            return {"scene": self.scene.init(key)} | {name: jnp.zeros(shape) for name, shape in extra.items()}

        frozen = {"rgba": jnp.asarray(rgba), "camera": camera}
        after = self._after if self.scene.occupancy else None
        return Task(init, self._loss, self._optimizer(), self.rays, frozen=frozen, after=after)

    def whole(self, params: Params) -> Params:
        """The scene's own of the task's parameters."""
        return params["scene"]

    def _loss(self, params: Params, frozen: Params, batch: tuple, keys: Array, step: Array):
        k_pixel, k_render, k_background = split_each(keys, 3)
        picture, target, alpha, rays = _pixels(frozen["rgba"], frozen["camera"], k_pixel)
        if self.refine_poses:
            rays = moved(rays, params["pose"][picture])
        out, done, demand = self.scene.trace_some(params["scene"], rays, k_render)
        gain = jnp.exp(params["exposure"][picture]) if self.exposure else 1.0
        background = uniform_each(k_background, (3,)) if self.random_background else jnp.ones(3)
        over = lambda rgb, opacity: rgb + (1 - opacity)[:, None] * background  # noqa: E731
        truth = over(target * alpha[:, None], alpha)
        mean = lambda values: jnp.sum(jnp.where(done, values, 0.0)) / jnp.maximum(jnp.sum(done), 1)  # noqa: E731

        def error(rgb: Array, opacity: Array) -> Array:
            return mean(jnp.mean((over(gain * rgb, opacity) - truth) ** 2, axis=-1))

        color = error(out.rgb, out.opacity)
        terms = {
            "mask": (self.mask, lambda: mean((out.opacity - alpha) ** 2)),
            "distortion": (self.distortion, lambda: mean(out.extras["distortion"])),
            "interlevel": (self.interlevel, lambda: mean(out.extras["interlevel"])),
            "coarse": (self.coarse, lambda: error(out.extras["coarse"], out.extras["coarse_opacity"])),
        }
        terms = {name: weight * value() for name, (weight, value) in terms.items() if weight}
        metrics = {"psnr": -10 * jnp.log10(color), "opacity": mean(out.opacity)} | terms
        if self.scene.occupancy:
            metrics |= {"rendered": jnp.mean(done.astype(jnp.float32)), "demand": demand}
        return color + sum(terms.values()), metrics

    def _optimizer(self) -> optax.GradientTransformation:
        """Adam, slower for the cameras; the occupancy grid is no weight."""
        adam = lambda rate: optax.adam(rate.schedule(self.steps), b1=0.9, b2=0.99, eps=1e-15)  # noqa: E731
        kinds = {"scene": adam(self.learning_rate), "camera": adam(self.camera_rate), "none": optax.set_to_zero()}

        def kind(path: tuple, leaf: Array) -> str:
            names = [entry.key for entry in path]
            return "none" if "occupancy" in names else "scene" if names[0] == "scene" else "camera"

        return optax.partition(kinds, lambda params: jax.tree_util.tree_map_with_path(kind, params))

    def _after(self, params: Params, step: int, key: Key) -> Params:
        """Between steps: look anew where matter is."""
        if step % self.refresh or step < self.warmup:
            return params
        known = step >= self.warmup + self.refresh
        return params | {"scene": self.scene.refreshed(params["scene"], key, jnp.float32(known))}


def _pixels(rgba: Array, camera: Camera, keys: Array) -> tuple[Array, Array, Array, Rays]:
    """One random pixel a key: the picture's number [b], colour [b, 3], alpha [b], and the ray."""
    count, height, width, _ = rgba.shape
    drawn = lambda keys, high: jax.vmap(lambda key: jax.random.randint(key, (), 0, high))(keys)  # noqa: E731
    k_picture, k_row, k_column = split_each(keys, 3)
    picture, row, column = drawn(k_picture, count), drawn(k_row, height), drawn(k_column, width)
    color = rgba[picture, row, column].astype(jnp.float32) / 255
    image = (jnp.stack([column, row], axis=-1) + 0.5) / jnp.array([width, height])
    return picture, color[:, :3], color[:, 3], through(jax.tree.map(lambda leaf: leaf[picture], camera), image)


def moved(rays: Rays, motion: Array) -> Rays:
    """Rays [b] after small rigid motions [b, 6] of their cameras: a rotation vector about the camera, then a shift."""
    rotation = jax.vmap(linalg.rotation)(motion[:, :3])
    directions = jnp.einsum("bij,bj->bi", rotation, rays.directions)
    return Rays(rays.origins + motion[:, 3:], directions)
