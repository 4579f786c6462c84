"""Pinhole cameras and their rays, independent of the resolution.

World: right-handed, z up, objects face +x. Camera axes are OpenCV's: x right, y down, z forward (into the scene).
With X_c = camera_from_world X_w, a point lands at the image coordinates

    u = f_x X_c / Z_c + c_x,    v = f_y Y_c / Z_c + c_y,    u to the right and v down, both in [0, 1],

so focal and centre are in units of the image's width and height, and pixel (row i, column j) has its centre at
u = (j + 1/2) / width, v = (i + 1/2) / height. Elevation is 0 at the horizon and positive above it; azimuth 0 is the
front (the camera on +x) and 90 degrees the camera on +y, which shows the object's left side. Angles are radians.

Published conventions that this converts from: OpenGL and Blender poses (x right, y up, z backward; NeRF-synthetic's
transforms_*.json, arXiv 2003.08934), threestudio's elevation, azimuth and fovy in degrees (threestudio/data/uncond.py).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jax3d.math import linalg

Scalar = Float[Array, "..."] | float


@struct.dataclass
class Camera:
    """One pinhole camera or a batch of them."""

    world_from_camera: Array  # [..., 4, 4] rigid, OpenCV camera axes
    focal: Array  # [..., 2] in image widths and heights
    centre: Array  # [..., 2] in image widths and heights

    @property
    def position(self) -> Array:
        """[..., 3] world."""
        return self.world_from_camera[..., :3, 3]


@struct.dataclass
class Rays:
    """One ray or an array of them."""

    origins: Array  # [..., 3] world
    directions: Array  # [..., 3] world, unit


def look_at(
    position: Float[Array, "... 3"], target: Float[Array, "... 3"], up: Float[Array, "... 3"]
) -> Float[Array, "... 4 4"]:
    """The pose `world_from_camera` of a camera at `position` that sees `target` in its centre, `up` upwards."""
    position, target, up = jnp.broadcast_arrays(position, target, up)
    return linalg.pose(jnp.stack(linalg.facing(target - position, up), axis=-1), position)


def pinhole(world_from_camera: Float[Array, "... 4 4"], fov: Scalar, *, aspect: float = 1.0) -> Camera:
    """A camera with its centre in the middle of the image; fov is vertical, aspect = width / height."""
    batch = world_from_camera.shape[:-2]
    focal = jnp.broadcast_to(0.5 / jnp.tan(0.5 * jnp.asarray(fov, world_from_camera.dtype)), batch)
    focal = jnp.stack([focal / aspect, focal], axis=-1)
    return Camera(world_from_camera, focal, jnp.full_like(focal, 0.5))


def orbit(azimuth: Scalar, elevation: Scalar, distance: Scalar, fov: Scalar, *, aspect: float = 1.0) -> Camera:
    """The camera at distance * (cos el cos az, cos el sin az, sin el) that looks at the origin, z up.

    Any batch shape; arguments broadcast. Exact at the poles too, where the azimuth says which way is up.
    """
    azimuth, elevation, distance, fov = jnp.broadcast_arrays(
        *(jnp.asarray(value, jnp.result_type(float)) for value in (azimuth, elevation, distance, fov))
    )
    sin_a, cos_a, sin_e, cos_e = jnp.sin(azimuth), jnp.cos(azimuth), jnp.sin(elevation), jnp.cos(elevation)
    outward = jnp.stack([cos_e * cos_a, cos_e * sin_a, sin_e], axis=-1)
    right = jnp.stack([-sin_a, cos_a, jnp.zeros_like(sin_a)], axis=-1)
    rotation = jnp.stack([right, jnp.cross(-outward, right), -outward], axis=-1)
    return pinhole(linalg.pose(rotation, distance[..., None] * outward), fov, aspect=aspect)


def rays(camera: Camera, height: int, width: int) -> Rays:
    """The rays through all pixel centres: origins and unit directions [..., height, width, 3]."""
    u = (jnp.arange(width, dtype=camera.focal.dtype) + 0.5) / width
    v = (jnp.arange(height, dtype=camera.focal.dtype) + 0.5) / height
    image = jnp.stack(jnp.meshgrid(u, v, indexing="xy"), axis=-1)
    focal, centre = camera.focal[..., None, None, :], camera.centre[..., None, None, :]
    plane = (image - centre) / focal
    toward = jnp.concatenate([plane, jnp.ones_like(plane[..., :1])], axis=-1)
    directions = jnp.einsum("...ij,...hwj->...hwi", camera.world_from_camera[..., :3, :3], linalg.normalize(toward))
    return Rays(jnp.broadcast_to(camera.position[..., None, None, :], directions.shape), directions)


def through(camera: Camera, image: Float[Array, "... 2"]) -> Rays:
    """The ray of each camera [...] through its own point (u, v) of the image: origins and unit directions [..., 3]."""
    plane = (image - camera.centre) / camera.focal
    toward = linalg.normalize(jnp.concatenate([plane, jnp.ones_like(plane[..., :1])], axis=-1))
    return Rays(camera.position, jnp.einsum("...ij,...j->...i", camera.world_from_camera[..., :3, :3], toward))


def project(camera: Camera, points: Float[Array, "... n 3"]) -> tuple[Float[Array, "... n 2"], Float[Array, "... n"]]:
    """Image coordinates (u, v) in [0, 1] and depth along the camera's z axis of n world points for each camera.

    A point behind the camera has a negative depth; its (u, v) mean nothing.
    """
    camera_from_world = linalg.invert_pose(camera.world_from_camera)
    local = jnp.einsum("...ij,...nj->...ni", camera_from_world[..., :3, :3], points)
    local = local + camera_from_world[..., None, :3, 3]
    depth = local[..., 2]
    plane = local[..., :2] / jnp.where(depth == 0, 1.0, depth)[..., None]
    return plane * camera.focal[..., None, :] + camera.centre[..., None, :], depth


def each(look: Callable[[Camera], Any], camera: Camera) -> Any:
    """What `look` gives for one camera, or for each of a batch [n], one after the other."""
    return look(camera) if camera.focal.ndim == 1 else jax.lax.map(look, camera)


def from_opengl(world_from_camera: Float[Array, "... 4 4"]) -> Float[Array, "... 4 4"]:
    """A pose with OpenGL or Blender camera axes (x right, y up, z backward) as one with ours."""
    return world_from_camera * jnp.array([1.0, -1.0, -1.0, 1.0], world_from_camera.dtype)


to_opengl = from_opengl
"""A pose with our camera axes as one with OpenGL's: the flip of two axes is its own inverse."""


def from_nerf_synthetic(
    transform_matrix: Float[Array, "... 4 4"], camera_angle_x: Scalar, *, aspect: float = 1.0
) -> Camera:
    """The camera of a frame of transforms_*.json; camera_angle_x is the horizontal field of view in radians."""
    fov = 2 * jnp.arctan(jnp.tan(0.5 * jnp.asarray(camera_angle_x)) / aspect)
    return pinhole(from_opengl(transform_matrix), fov, aspect=aspect)


def from_threestudio(
    elevation_deg: Scalar, azimuth_deg: Scalar, camera_distance: Scalar, fovy_deg: Scalar, *, aspect: float = 1.0
) -> Camera:
    """The camera of threestudio's four numbers, which are our orbit in degrees, elevation before azimuth."""
    azimuth, elevation, fov = (jnp.deg2rad(jnp.asarray(angle)) for angle in (azimuth_deg, elevation_deg, fovy_deg))
    return orbit(azimuth, elevation, camera_distance, fov, aspect=aspect)
