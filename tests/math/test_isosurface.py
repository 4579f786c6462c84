"""The surface of a density on a grid: closed, without crumbs, at the level that is seen."""

import numpy as np
import pytest
import trimesh
from jax.tree_util import Partial
from scipy import ndimage

from jax3d.math import isosurface
from jax3d.types import Mesh


def solid(mesh):
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def sampled(function, resolution=40):
    line = np.linspace(-1, 1, resolution)
    return function(*np.meshgrid(line, line, line, indexing="ij")).astype(np.float32)


def test_matter_at_the_border_is_closed():
    for density in (sampled(lambda x, y, z: 30.0 * (z < 0.2)), sampled(lambda x, y, z: 20 + 5 * x)):
        body = solid(isosurface.extract(density, 1.0, threshold=15.0))
        assert body.is_watertight and body.volume > 0
        assert np.abs(body.vertices).max() < 1 + 2 / 39
    np.testing.assert_allclose(body.volume, 8.0, rtol=0.1)  # the second fills the cube


def test_crumbs_are_dropped_and_the_largest_part_stays():
    def two(x, y, z):
        large = 30.0 * (x**2 + y**2 + z**2 < 0.4)
        return np.maximum(large, 30.0 * ((x - 0.9) ** 2 + (y - 0.9) ** 2 + (z - 0.9) ** 2 < 0.006))

    density = sampled(two)
    both = solid(isosurface.extract(density, 1.0, threshold=15.0, keep=0.0))
    one = solid(isosurface.extract(density, 1.0, threshold=15.0))
    assert both.body_count == 2 and one.body_count == 1
    assert one.vertices.max() < 0.8 < both.vertices.max()
    assert solid(isosurface.extract(density, 1.0, threshold=15.0, keep=1.0)).body_count == 1


@pytest.mark.parametrize("scale", [0.5, 30.0, 3000.0])
def test_the_automatic_threshold_separates_matter_from_haze(scale):
    haze = 1e-3 * min(scale, 30.0)
    density = sampled(lambda x, y, z: np.where(x**2 + y**2 + z**2 < 0.36, scale, haze))
    assert haze < isosurface.automatic_threshold(density, 1.0) < scale
    np.testing.assert_allclose(solid(isosurface.extract(density, 1.0)).volume, 4 / 3 * np.pi * 0.216, rtol=0.15)


@pytest.mark.parametrize("peak", [4.0, 20.0, 200.0])
def test_the_automatic_threshold_gives_the_silhouette_that_is_seen(peak):
    # sigma = peak exp(-r^2 / 0.08): a line at distance r from the centre has optical depth peak sqrt(0.08 pi) exp(..).
    density = sampled(lambda x, y, z: peak * np.exp(-(x**2 + y**2 + z**2) / 0.08), 64)
    most = 1 - np.exp(-peak * np.sqrt(0.08 * np.pi))
    radius = np.sqrt(0.08 * np.log(peak * np.sqrt(0.08 * np.pi) / -np.log(1 - most / 2)))
    vertices = isosurface.extract(density, 1.0).vertices
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=-1).mean(), radius, atol=0.03)


def test_empty_and_broken_fields_say_so():
    with pytest.raises(ValueError, match=r"empty: its density lies in \[0, 0\]"):
        isosurface.extract(np.zeros((8, 8, 8), np.float32), 1.0)
    with pytest.raises(ValueError, match="not finite"):
        isosurface.extract(np.full((8, 8, 8), np.nan, np.float32), 1.0)
    with pytest.raises(ValueError, match=r"inside the range of the density, \[0, 30\], got 50"):
        isosurface.extract(sampled(lambda x, y, z: 30.0 * (x > 0), 8), 1.0, threshold=50.0)


def test_evaluation_in_blocks_is_the_whole_grid():
    def density(points):
        return points[:, 0] + 10 * points[:, 1] + 100 * points[:, 2]

    values = isosurface.evaluate(Partial(density), 7, 0.5, block=5)
    np.testing.assert_allclose(values, sampled(lambda x, y, z: 0.5 * (x + 10 * y + 100 * z), 7), atol=1e-4)


