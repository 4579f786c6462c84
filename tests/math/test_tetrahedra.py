"""Tetrahedral grids: they tile the cube, do not invert within the bound, and fall into eight of their own kind."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math import grid as lattice
from jax3d.math import tetrahedra
from jax3d.math.tetrahedra import EDGES, Tetrahedra, deform, kuhn, near_surface, subdivide


def determinants(grid, positions=None):
    corners = np.asarray(grid.vertices if positions is None else positions, np.float64)[grid.tetrahedra]
    return np.linalg.det(corners[:, 1:] - corners[:, :1])


def assert_consistent(grid):
    """Edges are unique, complete and where `edges_of` says; each face belongs to at most two tetrahedra."""
    ends = np.sort(grid.tetrahedra[:, EDGES], axis=-1)
    np.testing.assert_array_equal(grid.edges[grid.edges_of], ends)
    assert len(np.unique(grid.edges, axis=0)) == len(grid.edges) == len(np.unique(ends.reshape(-1, 2), axis=0))
    _, uses = faces(grid)
    assert set(uses) <= {1, 2}
    assert determinants(grid).min() > 0
    assert [array.dtype for array in grid] == [np.float32, np.int32, np.int32, np.int32]


def faces(grid):
    """The triangles of a grid and the number of tetrahedra that each belongs to."""
    of_all = np.concatenate([grid.tetrahedra[:, list(f)] for f in itertools.combinations(range(4), 3)])
    return np.unique(np.sort(of_all, axis=1), axis=0, return_counts=True)


def as_set(grid):
    """Tetrahedra as sets of positions, in 64ths."""
    corners = np.round(64 * grid.vertices).astype(int)[grid.tetrahedra]
    return {frozenset(map(tuple, each)) for each in corners.tolist()}


@pytest.mark.parametrize("cells", [1, 2, 5])
def test_kuhn_s_tetrahedra_tile_the_cube(cells):
    grid = kuhn(cells)
    assert_consistent(grid)
    assert len(grid.tetrahedra) == 6 * cells**3 == len(as_set(grid))
    np.testing.assert_allclose(determinants(grid), (2 / cells) ** 3, rtol=1e-5)  # six of them fill a cube
    triangles, uses = faces(grid)
    assert (uses == 1).sum() == 12 * cells**2  # the border: two triangles on each square of the six sides
    border = grid.vertices[triangles[uses == 1]]
    assert np.all(np.any(np.all(np.abs(border) == 1, axis=1), axis=-1))
    assert len(grid.vertices) - len(grid.edges) + len(triangles) - len(grid.tetrahedra) == 1  # a ball
    np.testing.assert_allclose(grid.vertices, lattice.nodes(cells + 1).reshape(-1, 3), atol=1e-6)


def test_no_tetrahedron_inverts_below_a_sixth_of_the_spacing_and_some_do_above():
    # A determinant is affine in each coordinate, so the corners of the boxes, 4,096 signs, hold the worst case.
    signs = np.array(list(itertools.product((-1, 1), repeat=12))).reshape(-1, 4, 3)
    grid = kuhn(2)
    for corners in grid.vertices[grid.tetrahedra[:6]]:
        for reach in (0.05, tetrahedra.REACH, 0.18):
            moved = np.asarray(deform(jnp.asarray(corners), jnp.asarray(99.0 * signs[0]), 1.0, reach=reach))
            np.testing.assert_allclose(moved, corners + reach * signs[0], atol=1e-6)
            all_moved = corners + reach * signs
            worst = np.linalg.det(all_moved[:, 1:] - all_moved[:, :1]).min()
            if reach < 1 / 6:
                np.testing.assert_allclose(worst, 1 - 6 * reach, atol=1e-6)
            else:
                assert worst < 0


def test_deformed_grids_stay_positive():
    grid, spacing = kuhn(4), 0.5
    for seed in range(5):
        offsets = 50 * np.random.default_rng(seed).normal(size=grid.vertices.shape).astype(np.float32)
        moved = np.asarray(deform(jnp.asarray(grid.vertices), jnp.asarray(offsets), spacing))
        assert determinants(grid, moved).min() > 0.03 * spacing**3
        assert np.abs(moved - grid.vertices).max() <= 0.1601 * spacing
    np.testing.assert_array_equal(deform(jnp.asarray(grid.vertices), jnp.zeros(moved.shape), spacing), grid.vertices)


def test_eight_children_each_are_the_grid_of_half_the_spacing():
    coarse = kuhn(2)
    fine, parents = subdivide(coarse, np.ones(len(coarse.tetrahedra), bool))
    expected = kuhn(4)
    assert_consistent(fine)
    assert as_set(fine) == as_set(expected)
    assert len(fine.vertices) == len(expected.vertices) and len(fine.edges) == len(expected.edges)
    finest, _ = subdivide(fine, np.ones(len(fine.tetrahedra), bool))
    assert as_set(finest) == as_set(kuhn(8))
    np.testing.assert_allclose(coarse.vertices[parents].mean(axis=1), fine.vertices, atol=1e-7)


def test_a_part_of_a_grid_is_subdivided_alone_and_in_any_shape():
    coarse = kuhn(3)
    stretched = coarse._replace(vertices=(coarse.vertices @ np.array([[1, 0.3, 0], [0, 2, 0.1], [0.5, 0, 1]], "f4")))
    kept = np.random.default_rng(0).random(len(coarse.tetrahedra)) < 0.2
    fine, parents = subdivide(stretched, kept)
    assert_consistent(fine)
    assert len(fine.tetrahedra) == 8 * kept.sum()
    eighths = np.repeat(determinants(stretched)[kept] / 8, 8)
    np.testing.assert_allclose(determinants(fine), eighths, rtol=1e-4)
    assert set(np.unique(fine.tetrahedra)) == set(range(len(fine.vertices)))  # no vertex is left over
    old = parents[:, 0] == parents[:, 1]
    assert set(parents[old, 0]) == set(np.unique(coarse.tetrahedra[kept]))


def test_the_surroundings_of_a_surface_grow_by_rings():
    grid = kuhn(6)
    distance = np.linalg.norm(grid.vertices - 0.05, axis=-1) - 0.5
    none, one, two = (near_surface(grid, distance, rings=rings) for rings in range(3))
    signs = (distance < 0)[grid.tetrahedra]
    np.testing.assert_array_equal(none, signs.any(axis=1) & ~signs.all(axis=1))
    assert np.all(one[none]) and np.all(two[one]) and none.sum() < one.sum() < two.sum()
    shares = np.isin(grid.tetrahedra, grid.tetrahedra[none]).any(axis=1)
    np.testing.assert_array_equal(one, shares)
    assert not near_surface(grid, np.ones(len(grid.vertices)), rings=3).any()


def test_bad_arguments_are_named_in_one_sentence():
    with pytest.raises(ValueError, match="1 to 256 cells along an axis, got 0"):
        kuhn(0)
    grid = kuhn(1)
    assert isinstance(grid, Tetrahedra)
    with pytest.raises(ValueError, match="is there a surface"):
        subdivide(grid, np.zeros(6, bool))
    with pytest.raises(ValueError, match=r"in \[0, 0.5\], is 0.6"):
        deform(jnp.asarray(grid.vertices), jnp.zeros((8, 3)), 2.0, reach=0.6)
