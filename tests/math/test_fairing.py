"""Fairing terms against slow loops, closed forms and limits; their derivatives where surfaces degenerate."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from jax3d.math import fairing
from jax3d.math.marching import Surface, demand, march
from jax3d.math.tetrahedra import kuhn

TERMS = (fairing.laplacian, fairing.normal_variation, fairing.edge_length)
compiled = functools.cache(jax.jit)
slope_of = functools.cache(lambda term: jax.jit(jax.grad(term)))


def sphere(subdivisions):
    ball = trimesh.creation.icosphere(subdivisions=subdivisions)
    return jnp.asarray(ball.vertices, jnp.float32), jnp.asarray(ball.faces, jnp.int32)


def bumpy():
    vertices, faces = sphere(1)
    return vertices + 0.2 * np.random.default_rng(0).normal(size=vertices.shape).astype(np.float32), faces


def regular_tetrahedron():
    corners = jnp.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    return corners, jnp.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])


def flat():
    """A plane, tilted and unevenly meshed."""
    rng = np.random.default_rng(0)
    points = np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0), indexing="ij"), -1).reshape(-1, 2)
    points += rng.uniform(-0.2, 0.2, points.shape)
    low = (np.arange(4)[:, None] * 5 + np.arange(4)).reshape(-1, 1)
    faces = np.concatenate([low + [0, 5, 6], low + [0, 6, 1]])
    return jnp.asarray(points @ rng.normal(size=(2, 3)), jnp.float32), jnp.asarray(faces)


def test_laplacian_is_a_loop_over_neighbours():
    vertices, faces = bumpy()
    neighbours = {i: set() for i in range(len(vertices))}
    for face in np.asarray(faces).tolist():
        for corner in face:
            neighbours[corner] |= set(face) - {corner}
    x = np.asarray(vertices, np.float64)
    squares = [np.sum((x[list(around)].mean(axis=0) - x[i]) ** 2) for i, around in neighbours.items()]
    np.testing.assert_allclose(compiled(fairing.laplacian)(vertices, faces), np.mean(squares), rtol=1e-5)
    corners, faces = regular_tetrahedron()  # the other three have their mean at -v / 3
    np.testing.assert_allclose(compiled(fairing.laplacian)(corners, faces), 16 / 9 * 3, rtol=1e-6)


def test_normal_variation_is_a_loop_over_pairs_of_faces_around_vertices():
    vertices, faces = bumpy()
    x = np.asarray(vertices, np.float64)[np.asarray(faces)]
    cross = np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0])
    area = np.linalg.norm(cross, axis=-1)
    normal = cross / area[:, None]
    total = weights = 0.0
    for vertex in range(len(vertices)):
        around = np.flatnonzero((np.asarray(faces) == vertex).any(axis=1))
        pairs = sum(area[f] * area[g] * (1 - normal[f] @ normal[g]) for f, g in itertools.product(around, around))
        total, weights = total + pairs / area[around].sum(), weights + area[around].sum()
    np.testing.assert_allclose(compiled(fairing.normal_variation)(vertices, faces), total / weights, rtol=1e-5)


def test_planes_and_regular_solids_are_fair():
    chex.assert_trees_all_close(compiled(fairing.normal_variation)(*flat()), jnp.array(0.0), atol=1e-6)
    even = functools.partial(fairing.edge_length, target=8**0.5)
    chex.assert_trees_all_close(compiled(even)(*regular_tetrahedron()), jnp.array(0.0), atol=1e-10)
    np.testing.assert_allclose(compiled(fairing.edge_length)(*regular_tetrahedron()), 8, rtol=1e-6)


@pytest.mark.parametrize("term", TERMS)
def test_spheres_become_fair_with_the_square_of_the_edges(term):
    values = [float(compiled(term)(*sphere(subdivisions))) for subdivisions in (2, 3, 4)]
    assert all(3.5 < coarse / fine for coarse, fine in itertools.pairwise(values))
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turned = jnp.asarray(np.asarray(sphere(2)[0]) @ turn + 0.5, jnp.float32)
    np.testing.assert_allclose(compiled(term)(turned, sphere(2)[1]), values[0], rtol=1e-3)


@pytest.mark.parametrize("term", TERMS)
def test_padding_counts_nowhere(term):
    vertices, faces = bumpy()
    term = compiled(term)
    padded = jnp.concatenate([vertices, jnp.full((9, 3), 5.0)]), jnp.concatenate([faces, jnp.zeros((7, 3), jnp.int32)])
    np.testing.assert_allclose(term(*padded), term(vertices, faces), rtol=1e-6)
    slope = slope_of(term)(*padded)
    chex.assert_trees_all_close(slope[: len(vertices)], slope_of(term)(vertices, faces), atol=1e-6)
    assert not np.any(slope[len(vertices) :])
    nothing = jnp.zeros((4, 3)), jnp.zeros((5, 3), jnp.int32)
    assert term(*nothing) == 0 and not np.any(slope_of(term)(*nothing))


@pytest.mark.parametrize("term", TERMS)
def test_gradients_are_those_of_finite_differences(term):
    with jax.enable_x64(True):
        vertices, faces = (jnp.asarray(np.asarray(array)) for array in bumpy())
        vertices = vertices.astype(jnp.float64)
        direction = jnp.asarray(np.random.default_rng(0).normal(size=vertices.shape))
        slope = jnp.sum(slope_of(term)(vertices, faces) * direction)
        numeric = (
            compiled(term)(vertices + 1e-6 * direction, faces) - compiled(term)(vertices - 1e-6 * direction, faces)
        ) / 2e-6
        np.testing.assert_allclose(slope, numeric, rtol=1e-6)


@pytest.mark.parametrize("term", TERMS)
def test_slivers_and_points_have_bounded_gradients(term):
    """Nodes on the surface make faces without area; a sliver's normal turns fast but weighs little."""
    grid = kuhn(4)
    distance = jnp.asarray(np.abs(grid.vertices).sum(axis=1) - 1)

    def of_nodes(s):
        surface = march(grid, s, jnp.asarray(grid.vertices), vertex_capacity=200, face_capacity=400)
        return term(surface.vertices, surface.faces)

    chex.assert_tree_all_finite(jax.jit(jax.value_and_grad(of_nodes))(distance))
    for height in (0.0, 1e-12, 1e-7, 1e-3):
        vertices = jnp.array([[0.0, 0, 0], [1, 0, 0], [0.5, height, 0], [0.5, 0, -1]])
        slope = slope_of(term)(vertices, jnp.array([[0, 1, 2], [1, 0, 3]]))
        assert np.abs(slope).max() < 10
    assert np.all(np.isfinite(slope_of(term)(jnp.zeros((3, 3)), jnp.array([[0, 1, 2]]))))


