"""The border between our axes and Blender's."""

import jax.numpy as jnp
import numpy as np

from jax3d.math.axes import from_blender, to_blender


def test_front_left_and_up_are_those_of_the_other_world():
    ours = np.eye(3)  # front, left, up
    theirs = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(to_blender(ours), theirs)
    np.testing.assert_array_equal(from_blender(theirs), ours)


def test_it_is_a_turn_and_its_inverse():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2, 3)))
    np.testing.assert_array_equal(from_blender(to_blender(x)), x)
    assert np.linalg.det(np.asarray(to_blender(jnp.eye(3)))) == 1


def test_a_glb_comes_out_as_blender_imports_it(tmp_path):
    """(x, y, z) of a glTF file are (x, -z, y) in Blender."""
    import trimesh

    from jax3d.io.mesh import save_mesh
    from jax3d.types import Mesh

    corners = np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32)
    save_mesh(Mesh(corners, np.array([[0, 1, 2]], np.int32)), tmp_path / "one.glb")
    (found,) = trimesh.load_scene(tmp_path / "one.glb", process=False).geometry.values()
    x, y, z = found.vertices.T
    np.testing.assert_allclose(to_blender(corners), np.stack([x, -z, y], -1), atol=1e-6)
