"""Random cameras on a sphere around the origin: the camera prior of text-to-3D.

DreamFusion (arXiv 2209.14988, App. A.2): uniform azimuth; elevation uniform in angle or, with probability
`uniform_area`, uniform in area of the sphere; jitter of the camera's position, of its target and of its up vector.
Angles in a config are degrees, everywhere else radians.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jax3d.math.camera import Camera, look_at, orbit


class View(NamedTuple):
    """A camera with the angles that its text prompt names (those before jitter)."""

    camera: Camera
    azimuth: Array  # [...] radians in [0, 2 pi), 0 = front
    elevation: Array  # [...] radians, 0 = horizon


@dataclasses.dataclass(frozen=True)
class OrbitSampler:
    """Where random cameras stand and how they look at the origin."""

    elevation: tuple[float, float] = (-10.0, 60.0)
    """Lowest and highest elevation in degrees."""
    azimuth: tuple[float, float] = (0.0, 360.0)
    """Degrees."""
    distance: tuple[float, float] = (3.0, 3.0)
    """From the origin, in world units."""
    fov: tuple[float, float] = (40.0, 40.0)
    """Vertical field of view in degrees."""
    uniform_area: float = 0.5
    """Probability that the elevation is drawn uniformly in area and not in angle."""
    position_jitter: float = 0.0
    """Half-width of the uniform jitter of the position, world units."""
    target_jitter: float = 0.0
    """Standard deviation of the point looked at, world units."""
    up_jitter: float = 0.0
    """Standard deviation of the up vector."""

    def __call__(self, key: Array) -> View:
        """One random view."""
        names = ("azimuth", "elevation", "area", "distance", "fov", "jitter")
        keys = dict(zip(names, jax.random.split(key, len(names)), strict=True))

        def uniform(name, limits):
            return jax.random.uniform(keys[name], minval=limits[0], maxval=limits[1])

        low, high = (jnp.deg2rad(limit) for limit in self.elevation)
        spread = jax.random.uniform(keys["elevation"])
        by_angle = low + spread * (high - low)
        by_area = jnp.arcsin(jnp.sin(low) + spread * (jnp.sin(high) - jnp.sin(low)))
        elevation = jnp.where(jax.random.bernoulli(keys["area"], self.uniform_area), by_area, by_angle)
        azimuth = jnp.deg2rad(uniform("azimuth", self.azimuth)) % (2 * jnp.pi)
        camera = orbit(azimuth, elevation, uniform("distance", self.distance), jnp.deg2rad(uniform("fov", self.fov)))
        return View(self._shake(camera, keys["jitter"]), azimuth, elevation)

    def _shake(self, camera: Camera, key: Array) -> Camera:
        if not (self.position_jitter or self.target_jitter or self.up_jitter):
            return camera
        k_position, k_target, k_up = jax.random.split(key, 3)
        offset = self.position_jitter * jax.random.uniform(k_position, (3,), minval=-1.0)
        target = self.target_jitter * jax.random.normal(k_target, (3,))
        up = jnp.array([0.0, 0.0, 1.0]) + self.up_jitter * jax.random.normal(k_up, (3,))
        pose = look_at(camera.world_from_camera[:3, 3] + offset, target, up)
        return camera.replace(world_from_camera=pose)


def turntable(
    count: int, *, elevation: float = 15.0, distance: float = 3.0, fov: float = 40.0, start: float = 0.0
) -> Camera:
    """`count` cameras once around the origin, first at azimuth `start`; degrees."""
    azimuth = jnp.deg2rad(start + 360.0 * jnp.arange(count) / count)
    return orbit(azimuth, jnp.deg2rad(elevation), distance, jnp.deg2rad(fov))


def sphere(count: int, *, distance: float = 3.0, fov: float = 40.0) -> Camera:
    """`count` cameras all around the origin, evenly (a Fibonacci lattice)."""
    index = jnp.arange(count)
    azimuth = 2 * jnp.pi * (index * (jnp.sqrt(5.0) - 1) / 2 % 1)
    return orbit(azimuth, jnp.arcsin(1 - 2 * (index + 0.5) / count), distance, jnp.deg2rad(fov))