def surface_with(ends, count):
    room = len(ends)
    return Surface(
        jnp.zeros((room, 3)), jnp.zeros((room, 3), jnp.int32), jnp.asarray(ends), jnp.int32(count), jnp.int32(0)
    )


def test_sign_entropy_draws_each_end_to_the_sign_of_the_other():
    distance = jnp.array([-0.5, 2.0, 0.0, -1.0])
    surface = surface_with([[0, 1], [3, 2], [0, 0]], 2)

    def entropy(logit, positive):  # binary, from its definition
        p = 1 / (1 + np.exp(-logit))
        return -np.log(p if positive else 1 - p)

    expected = (entropy(-0.5, True) + entropy(2.0, False) + entropy(-1.0, True) + entropy(0.0, False)) / 2
    np.testing.assert_allclose(compiled(fairing.sign_entropy)(distance, surface), expected, rtol=1e-6)
    slope = slope_of(fairing.sign_entropy)(distance, surface)
    assert slope[0] < 0 and slope[3] < 0 and slope[1] > 0  # descent moves all towards, and over, the other sign
    np.testing.assert_allclose(compiled(fairing.sign_entropy)(0 * distance, surface), 2 * np.log(2), rtol=1e-6)
    assert compiled(fairing.sign_entropy)(distance, surface_with([[0, 0]], 0)) == 0


def test_sign_entropy_removes_a_crumb():
    grid = kuhn(6)
    distance = np.linalg.norm(grid.vertices, axis=-1).astype(np.float32) - 0.5
    distance[0] = -0.05
    count, _ = demand(grid, distance)
    x = jnp.asarray(grid.vertices)

    @jax.jit
    def descend(s):
        def loss(s):
            return fairing.sign_entropy(s, march(grid, s, x, vertex_capacity=2 * count, face_capacity=4 * count))

        return s - 2.0 * jax.grad(loss)(s)

    s = jnp.asarray(distance)
    for _ in range(20):
        s = descend(s)
    assert s[0] > 0


def test_eikonal_is_a_loop_over_tetrahedra():
    grid = kuhn(3)
    distance = np.random.default_rng(0).normal(size=len(grid.vertices)).astype(np.float32)
    squares = []
    for corners in grid.tetrahedra:
        x, s = grid.vertices[corners].astype(np.float64), distance[corners]
        squares.append((np.linalg.norm(np.linalg.solve(x[1:] - x[0], s[1:] - s[0])) - 1) ** 2)
    np.testing.assert_allclose(compiled(fairing.eikonal)(jnp.asarray(distance)), np.mean(squares), rtol=1e-5)


def test_distances_satisfy_the_eikonal_equation():
    plane = kuhn(5).vertices @ np.array([0.48, 0.6, 0.64], np.float32) - np.float32(0.2)
    chex.assert_trees_all_close(compiled(fairing.eikonal)(jnp.asarray(plane)), jnp.array(0.0), atol=1e-10)
    np.testing.assert_allclose(compiled(fairing.eikonal)(jnp.asarray(3 * plane)), 4, rtol=1e-5)
    balls = [compiled(fairing.eikonal)(jnp.asarray(np.linalg.norm(kuhn(n).vertices, axis=-1))) for n in (8, 16)]
    assert balls[0] > 3.5 * balls[1] > 0
    slope = slope_of(fairing.eikonal)(jnp.zeros(27))
    chex.assert_tree_all_finite(slope)
    with pytest.raises(ValueError, match="got 28 distances"):
        compiled(fairing.eikonal)(jnp.zeros(28))
