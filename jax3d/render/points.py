"""Pictures of oriented or plain points: each point a disc that faces the camera, the nearest disc of a pixel wins.

A disc of radius r at depth z covers the pixels within f r / z of its projection, f the focal length in pixels, and the
one where that is. Drawn at twice the size and averaged, so that outlines are soft. Not differentiable: a preview, and
what judges look at.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.math import linalg
from jax3d.math.camera import Camera, project
from jax3d.types import Render

FINER = 2


@partial(jax.jit, static_argnames=("size", "reach"))
def draw_points(
    positions: Float[Array, "n 3"],
    colors: Float[Array, "n 3"],
    camera: Camera,
    *,
    size: int,
    radius: Float[Array, ""] | float = 0.03,
    normals: Float[Array, "n 3"] | None = None,
    reach: int = 6,
) -> Render:
    """A square picture over nothing, premultiplied, of discs of a world `radius`; at most `reach` pixels wide there.

    With unit outward normals, discs that face away are left out, and `normal` is theirs.
    """
    side = FINER * size
    image, depth = project(camera, positions)
    where = image * side
    pixels = jnp.minimum(radius * camera.focal[1] * side / jnp.maximum(depth, 1e-6), reach)
    seen = depth > 0
    if normals is not None:
        seen &= jnp.sum(normals * (camera.position - positions), axis=-1) > 0
    offsets = jnp.arange(-reach, reach + 1)
    column, row = (offset.ravel() for offset in jnp.meshgrid(offsets, offsets))
    corner = jnp.floor(where).astype(jnp.int32)
    x, y = corner[:, :1] + column, corner[:, 1:] + row  # [n, k]
    away = (x + 0.5 - where[:, :1]) ** 2 + (y + 0.5 - where[:, 1:]) ** 2
    covered = (away <= pixels[:, None] ** 2) | ((column == 0) & (row == 0))
    covered &= seen[:, None] & (x >= 0) & (x < side) & (y >= 0) & (y < side)
    index = jnp.where(covered, y * side + x, side * side)
    z = jnp.broadcast_to(depth[:, None], index.shape)
    nearest = jnp.full(side * side + 1, jnp.inf).at[index].min(z)
    first = (
        jnp.full(side * side + 1, len(positions))
        .at[jnp.where(z <= nearest[index], index, side * side)]
        .min(jnp.broadcast_to(jnp.arange(len(positions))[:, None], index.shape))[:-1]
    )
    hit = (first < len(positions)) & jnp.isfinite(nearest[:-1])
    point = jnp.minimum(first, len(positions) - 1)
    distance = linalg.safe_norm(positions - camera.position)

    def picture(values: Array) -> Array:
        """Of one value [n, ...] a point, 0 where no disc is: averaged down to the size asked for."""
        fine = jnp.where(hit.reshape(-1, *(1,) * (values.ndim - 1)), values[point], 0.0)
        return fine.reshape(size, FINER, size, FINER, *values.shape[1:]).mean((1, 3))

    opacity = picture(jnp.ones(len(positions)))
    normal = jnp.zeros((size, size, 3)) if normals is None else picture(normals)
    return Render(picture(colors), opacity, picture(distance) / jnp.maximum(opacity, 1e-6), normal)
