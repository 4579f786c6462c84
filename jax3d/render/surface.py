"""A triangle mesh with colours in space to what cameras see: rasterise, colour, shade, smooth the outlines.

The picture is differentiable in the vertices (outlines by `antialias`, what lies between by the points that pixels
see), in the colours and in the light. Faces for which the rasteriser had no room are missing: see extras["demand"].
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jax3d.math import linalg
from jax3d.math.camera import Camera
from jax3d.math.fairing import vertex_normals
from jax3d.render.antialias import Edges, antialias
from jax3d.render.raster import interpolate, rasterise
from jax3d.render.shade import Light, shade
from jax3d.types import Render


def render_mesh(
    vertices: Float[Array, "v 3"],
    faces: Int[Array, "f 3"],
    outline: Edges,
    camera: Camera,
    color: Callable[[Float[Array, "n 3"]], Float[Array, "n 3"]],
    *,
    height: int,
    width: int,
    light: Light | None = None,
) -> Render:
    """What one camera or a batch of cameras [...] sees, one after the other; `light` has their shape in its leaves.

    `color` gives the albedo at points in space. extras["demand"] has for "spans", "fragments" and "crossings" the room
    that was wanted over the room there was, [...]: above 1, something is missing.
    """
    normals = vertex_normals(vertices, faces)

    def one(look: tuple[Camera, Light | None]) -> Render:
        camera, light = look
        seen = rasterise(vertices, faces, camera, height=height, width=width)
        here = interpolate(jnp.concatenate([vertices, normals], axis=-1), faces, seen)
        points, normal = here[..., :3], linalg.normalize(here[..., 3:], eps=1e-6)
        rgb = color(points.reshape(-1, 3)).reshape(points.shape)
        rgb = rgb if light is None else shade(rgb, normal, points, light)
        hit = (seen.face >= 0).astype(rgb.dtype)[..., None]
        layers = hit * jnp.concatenate([rgb, hit, seen.depth[..., None], normal], axis=-1)
        layers, crossings = antialias(layers, seen, vertices, outline, camera)
        demand = {"spans": seen.demand[0], "fragments": seen.demand[1], "crossings": crossings}
        return Render(layers[..., :3], layers[..., 3], layers[..., 4], layers[..., 5:], {"demand": demand})

    batch = camera.focal.shape[:-1]
    if not batch:
        return one((camera, light))
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(batch) :]), (camera, light))
    return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), jax.lax.map(one, flat))
