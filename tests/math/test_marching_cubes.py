"""Marching cubes of single cubes and of noise: closed, outward, and cut as the published ones."""

import numpy as np
import pytest

from jax3d.math.marching_cubes import CUTS, march, polygons, table, triangulations


def volume(vertices, faces):
    first, second, third = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    return float(np.sum(first * np.cross(second, third)) / 6)


def test_each_case_has_a_vertex_for_each_cut_edge():
    for case in range(256):
        cut = {
            3 * i + axis
            for i in range(8)
            for axis in range(3)
            if not i >> axis & 1 and (case >> i & 1) != (case >> (i + (1 << axis)) & 1)
        }
        used = table()[case]
        assert set(used[used >= 0].tolist()) == cut
    assert len(CUTS) == sum(len(polygon) > 3 for case in range(1, 255) for polygon in polygons(case))


@pytest.mark.parametrize("corners, ways", [(3, 1), (4, 2), (5, 5), (6, 14), (7, 42)])
def test_polygons_are_cut_in_as_many_ways_as_catalan_counts(corners, ways):
    found = triangulations(0, corners - 1)
    assert len({tuple(sorted(way)) for way in found}) == ways
    assert {len(way) for way in found} == {corners - 2}


def test_noise_gives_a_closed_surface_and_a_ball_its_volume():
    noise = np.pad(np.random.RandomState(0).standard_normal((9, 8, 7)).astype(np.float32), 1, constant_values=-1)
    vertices, faces = march(noise)
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(sides, axis=0)) == len(sides)
    np.testing.assert_array_equal(np.unique(sides, axis=0), np.unique(sides[:, ::-1], axis=0))
    assert volume(vertices, faces) > 0
    grid = np.stack(np.meshgrid(*(np.arange(20, dtype=np.float32) - 9.5,) * 3, indexing="ij"), -1)
    assert volume(*march(7 - np.linalg.norm(grid, axis=-1))) == pytest.approx(4 / 3 * np.pi * 7**3, rel=0.02)


def test_vertices_lie_where_a_linear_field_is_0():
    x = np.arange(4, dtype=np.float32)
    field = 1.3 - x[:, None, None] + 0.25 * x[:, None] + 0 * x
    vertices, _ = march(field)
    np.testing.assert_allclose(1.3 - vertices[:, 0] + 0.25 * vertices[:, 1], 0, atol=1e-6)


@pytest.mark.parametrize("name", ["mesh", "mc_sphere", "mc_torus", "mc_noise"])
def test_meshes_are_the_published_ones(shared, name):
    """Vertex by vertex in their order, and triangle by triangle."""
    folder = shared / "golden" / "native" / "shap_e_tiny"
    z = np.load(folder / f"{name}.npz")
    field = z["out_field" if name == "mesh" else "in_field"]
    vertices, faces = march(field)
    np.testing.assert_allclose(2 * vertices / (len(field) - 1) - 1, z["out_verts"], atol=5e-7)
    turned = lambda f: np.unique([np.roll(t, -np.argmin(t)) for t in f], axis=0)  # noqa: E731
    np.testing.assert_array_equal(turned(faces), turned(z["out_faces"]))
