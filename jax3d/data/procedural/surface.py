"""The surface of a procedural object: a closed coloured mesh, and points drawn evenly from it.

Marching cubes (Lorensen & Cline 1987, scikit-image's) on the signed distance, then two Newton steps x - d(x) grad d(x)
that carry the vertices on to the true surface. Normals are gradients of the distance and point outwards.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from skimage.measure import marching_cubes

from jax3d.data.procedural.solid import Object, albedo, distance
from jax3d.math.triangles import draw
from jax3d.types import Mesh, Points

EXTENT = 0.95
CHUNK = 4096


def mesh(obj: Object, resolution: int = 96) -> Mesh:
    """A closed mesh of the object with vertex colours, from resolution^3 samples of its distance in [-0.95, 0.95]^3."""
    if resolution < 8:
        raise ValueError(f"a mesh needs a resolution of 8 or more, got {resolution}.")
    step = 2 * EXTENT / (resolution - 1)
    axis = jnp.linspace(-EXTENT, EXTENT, resolution)
    values = np.array(_on_grid(obj, axis))
    vertices, faces, _, _ = marching_cubes(values, 0.0, spacing=(step,) * 3, gradient_direction="descent")
    vertices = vertices.astype(np.float32) - np.float32(EXTENT)
    vertices, normals, colors = _settled(obj, vertices, 0.25 * step)
    return Mesh(vertices, faces.astype(np.int32), colors, normals)


def points(obj: Object, count: int, rng: np.random.Generator, *, resolution: int = 96) -> Points:
    """`count` points spread evenly over the surface, with colours and normals."""
    surface = mesh(obj, resolution)
    corners = surface.vertices[surface.faces]
    face, weights = draw(corners, count, rng)
    drawn = np.einsum("nk,nkd->nd", weights, corners[face]).astype(np.float32)
    positions, normals, colors = _settled(obj, drawn, 0.5 / resolution)
    return Points(positions, colors, normals)


@jax.jit
def _on_grid(obj: Object, axis: Float[Array, " n"]) -> Float[Array, "n n n"]:
    y, z = jnp.meshgrid(axis, axis, indexing="ij")
    return jax.lax.map(lambda x: distance(obj, jnp.stack([jnp.full_like(y, x), y, z], axis=-1)), axis)


def _settled(obj: Object, x: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points on the surface near x, at most `limit` away a step, with outward normals and colours."""
    chunks = np.resize(x, (-(-len(x) // CHUNK), CHUNK, 3))  # one shape, so that it compiles once
    results = [_newton(obj, chunk, limit) for chunk in chunks]
    return tuple(np.concatenate([np.asarray(r) for r in result])[: len(x)] for result in zip(*results, strict=True))


@jax.jit
def _newton(obj: Object, x: Float[Array, "n 3"], limit: Float[Array, ""] | float) -> tuple[Array, Array, Array]:
    def value_and_gradient(x):
        value, pullback = jax.vjp(partial(distance, obj), x)
        return value, pullback(jnp.ones_like(value))[0]

    def step(_, x):
        value, gradient = value_and_gradient(x)
        return x - jnp.clip(value, -limit, limit)[:, None] * gradient

    x = jax.lax.fori_loop(0, 2, step, x)
    _, gradient = value_and_gradient(x)
    normals = gradient / jnp.maximum(jnp.linalg.norm(gradient, axis=-1, keepdims=True), 1e-9)
    return x, normals, albedo(obj, x)
