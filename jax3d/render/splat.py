"""Gaussians to pictures: 3D Gaussian splatting (Kerbl et al., arXiv 2308.04079) in arrays of fixed size.

ellipses of the camera (math/gaussians)  ->  lists of the tiles (render/tiles)  ->  blending (render/blend)

out = draw(splats, camera, height=256, width=256)
out.extras["demand"]        above 1 there was no room for the farthest Gaussians: give more `pairs`
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.math import gaussians, linalg
from jax3d.math.camera import Camera
from jax3d.math.encoding import spherical_harmonics
from jax3d.render.blend import Plan, Rows, blend, blend_plainly
from jax3d.render.tiles import TILE, tile_lists
from jax3d.types import Render, Splats

LEAST, STOP = 1 / 255, 1e-4
NEAR = 0.1


def draw(
    splats: Splats,
    camera: Camera,
    *,
    height: int,
    width: int,
    pairs: int | None = None,
    normals: bool = False,
    shift: Float[Array, "n 2"] | None = None,
    near: float = NEAR,
    least: float = LEAST,
    stop: float = STOP,
    plainly: bool = False,
) -> Render:
    """What one camera sees; for several, `lax.map` over the camera. Differentiable in all arrays.

    `pairs` of a tile of 16 x 16 pixels and a Gaussian are what there is room for; None chooses. `shift` moves the
    ellipses, in widths and heights of the image: its gradient is what densification goes by. Gaussians nearer than
    `near` are left out, as are alphas below `least`; a tile ends where less than `stop` passes all of its pixels.
    `normals` asks for the normals, of the shortest axes. `plainly` blends by the definition, all with all.
    extras: `demand`, the pairs wanted over the room there was; `seen` [n], whether a Gaussian may be in the picture.
    """
    if height < 1 or width < 1 or near <= 0:
        raise ValueError(f"an image has pixels and near > 0, got {height} x {width} and near={near}; try near=0.1.")
    turned = gaussians.rotations(splats.rotations)
    ellipses = gaussians.project(splats.positions, turned * splats.scales[:, None, :], camera, height, width, near=near)
    toward = splats.positions - camera.position
    depth = linalg.safe_norm(toward)
    features = [_colors(splats.harmonics, toward), jnp.ones_like(depth)[:, None], depth[:, None]]
    if normals:
        features.append(_normals(turned, splats.scales, toward))
    centre = ellipses.centre
    if shift is not None:
        centre = centre + shift * jnp.array([width, height], centre.dtype)
    opacity = jnp.where(ellipses.seen, splats.opacities, 0.0)
    order = jnp.argsort(jnp.where(ellipses.seen, ellipses.depth, jnp.inf))
    rows = Rows(centre, ellipses.conic, opacity, jnp.concatenate(features, axis=-1))
    # Without the barrier XLA computes all of this once more for each of the gathers in the loops over the tiles.
    rows = jax.lax.optimization_barrier(jax.tree.map(lambda leaf: leaf[order], rows))
    plan = Plan(height, width, least, stop)
    level = 2 * jnp.log(jnp.maximum(rows.opacity, 1e-30) / max(least, 1e-30))
    still = jax.lax.stop_gradient((rows.centre, rows.conic, level))
    lists = tile_lists(*still, height, width, room(len(opacity), height, width, pairs))
    image = blend_plainly(rows, plan) if plainly else blend(rows, lists, plan)
    normal = image[..., 5:] if normals else jnp.zeros((height, width, 3), image.dtype)
    inside = jnp.all((centre > -TILE) & (centre < jnp.array([width, height]) + TILE), axis=-1)
    extras = {"demand": lists.demand, "seen": inside & (opacity > least)}
    return Render(image[..., :3], image[..., 3], image[..., 4], normal, extras)


def room(count: int, height: int, width: int, pairs: int | None = None) -> int:
    """The room for pairs as a multiple of 32; None chooses 8 a Gaussian and 256 a tile."""
    tiles = math.ceil(height / TILE) * math.ceil(width / TILE)
    pairs = 8 * count + 256 * tiles if pairs is None else pairs
    if pairs < 1:
        raise ValueError(f"there must be room for pairs of tiles and Gaussians, got {pairs}; None chooses.")
    return -(-pairs // 32) * 32


def _colors(harmonics: Float[Array, "n k 3"], toward: Float[Array, "n 3"]) -> Float[Array, "n 3"]:
    """Colours as seen along some directions, not below 0."""
    degree = math.isqrt(harmonics.shape[1]) - 1
    basis = spherical_harmonics(linalg.normalize(toward), degree)
    return jnp.maximum(0.5 + jnp.sum(harmonics * basis[..., None], axis=1), 0.0)


def _normals(turned: Float[Array, "n 3 3"], scales: Float[Array, "n 3"], toward: Float[Array, "n 3"]) -> Array:
    """The directions of the shortest axes, toward the camera."""
    shortest = jnp.argmin(scales, axis=-1)
    axis = jnp.take_along_axis(turned, shortest[:, None, None], axis=2)[..., 0]
    return jnp.where(linalg.dot(axis, toward, keepdims=True) > 0, -axis, axis)
