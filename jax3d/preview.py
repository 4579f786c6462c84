"""Pictures of finished assets, meshes and point clouds alike: what a contact sheet shows and a judge looks at."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jax3d.data.procedural.trace import shade
from jax3d.io.image import contact_sheet
from jax3d.math import linalg
from jax3d.math.camera import Camera
from jax3d.math.fairing import vertex_normals
from jax3d.math.orbit import turntable
from jax3d.render.points import draw_points
from jax3d.render.raster import interpolate, rasterise
from jax3d.render.shade import composite
from jax3d.render.texture import pyramid, textured
from jax3d.types import Mesh, Points

PLAIN = 0.8
"""Share of the colour that is seen where no normal says how the light falls."""
GREY = 0.7
"""The colour of what has none."""
FINER = 2


def preview(shapes: Sequence[Mesh | Points], size: int = 128, columns: int = 8) -> np.ndarray:
    """A contact sheet, each shape once, from the front left."""
    camera = jax.tree.map(lambda leaf: leaf[0], turntable(1, start=35.0, elevation=20.0))
    return contact_sheet(np.stack([picture(shape, camera, size) for shape in shapes]), columns)


def picture(shape: Mesh | Points, camera: Camera, size: int) -> np.ndarray:
    """[size, size, 3] of an asset over white, shaded like the procedural world."""
    return _mesh_picture(shape, camera, size) if isinstance(shape, Mesh) else _points_picture(shape, camera, size)


def _points_picture(shape: Points, camera: Camera, size: int) -> np.ndarray:
    colors = np.full_like(shape.positions, GREY) if shape.colors is None else shape.colors
    light = PLAIN if shape.normals is None else np.asarray(shade(jnp.asarray(shape.normals)))[:, None]
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


def _mesh_picture(mesh: Mesh, camera: Camera, size: int) -> np.ndarray:
    colors, normals = np.full_like(mesh.vertices, GREY) if mesh.colors is None else mesh.colors, None
    if mesh.texture is not None:  # vertices are split where charts meet, and so would computed normals be
        colors, normals = mesh.uv, mesh.normals
    rows = [
        None if values is None else _padded(values.astype(np.float32)) for values in (mesh.vertices, colors, normals)
    ]
    texture = None if mesh.texture is None else mesh.texture.astype(np.float32)
    return np.asarray(_rasterised(*rows, _padded(mesh.faces), texture, camera, size=size))


def _padded(rows: np.ndarray) -> np.ndarray:
    """With zeros up to a power of two, so that meshes of all sizes share a few compilations; face [0, 0, 0] is none."""
    return np.pad(rows, ((0, max(2 ** (len(rows) - 1).bit_length(), 1024) - len(rows)), (0, 0)))


@functools.partial(jax.jit, static_argnames="size")
def _rasterised(
    vertices: Array,
    colors: Array,
    normals: Array | None,
    faces: Array,
    texture: Array | None,
    camera: Camera,
    *,
    size: int,
) -> Array:
    """FINER^2 samples a pixel; with a texture `colors` are (u, v)."""
    edge = FINER * size
    seen = rasterise(vertices, faces, camera, height=edge, width=edge)
    normals = vertex_normals(vertices, faces) if normals is None else normals
    if texture is None:
        color = interpolate(colors, faces, seen)
    else:
        color = textured(pyramid(texture), colors, faces, seen, vertices, faces, camera)
    lit = color * shade(linalg.normalize(interpolate(normals, faces, seen), eps=1e-6))[..., None]
    image = jnp.where((seen.face >= 0)[..., None], jnp.clip(lit, 0.0, 1.0), 1.0)
    return image.reshape(size, FINER, size, FINER, 3).mean((1, 3))
