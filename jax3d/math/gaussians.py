"""Gaussians in space and the ellipses that a camera sees of them (EWA: Zwicker et al. 2001; arXiv 2308.04079).

A Gaussian with the mean m, the rotation R of a unit quaternion and deviations s along its own axes has the covariance
(R s)(R s)'. With W the rotation of camera_from_world, X = (x, y, z) the mean in the camera's axes and f in pixels,

    J = [[f_x / z, 0, -f_x x / z^2], [0, f_y / z, -f_y y / z^2]],     cov = (J W R s)(J W R s)' + blur I

is that of its picture, in which x / z and y / z count as at most MARGIN of an image outside the image: beyond that the
linear J would smear. blur is 0.3 pixels^2, a filter one pixel wide, as in the reference implementation.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.math import linalg
from jax3d.math.camera import Camera

BLUR = 0.3
MARGIN = 0.15


class Ellipses(NamedTuple):
    """Gaussians in pixels: exp(-(conic_0 dx^2 + conic_2 dy^2) / 2 - conic_1 dx dy) around their centres."""

    centre: Array  # [n, 2] pixel coordinates; the first pixel's centre is at 0.5
    conic: Array  # [n, 3] xx, xy and yy of the inverse of the covariance
    depth: Array  # [n] along the camera's axis
    seen: Array  # [n] bool, whether they lie in front of the camera and have an inverse


def rotations(quaternions: Float[Array, "... 4"]) -> Float[Array, "... 3 3"]:
    """The matrices of quaternions w, x, y, z of any length."""
    w, x, y, z = jnp.moveaxis(linalg.normalize(quaternions), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def project(
    positions: Float[Array, "n 3"],
    axes: Float[Array, "n 3 3"],
    camera: Camera,
    height: int,
    width: int,
    *,
    near: float,
    blur: float = BLUR,
) -> Ellipses:
    """What one camera sees of Gaussians whose own axes, each as long as its deviation, are the columns of `axes`."""
    camera_from_world = linalg.invert_pose(camera.world_from_camera)
    turn = lambda vectors: _columns(camera_from_world[:3, :3], vectors)  # noqa: E731
    x, y, z = (part + shift for part, shift in zip(turn(positions.T), camera_from_world[:3, 3], strict=True))
    front = z > near
    inverse = 1 / jnp.where(front, z, 1.0)
    (focal_x, focal_y), (centre_x, centre_y) = camera.focal, camera.centre
    u, v = x * inverse * focal_x + centre_x, y * inverse * focal_y + centre_y
    low, high = -MARGIN, 1 + MARGIN
    tilt_x, tilt_y = (jnp.clip(u, low, high) - centre_x) / focal_x, (jnp.clip(v, low, high) - centre_y) / focal_y
    X, Y, Z = turn(jnp.moveaxis(axes, 1, 0).reshape(3, -1))
    X, Y, Z = (part.reshape(-1, 3) for part in (X, Y, Z))
    across = (focal_x * width * inverse)[:, None] * (X - tilt_x[:, None] * Z)
    down = (focal_y * height * inverse)[:, None] * (Y - tilt_y[:, None] * Z)
    xx, yy = linalg.dot(across, across) + blur, linalg.dot(down, down) + blur
    xy = linalg.dot(across, down)
    # As a sum of squares, which cannot cancel: |a x d|^2 of the two rows, and what the blur adds.
    normal = jnp.cross(across, down)
    determinant = linalg.dot(normal, normal) + blur * (xx + yy - blur)
    seen = front & (determinant > 0) & jnp.isfinite(determinant)
    conic = jnp.stack([yy, -xy, xx], axis=-1) / jnp.where(seen, determinant, 1.0)[:, None]
    return Ellipses(jnp.stack([u * width, v * height], axis=-1), conic, z, seen)


def _columns(matrix: Array, vectors: Array) -> list[Array]:
    """The three rows [n] of a rotation times vectors [3, n], without a product of matrices of low precision."""
    return [sum(matrix[i, j] * vectors[j] for j in range(3)) for i in range(3)]
