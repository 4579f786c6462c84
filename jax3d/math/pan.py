"""The cameras that Shap-E looks at its objects with (arXiv:2305.02463; shap-e util/notebooks.py, models/nn/camera.py).

They stand on a circle around the z axis and look down on the origin by half of what they look ahead. The rays of its
outer pixels lie on the border of the field of view; ours (math/camera) go through the pixels' centres, half a pixel
inside it. n pixels of a row look alike if

    tan(fov' / 2) = n / (n - 1) tan(fov / 2)
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.math import linalg
from jax3d.math.camera import Camera, pinhole, rays

FOV = 0.7


def pan(size: int, count: int = 20, distance: float = 4.0) -> Camera:
    """The published cameras for pictures of `size` pixels, [count] on a full circle; the last is where the first is."""
    angle = jnp.linspace(0.0, 2 * jnp.pi, count)
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    z = jnp.stack([sin, cos, jnp.full_like(sin, -0.5)], -1) / 1.25**0.5
    x = jnp.stack([cos, -sin, jnp.zeros_like(sin)], -1)
    return at_borders(linalg.pose(jnp.stack([x, jnp.cross(z, x), z], -1), -distance * z), size)


def at_borders(world_from_camera: Float[Array, "... 4 4"], size: int, fov: float = FOV) -> Camera:
    """Cameras whose outer pixels, of `size` in a row, look along the border of the field of view; fov in radians."""
    return pinhole(world_from_camera, 2 * jnp.arctan(size / (size - 1) * jnp.tan(0.5 * fov)))


def seen_places(camera: Camera, depth: Float[Array, "*n h w"]) -> Float[Array, "*n h w 3"]:
    """The places that pixels see, by their depth along the axis of the camera."""
    sight = rays(camera, *depth.shape[-2:])
    ahead = camera.world_from_camera[..., None, None, :3, 2]
    return sight.origins + (depth / jnp.sum(sight.directions * ahead, -1))[..., None] * sight.directions
