"""Colours of a surface from pictures of it: of each point the mean of what the cameras see there.

A camera counts with the square of the cosine between the surface's normal and the way to it, where the surface is not
farther in its picture than the point is near (`HIDDEN`); where nobody sees a point, all cameras in front of it count.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.math import linalg
from jax3d.math.camera import Camera, project
from jax3d.render.texture import bilinear

HIDDEN = 0.03
"""World units between a point and the surface before it, from which on it is hidden."""
UNSEEN = 1e-4


class Views(NamedTuple):
    """Pictures of a surface."""

    camera: Camera  # [v]
    image: Array  # [v, h, w, 3]
    depth: Array  # [v, h, w] distance of the surface along the rays; 0 where there is none


def from_views(views: Views) -> Callable[[Float[Array, "n 3"], Float[Array, "n 3"]], Float[Array, "n 3"]]:
    """(points of the surface, unit normals) -> colours."""

    def colors(points: Array, normals: Array) -> Array:
        def add(total: tuple[Array, Array], view: Views) -> tuple[tuple[Array, Array], None]:
            image, _ = project(view.camera, points)
            toward = view.camera.position - points
            distance = linalg.safe_norm(toward)
            facing = jnp.maximum(linalg.dot(normals, toward) / distance, 0.0) ** 2
            size = jnp.array(view.depth.shape[::-1])
            place = jnp.clip((image * size).astype(jnp.int32), 0, size - 1)
            hidden = distance > view.depth[place[:, 1], place[:, 0]] + HIDDEN
            weight = (facing * jnp.where(hidden, UNSEEN, 1.0) + UNSEEN**2)[:, None]
            sums, weights = total
            seen = bilinear(view.image, jnp.stack([image[:, 0], 1 - image[:, 1]], axis=-1))  # v upwards
            return (sums + weight * seen, weights + weight), None

        none = jnp.zeros_like(points), jnp.zeros_like(points[:, :1])
        sums, weights = jax.lax.scan(add, none, views)[0]
        return sums / weights

    return colors
