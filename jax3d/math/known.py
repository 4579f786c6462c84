"""Places whose signed distance to a solid is known, to teach a field with.

Half of them are nodes of a grid of distances over [-1, 1]^3, each the nearest to the surface of three drawn. Half lie
beside points of the surface, along their normals: there the distance is the way from the point, as long as that is
shorter than the solid is thick.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.types import Key

OF = 3  # nodes, of which the nearest to the surface is taken


def known_distances(
    points: Float[Array, "m 3"],
    normals: Float[Array, "m 3"],
    sdf: Float[Array, "r r r"],
    key: Key,
    *,
    count: int,
    reach: float,
) -> tuple[Float[Array, "n 3"], Float[Array, " n"]]:
    """`count` places and their distances, negative inside as `sdf`; `reach` is the farthest way along a normal."""
    k_node, k_near, k_way = jax.random.split(key, 3)
    half = count // 2
    node = jax.random.randint(k_node, (OF, half, 3), 0, sdf.shape[0])
    nearest = jnp.argmin(jnp.abs(sdf[tuple(jnp.moveaxis(node, -1, 0))]), axis=0)
    node = jnp.take_along_axis(node, nearest[None, :, None], axis=0)[0]
    rows = jax.random.randint(k_near, (count - half,), 0, len(points))
    way = jax.random.uniform(k_way, rows.shape, minval=-reach, maxval=reach)
    near = points[rows] + way[:, None] * normals[rows]
    places = jnp.concatenate([2 * node / (sdf.shape[0] - 1) - 1, near])
    return places, jnp.concatenate([sdf[tuple(node.T)].astype(jnp.float32), way])
