"""The visual hull: of all solids with given silhouettes the largest (Laurentini, IEEE TPAMI 16(2), 1994).

    h(x) = min over pictures of alpha(u(x)),   u(x) where the picture's camera sees x

A place that a picture shows beside the object is not in it. No picture tells of dents that are in no outline.
"""

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float

from jax3d.math.camera import Camera, project


def visual_hull(alpha: Float[Array, "n h w"], camera: Camera, points: Float[Array, "m 3"]) -> Float[Array, " m"]:
    """h in [0, 1] at points, of pictures' opacities and their cameras [n]; pictures that miss a point count as 1."""
    height, width = alpha.shape[1:]

    def one(least: Array, view: tuple[Array, Camera]) -> tuple[Array, None]:
        opacity, camera = view
        place, depth = project(camera, points)
        seen = (depth > 0) & jnp.all((place >= 0) & (place <= 1), axis=-1)
        column, row = place[:, 0] * width - 0.5, place[:, 1] * height - 0.5
        shown = map_coordinates(opacity, (row, column), 1, mode="nearest")
        return jnp.minimum(least, jnp.where(seen, shown, 1.0)), None

    return jax.lax.scan(one, jnp.ones(len(points)), (alpha, camera))[0]
