"""Pictures of finished assets, meshes and point clouds alike: what a contact sheet shows and a judge looks at."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jax3d.data.procedural.trace import shade
from jax3d.io.image import contact_sheet
from jax3d.math.camera import Camera
from jax3d.math.orbit import turntable
from jax3d.math.triangles import points_on
from jax3d.render.points import draw_points
from jax3d.render.shade import composite
from jax3d.types import Mesh, Points

PLAIN = 0.8
"""Share of the colour that is seen where no normal says how the light falls."""


def preview(shapes: Sequence[Mesh | Points], size: int = 128, columns: int = 8) -> np.ndarray:
    """A contact sheet, each shape once, from the front left."""
    camera = jax.tree.map(lambda leaf: leaf[0], turntable(1, start=35.0, elevation=20.0))
    return contact_sheet(np.stack([picture(shape, camera, size) for shape in shapes]), columns)


def picture(shape: Mesh | Points, camera: Camera, size: int, points: int = 20000) -> np.ndarray:
    """[size, size, 3] of an asset over white; a mesh is drawn by points on it. Shaded like the procedural world."""
    if isinstance(shape, Mesh):
        shape = points_on(shape, points, np.random.default_rng(0))
    colors = np.full_like(shape.positions, 0.7) if shape.colors is None else shape.colors
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
