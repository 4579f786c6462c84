"""Remeshing: closed stays closed and of its genus, edges become even, and the surface stays where it was."""

import numpy as np
import pytest
import trimesh
from scipy.spatial import KDTree

from jax3d.math.remesh import remesh
from jax3d.math.triangles import points_on
from jax3d.types import Mesh


def as_mesh(body):
    return Mesh(np.float32(body.vertices), np.int32(body.faces))


def lengths(mesh):
    return np.linalg.norm(np.diff(mesh.vertices[np.roll(mesh.faces, 1, axis=1)[:, :2]], axis=1)[:, 0], axis=-1)


def angles(mesh):
    return np.degrees(trimesh.Trimesh(*mesh[:2], process=False).face_angles.min(axis=1))


def gap(a, b, count=20000):
    """The farthest of many points of either surface from the points of the other."""
    clouds = [points_on(mesh, count, np.random.default_rng(k)).positions for k, mesh in enumerate((a, b))]
    return max(KDTree(one).query(other)[0].max() for one, other in (clouds, clouds[::-1]))


BALL = as_mesh(trimesh.creation.icosphere(3))
SHAPES = {
    "ball": trimesh.creation.icosphere(3),
    "torus": trimesh.creation.torus(0.7, 0.3, major_sections=48, minor_sections=10),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("length", [0.05, 0.1, 0.15])
def test_the_surface_stays_closed_of_its_genus_and_in_place_with_edges_of_one_length(name, length):
    body = SHAPES[name]
    mesh = as_mesh(trimesh.Trimesh(body.vertices * [1.0, 1.3, 0.8], body.faces, process=False))
    made = remesh(mesh, length)
    after = trimesh.Trimesh(*made[:2], process=False)
    assert after.is_watertight and after.is_winding_consistent and after.volume > 0
    assert after.euler_number == body.euler_number and len(np.unique(made.faces)) == len(made.vertices)
    assert lengths(made).mean() == pytest.approx(length, rel=0.15) and lengths(made).std() < 0.25 * length
    assert angles(made).min() > 15 and np.median(angles(made)) > 42
    noise = gap(mesh, mesh)
    assert gap(mesh, made) < noise + 0.25 * length**2 / 0.24 + 0.01  # a chord's height at the tightest bend
    assert after.volume == pytest.approx(trimesh.Trimesh(*mesh[:2]).volume, rel=0.03)


def test_borders_stay():
    line = np.linspace(-1, 1, 7)
    grid = np.stack([*np.meshgrid(line, line), np.zeros((7, 7))], axis=-1).reshape(-1, 3)
    corner = (7 * np.arange(6)[:, None] + np.arange(6)).reshape(-1)
    faces = np.concatenate([corner[:, None] + [0, 1, 7], corner[:, None] + [1, 8, 7]])
    made = remesh(Mesh(np.float32(grid), np.int32(faces)), 0.3)
    after = trimesh.Trimesh(*made[:2], process=False)
    assert after.area == pytest.approx(4, rel=1e-5) and after.euler_number == 1
    np.testing.assert_array_equal(made.vertices[:, 2], 0)


def test_what_is_no_manifold_comes_out_whole():
    vertices = np.float32(BALL.vertices)
    fins = np.int32([[*BALL.faces[k, :2], BALL.faces[k + 9, 0]] for k in range(0, 900, 90)])
    mesh = Mesh(vertices, np.concatenate([BALL.faces, fins, BALL.faces[:5]]))
    made = remesh(mesh, 0.1)
    assert np.isfinite(made.vertices).all() and made.faces.max() < len(made.vertices) and len(made.faces) > 1000


def test_lengths_are_positive_and_the_mean_by_default():
    made = remesh(BALL, rounds=2)
    assert lengths(made).mean() == pytest.approx(lengths(BALL).mean(), rel=0.1)
    with pytest.raises(ValueError, match="above 0, got -1"):
        remesh(BALL, -1.0)