def test_what_is_compiled_for_a_density_serves_the_next():
    traced = []

    def density(scale, points):
        traced.append(scale)
        return scale * points[:, 0]

    one, two = (isosurface.evaluate(Partial(density, scale), 5, 1.0) for scale in (np.float32(1), np.float32(2)))
    assert len(traced) == 1 and one.max() == 1
    np.testing.assert_array_equal(two, 2 * one)


def test_nodes_at_the_level_leave_no_holes():
    """Values that are whole quarters, as float16 and clipping make them: many nodes lie on the surface itself."""
    for seed in range(8):
        smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(12, 12, 12)), 1.0)
        mesh = isosurface.extract(np.round(24 * smooth).astype(np.float32) / 4, 1.0, threshold=0.0, keep=0.0)
        edges = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        assert np.all(np.unique(edges, axis=0, return_counts=True)[1] % 2 == 0)


def test_values_at_points_are_trilinear_and_end_at_the_border():
    linear, up = sampled(lambda x, y, z: x - 2 * y + 3 * z, 7), sampled(lambda x, y, z: z, 7)
    values = np.stack([linear, up], axis=-1)
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 3)).astype(np.float32)
    x, y, z = 2 * points.T
    np.testing.assert_allclose(
        isosurface.node_values(values, points, 0.5), np.stack([x - 2 * y + 3 * z, z], -1), atol=1e-5
    )
    beyond = np.full((1, 3), 0.7, np.float32)
    np.testing.assert_allclose(isosurface.node_values(values, beyond, 0.5), [[2, 1]], atol=1e-5)


def test_decimation_leaves_small_meshes_alone():
    mesh = isosurface.extract(sampled(lambda x, y, z: 0.25 - x**2 - y**2 - z**2, 8), 1.0, threshold=0.0)
    assert isosurface.decimate(mesh, len(mesh.faces)) is mesh
    with pytest.raises(ValueError, match="got max_faces=3"):
        isosurface.decimate(mesh, 3)


def test_distances_are_those_of_a_ball_in_spacings():
    """Next to the surface to a tenth of a spacing, elsewhere to a diagonal; a crumb and a cavity are gone."""
    spacing = 2 / 39
    radius = sampled(lambda x, y, z: np.sqrt(x**2 + y**2 + z**2))
    crumb = sampled(lambda x, y, z: (x - 0.8) ** 2 + (y - 0.8) ** 2 + z**2 < 0.006) > 0
    density = np.where(crumb | (radius < 0.1), 50.0 * crumb, 20 * np.exp(9 * (0.6 - radius)))
    found = isosurface.distances(density, 20.0)
    truth = (radius - 0.6) / spacing
    near = np.abs(truth) < 0.9
    np.testing.assert_allclose(found[near], truth[near], atol=0.1)
    inner = np.abs(sampled(lambda x, y, z: np.maximum(abs(x), np.maximum(abs(y), abs(z))))) < 0.95
    np.testing.assert_allclose(found[inner], truth[inner], atol=1.2)
    assert (np.sign(found[inner]) == np.sign(truth[inner])).all()
    full = isosurface.distances(np.full((6, 6, 6), 2.0), 1.0)
    assert (full[0] > 0).all() and full[2, 2, 2] < 0


def test_colors_and_normals_stay_with_their_vertices_when_crumbs_are_dropped():
    triangle, crumb = np.eye(3, dtype=np.float32), 5 + np.eye(3, dtype=np.float32)
    faces = np.array([[0, 1, 2], [3, 5, 4], [3, 4, 5]], np.int32)
    vertices = np.concatenate([crumb, triangle])
    kept = isosurface.drop_small_parts(Mesh(vertices, faces, vertices / 10, -vertices), 0.5)
    np.testing.assert_array_equal(kept.vertices, triangle)
    np.testing.assert_array_equal(kept.colors, triangle / 10)
    np.testing.assert_array_equal(kept.normals, -triangle)
