"""Points drawn evenly from triangles: on the host, or (`drawn`) under jit.

A triangle (a, b, c) is drawn with probability proportional to its area, a point in it by folding the unit square at its
diagonal: a + u (b - a) + v (c - a) with (u, v) replaced by (1 - u, 1 - v) where u + v > 1.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jax3d.math import linalg
from jax3d.types import Key, Mesh, Points


def draw(
    corners: Float[np.ndarray, "f 3 3"], count: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
    """The triangle of each of `count` points, uniform in area, and the weights of its three corners.

    Raises ValueError where no triangle has an area.
    """
    edges = corners[:, 1:].astype(np.float64) - corners[:, :1]
    area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=-1)
    if not area.sum() > 0:
        raise ValueError(f"a surface needs triangles with an area to draw points from, its {len(area)} have none.")
    face = rng.choice(len(area), count, p=area / area.sum())
    u, v = rng.random((2, count))
    u, v = np.where(u + v > 1, (1 - u, 1 - v), (u, v))
    return face, np.stack([1 - u - v, u, v], axis=-1)


def points_on(mesh: Mesh, count: int, rng: np.random.Generator) -> Points:
    """Points uniform in area on a mesh, with its texture's colours or else its corners', and normals, else its faces'.

    Raises ValueError for a mesh without area.
    """
    corners = mesh.vertices[mesh.faces]
    face, weights = draw(corners, count, rng)

    def blend(values: np.ndarray) -> np.ndarray:
        return np.einsum("nk,nkd->nd", weights, values[mesh.faces[face]]).astype(np.float32)

    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[face]
    normals = across if mesh.normals is None else blend(mesh.normals)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    normals = (normals / np.where(length > 0, length, 1)).astype(np.float32)
    colors = None if mesh.colors is None else blend(mesh.colors)
    if mesh.texture is not None:
        height, width = mesh.texture.shape[:2]
        u, v = np.clip(blend(mesh.uv), 0, 1 - 1e-6).T
        colors = mesh.texture[((1 - 1e-6 - v) * height).astype(int), (u * width).astype(int)]
    return Points(blend(mesh.vertices), colors, normals)


def drawn(vertices: Float[Array, "v 3"], faces: Int[Array, "f 3"], count: int, key: Key) -> Float[Array, "n 3"]:
    """Points uniform in area on a mesh, differentiable in the vertices: each stays at its place in its triangle."""
    k_face, k_place = jax.random.split(key)
    first, second, third = jnp.unstack(vertices[faces], axis=1)
    area = linalg.safe_norm(jax.lax.stop_gradient(jnp.cross(second - first, third - first)))
    total = jnp.cumsum(area)
    face = jnp.searchsorted(total, total[-1] * jax.random.uniform(k_face, (count,)), side="right")
    face = jnp.minimum(face, len(faces) - 1)  # by rounding at the end
    u, v = jax.random.uniform(k_place, (2, count, 1))
    u, v = jnp.where(u + v > 1, 1 - u, u), jnp.where(u + v > 1, 1 - v, v)
    return (1 - u - v) * first[face] + u * second[face] + v * third[face]
