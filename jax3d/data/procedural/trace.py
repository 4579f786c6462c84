"""Pictures of procedural objects by sphere tracing, with soft edges (Hart 1996; the closest approach as coverage).

Let q(t) = d(o + t v) / (t pixel) be the distance along the ray in pixels. The ray is traced to the surface sunk by half
a pixel, q = -1/2, and its opacity is 1/2 - min q clamped to [0, 1]: 1/2 on the outline, 1 half a pixel within. Colour,
depth and normal are those where the ray enters the surface, or else comes closest. Light comes from the world, never
from the camera, so shading is a function of the normal alone, and the pictures of an object from all sides agree.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.data.procedural.parts import RADIUS
from jax3d.data.procedural.solid import Object, albedo, union, used
from jax3d.math.camera import Camera, rays
from jax3d.types import Render

LIGHT = (0.50, 0.35, 0.79)
"""Towards the light: above, in front and to the object's left."""


def shade(normal: Float[Array, "... 3"]) -> Float[Array, "..."]:
    """The share of the albedo that a surface shows, 0.55 in the dark to 1 in the light."""
    facing = jnp.tensordot(normal, jnp.array(LIGHT, normal.dtype), axes=1)
    return 0.55 + 0.45 * jnp.clip(0.55 + 0.5 * facing, 0.0, 1.0)


def render(
    obj: Object,
    camera: Camera,
    height: int,
    width: int,
    background: Float[Array, "#h #w 3"] | None = None,
    *,
    counts: tuple[Array, ...] | None = None,
) -> Render:
    """One object seen by one camera; over nothing, premultiplied, or over a background.

    `counts` (see `solid.used`) saves the work on slots that no object of a batch uses.
    """
    ray = rays(camera, height, width)
    origin, direction = camera.position, jnp.moveaxis(ray.directions, -1, 0)
    pixel = 1 / (camera.focal[1] * height)
    closest, at = _trace(obj, origin, direction, pixel, counts)
    opacity = jnp.clip(0.5 - closest, 0.0, 1.0)
    point = tuple(origin[k] + at * direction[k] for k in range(3))
    normal = _normal(obj, point, counts)
    color = albedo(obj, jnp.stack(point, axis=-1), 0.25 * pixel * at, counts) * shade(normal)[..., None]
    seen = opacity > 0
    rgb = jnp.where(seen[..., None], color * opacity[..., None], 0.0)
    if background is not None:
        rgb = rgb + background * (1 - opacity[..., None])
    normal = jnp.where(seen[..., None], normal * opacity[..., None], 0.0)
    return Render(rgb, opacity, jnp.where(seen, at, 0.0), normal)


@partial(jax.jit, static_argnames="size")
def render_batch(objects: Object, cameras: Camera, size: int) -> Render:
    """Square pictures of a batch of objects, one camera each; fastest where all objects are of one category."""
    one = partial(render, height=size, width=size, counts=used(objects))
    return jax.vmap(lambda obj, camera: one(obj, camera))(objects, cameras)


def _trace(obj: Object, origin: Array, direction: Array, pixel: Array, counts) -> tuple[Array, Array]:
    """Of the rays [3] + t [3, h, w]: the closest approach in pixels, and t of the entry or else of the approach."""
    middle = -sum(origin[k] * direction[k] for k in range(3))
    reach = RADIUS + 2 * pixel * middle
    inside = reach**2 - (jnp.sum(origin**2) - middle**2)
    half = jnp.sqrt(jnp.maximum(inside, 0.0))
    start, end = jnp.maximum(middle - half, 0.0), middle + half

    def step(_, state):
        t, closest, at, enter, moved, before = state
        here = union(obj, *(origin[k] + t * direction[k] for k in range(3)), counts)
        width = pixel * t
        apart = here / width
        better = (apart < closest) & (t <= end)
        closest, at = jnp.where(better, apart, closest), jnp.where(better, t, at)
        crossing = t + moved * here / jnp.maximum(before - here, 1e-9)
        enter = jnp.where((here <= 0) & (enter < 0), crossing, enter)
        # half a pixel deeper than the surface is the goal, and half a pixel the least step: grazing rays must get on
        moved = jnp.where(closest <= -0.5, 0.0, jnp.maximum(here + 0.5 * width, 0.5 * width))
        return t + moved, closest, at, enter, moved, here

    none = jnp.zeros_like(start)
    state = (start, none + 10.0, start, none - 1.0, none, none)
    _, closest, at, enter, *_ = jax.lax.fori_loop(0, 24 + direction.shape[1] // 8, step, state)
    return jnp.where(inside > 0, closest, 10.0), jnp.where(enter < 0, at, enter)


def _normal(obj: Object, point: tuple[Array, Array, Array], counts, step: float = 2e-3) -> Array:
    """Gradient of the distance by differences over the corners of a tetrahedron."""
    corners = jnp.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], point[0].dtype)

    def add(i, gradient):
        value = union(obj, *(x + step * corners[i, k] for k, x in enumerate(point)), counts)
        return tuple(g + value * corners[i, k] for k, g in enumerate(gradient))

    gradient = jnp.stack(jax.lax.fori_loop(0, 4, add, (jnp.zeros_like(point[0]),) * 3), axis=-1)
    return gradient / jnp.maximum(jnp.linalg.norm(gradient, axis=-1, keepdims=True), 1e-12)
