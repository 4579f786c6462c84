"""Lambertian shading with a soft schedule, and what is seen behind an object.

With albedo rho, unit normal n, and l the unit vector from the point x to the light (DreamFusion, arXiv 2209.14988,
eq. 7, with scalar lights):

    rho' = (1 - q) rho + q,     colour = rho' (l_ambient + l_diffuse max(0, n . l)).

q in [0, 1] is the textureless weight: 1 shows the shape in white. Everything is continuous, so a schedule may slide
from albedo (ambient 1, diffuse 0, q 0) over lambertian (0.1, 0.9, 0) to textureless (0.1, 0.9, 1) instead of switching.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jax3d.math import linalg
from jax3d.math.ramp import Ramp, ramp


@struct.dataclass
class Light:
    """A point light and how much it counts. A light far away (say 1e3) is a directional one."""

    position: Array  # [..., 3] world
    ambient: Array  # [...] >= 0
    diffuse: Array  # [...] >= 0
    textureless: Array  # [...] in [0, 1]


@dataclasses.dataclass(frozen=True)
class Shading:
    """How a scene is lit while it is distilled."""

    lit: Ramp = ramp(0.0)
    """How much of the lambertian shading is applied, 0 = albedo only."""
    textureless: Ramp = ramp(0.0)
    """How much of the albedo is replaced by white."""
    light_distance: tuple[float, float] = (0.8, 1.5)
    """Of the random light near the camera, world units."""

    def light(self, keys: Array, position: Float[Array, "b 3"], progress: Array | float) -> Light:
        """A light for each of the cameras at these positions, keys [b], at a fraction of the run."""
        near = lambda key, position: near_camera(key, position, distance=self.light_distance)  # noqa: E731
        lit, white = (amount.schedule(1)(progress) for amount in (self.lit, self.textureless))
        return point_light(jax.vmap(near)(keys, position), lit, white)


def point_light(
    position: Float[Array, "... 3"], shading: Float[Array, "..."] | float = 1.0, textureless: Array | float = 0.0
) -> Light:
    """DreamFusion's light with weight `shading` in [0, 1]: 0 = albedo, 1 = ambient 0.1 and diffuse 0.9."""
    batch = position.shape[:-1]
    shading = jnp.broadcast_to(jnp.asarray(shading, position.dtype), batch)
    textureless = jnp.broadcast_to(jnp.asarray(textureless, position.dtype), batch)
    return Light(position, 1.0 - 0.9 * shading, 0.9 * shading, textureless)


def near_camera(
    key: Array, position: Float[Array, "3"], *, distance: tuple[float, float] = (0.8, 1.5)
) -> Float[Array, "3"]:
    """DreamFusion's random light position: direction ~ N(camera position, I), norm uniform in `distance`."""
    k_direction, k_norm = jax.random.split(key)
    direction = linalg.normalize(position + jax.random.normal(k_direction, (3,), position.dtype))
    return direction * jax.random.uniform(k_norm, (), position.dtype, *distance)


def shade(
    albedo: Float[Array, "... 3"], normal: Float[Array, "... 3"], points: Float[Array, "... 3"], light: Light
) -> Float[Array, "... 3"]:
    """The colour of points under a light whose leading axes broadcast against theirs."""
    lambert = jnp.maximum(linalg.dot(normal, linalg.normalize(light.position - points)), 0.0)
    white = light.textureless[..., None]
    return ((1 - white) * albedo + white) * (light.ambient + light.diffuse * lambert)[..., None]


def composite(
    rgb: Float[Array, "... h w 3"], opacity: Float[Array, "... h w"], background: Float[Array, "..."] | float
) -> Float[Array, "... h w 3"]:
    """Premultiplied rgb over a background: a number, a colour [3], one a view [..., 1, 1, 3], or an image."""
    return rgb + (1 - opacity)[..., None] * background


def random_background(key: Array, *, plain: float = 0.5, color: float = 1.0) -> Float[Array, "1 1 3"]:
    """One colour for a view: uniform in the RGB cube or, with probability `plain`, the grey `color`."""
    k_choice, k_color = jax.random.split(key)
    drawn = jax.random.uniform(k_color, (1, 1, 3))
    return jnp.where(jax.random.bernoulli(k_choice, plain), color, drawn)
