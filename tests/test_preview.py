"""Pictures of finished meshes: with a texture it is that which is seen, and not the vertices' colours."""

import jax.numpy as jnp
import numpy as np

from jax3d.data.procedural.trace import shade
from jax3d.math.camera import orbit
from jax3d.preview import picture
from jax3d.types import Mesh

LIGHT = float(shade(jnp.array([1.0, 0.0, 0.0])))
CAMERA = orbit(0.0, 0.0, 3.0, 2 * np.arctan(0.5))  # on +x; at x = 0 the image is 3 wide, y right and z up
CORNERS = 1.2 * np.float32([[0, -1, -1], [0, 1, -1], [0, 1, 1], [0, -1, 1]])
WALL = Mesh(CORNERS, np.int32([[0, 1, 2], [0, 2, 3]]), colors=np.full((4, 3), 0.5), normals=np.float32([[1, 0, 0]] * 4))
UV = np.float32([[0, 0], [1, 0], [1, 1], [0, 1]])


def test_a_texture_is_seen_upright_and_lit():
    texture = np.zeros((8, 8, 3), np.float32)
    texture[:4, :4], texture[:4, 4:], texture[4:, :4] = [0.9, 0, 0], [0, 0.9, 0], [0, 0, 0.9]
    seen = picture(WALL._replace(uv=UV, texture=texture), CAMERA, 30)
    for (row, column), color in {
        (7, 7): [0.9, 0, 0],
        (7, 22): [0, 0.9, 0],
        (22, 7): [0, 0, 0.9],
        (22, 22): [0] * 3,
    }.items():
        np.testing.assert_allclose(seen[row, column], LIGHT * np.array(color), atol=1e-3)
    np.testing.assert_array_equal(seen[0], 1)
    np.testing.assert_allclose(picture(WALL, CAMERA, 30)[15, 15], 0.5 * LIGHT, atol=1e-3)


def test_fine_patterns_are_grey():
    board = np.repeat(np.indices((512, 512)).sum(0)[..., None] % 2, 3, axis=-1)
    seen = picture(WALL._replace(uv=UV, texture=board), CAMERA, 30)
    np.testing.assert_allclose(seen[5:25, 5:25], 0.5 * LIGHT, atol=0.01)
