"""Pictures of finished assets, meshes and point clouds alike: what a contact sheet shows and a judge looks at."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jax3d.io.image import contact_sheet
from jax3d.math.camera import Camera
from jax3d.math.orbit import turntable
from jax3d.math.triangles import draw
from jax3d.render.points import draw_points
from jax3d.render.shade import composite
from jax3d.types import Mesh, Points

SUN = np.array([0.50, 0.35, 0.79])
"""Towards the light, as in the pictures of the procedural world."""


def preview(shapes: Sequence[Mesh | Points], size: int = 128, columns: int = 8) -> np.ndarray:
    """A contact sheet, each shape once, from the front left."""
    camera = jax.tree.map(lambda leaf: leaf[0], turntable(1, start=35.0, elevation=20.0))
    return contact_sheet(np.stack([picture(shape, camera, size) for shape in shapes]), columns)


def picture(shape: Mesh | Points, camera: Camera, size: int, points: int = 20000) -> np.ndarray:
    """[size, size, 3] of an asset over white; a mesh is drawn by points on it. Shaded where there are normals."""
    if isinstance(shape, Mesh):
        shape = _points_on(shape, points)
    colors = np.full_like(shape.positions, 0.7) if shape.colors is None else shape.colors
    light = 0.8 if shape.normals is None else 0.55 + 0.45 * np.clip(0.55 + 0.5 * shape.normals @ SUN, 0, 1)[:, None]
    radius = 1.6 / len(shape.positions) ** 0.5
    drawn = draw_points(
        jnp.asarray(shape.positions),
        jnp.asarray(colors * light),
        camera,
        size=size,
        radius=radius,
        normals=shape.normals,
    )
    return np.asarray(jnp.clip(composite(drawn.rgb, drawn.opacity, 1.0), 0.0, 1.0))


def _points_on(mesh: Mesh, count: int) -> Points:
    corners = mesh.vertices[mesh.faces]
    face, weights = draw(corners, count, np.random.default_rng(0))
    at = lambda values: np.einsum("nk,nkd->nd", weights, values[mesh.faces[face]]).astype(np.float32)  # noqa: E731
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[face]
    normals = cross / np.maximum(np.linalg.norm(cross, axis=-1, keepdims=True), 1e-12)
    return Points(at(mesh.vertices), None if mesh.colors is None else at(mesh.colors), normals.astype(np.float32))
