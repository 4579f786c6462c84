"""Validity of meshes whose faults are known."""

import numpy as np
import pytest
import trimesh

from jax3d.math.validity import validity
from jax3d.types import Mesh

BOX = Mesh(*(np.asarray(array) for array in (trimesh.creation.box().vertices, trimesh.creation.box().faces)))


def joined(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def moved(shift: list[float]) -> Mesh:
    return BOX._replace(vertices=BOX.vertices + shift)


def test_a_box_is_valid():
    assert validity(BOX) == (True, True, 1) and validity(BOX).valid
    ball = trimesh.creation.icosphere(subdivisions=2)
    assert validity(Mesh(ball.vertices.astype(np.float32) + 100, ball.faces)).valid


def test_seams_and_collapsed_triangles_are_no_faults():
    corners = BOX.vertices[BOX.faces].reshape(-1, 3)
    corners[corners == 0] = -0.0
    soup = Mesh(corners, np.arange(len(corners)).reshape(-1, 3))
    assert validity(soup).valid
    assert validity(BOX._replace(faces=np.concatenate([BOX.faces, [[0, 0, 1]]]))).valid


def test_faults_are_found():
    assert validity(BOX._replace(faces=BOX.faces[1:])) == (False, True, 1)  # a hole
    flipped = BOX.faces.copy()
    flipped[3] = flipped[3, ::-1]
    assert validity(BOX._replace(faces=flipped)) == (True, False, 1)
    assert validity(BOX._replace(faces=BOX.faces[:, ::-1])) == (True, False, 1)  # inside out
    assert validity(joined(BOX, moved([3, 0, 0]))) == (True, True, 2)


def test_solids_that_touch():
    assert validity(joined(BOX, moved([1, 1, 1]))) == (True, True, 2)  # in a corner
    assert validity(joined(BOX, moved([1, 1, 0]))) == (False, False, 1)  # in an edge, which has four faces then


def test_a_mesh_without_triangles_is_refused():
    with pytest.raises(ValueError, match="none of 1 is"):
        validity(Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]])))
