"""Marching tetrahedra: known solids, a slow loop over all cases, derivatives, and too little room."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math import marching
from jax3d.math.marching import demand, march
from jax3d.math.tetrahedra import EDGES, Tetrahedra, deform, kuhn, near_surface, subdivide
from jax3d.math.validity import validity

marched = jax.jit(march, static_argnames=("vertex_capacity", "face_capacity"))
grid_of = functools.cache(kuhn)


def surface_of(grid, distance, positions=None, *, tight=False):
    """The surface with just as much room as it needs, or with more, so that few programs have to be compiled."""
    vertices, faces = (max(count, 1) if tight else 2 ** int(count).bit_length() for count in demand(grid, distance))
    positions = grid.vertices if positions is None else positions
    room = {"vertex_capacity": vertices, "face_capacity": faces}
    return marched(grid, jnp.asarray(distance), jnp.asarray(positions), **room)


@functools.partial(jax.jit, static_argnames=("vertex_capacity", "face_capacity"))
def slopes_of(grid, distance, positions, **room):
    """The gradient of a function of the vertices in the distances and the positions."""
    return jax.grad(lambda s, x: jnp.sum(jnp.sin(march(grid, s, x, **room).vertices)), argnums=(0, 1))(
        distance, positions
    )


def ball(vertices, radius=0.71, center=(0.02, -0.01, 0.03)):
    return (np.linalg.norm(np.asarray(vertices, np.float64) - center, axis=-1) - radius).astype(np.float32)


def ring(vertices):
    x, y, z = np.asarray(vertices).T
    return np.hypot(np.hypot(x, y) - 0.55, z) - np.float32(0.27)


def volume(mesh):
    return np.linalg.det(mesh.vertices[mesh.faces].astype(np.float64)).sum() / 6


def area(mesh):
    first, second, third = np.moveaxis(mesh.vertices[mesh.faces].astype(np.float64), 1, 0)
    return np.linalg.norm(np.cross(second - first, third - first), axis=-1).sum() / 2


def characteristic(mesh):
    edges = np.unique(np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    return len(mesh.vertices) - len(edges) + len(mesh.faces)


def cycle(corners):
    """A polygon as the set of its directed sides."""
    return {(a, b) for a, b in zip(corners, [*corners[1:], corners[0]], strict=True)}


def border(faces):
    """The directed sides of faces that no other of them has the other way round."""
    sides = [side for face in faces for side in cycle(list(face))]
    return {(a, b) for a, b in sides if (b, a) not in sides}


def test_volume_and_area_of_a_ball_converge_with_the_square_of_the_spacing():
    errors = []
    for cells in (6, 12, 24):
        grid = grid_of(cells)
        mesh = marching.mesh(surface_of(grid, ball(grid.vertices)))
        exact = 4 / 3 * np.pi * 0.71**3, 4 * np.pi * 0.71**2
        errors.append(np.abs([volume(mesh) - exact[0], area(mesh) - exact[1]]) / exact)
    rates = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.all(rates > 1.7) and np.all(rates < 2.5) and np.max(errors[-1]) < 0.01


@pytest.mark.parametrize("shape", ["ball", "ring", "two balls"])
@pytest.mark.parametrize("deformed", [False, True])
def test_surfaces_are_closed_outward_and_of_the_right_kind(shape, deformed):
    grid = grid_of(16)
    positions = grid.vertices
    if deformed:
        offsets = np.random.default_rng(0).normal(size=positions.shape).astype(np.float32)
        positions = np.asarray(deform(jnp.asarray(positions), jnp.asarray(offsets), 1 / 8))
    low, high = (ball(positions, 0.35, np.full(3, middle)) for middle in (-0.45, 0.45))
    distance = {"ball": ball(positions), "ring": ring(positions), "two balls": np.minimum(low, high)}[shape]
    mesh = marching.mesh(surface_of(grid, distance, positions))
    assert validity(mesh) == (True, True, 2 if shape == "two balls" else 1)  # outward, so the volume is positive
    assert characteristic(mesh) == {"ball": 2, "ring": 0, "two balls": 4}[shape]
    if shape == "ball":
        assert validity(mesh).valid
        corners = mesh.vertices[mesh.faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        away = corners.mean(axis=1) - np.array([0.02, -0.01, 0.03])
        assert (np.sum(normals * away, axis=-1) > 0).all()


def test_all_sixteen_cases_are_those_of_a_slow_loop():
    """Random signs: per tetrahedron, the polygon of its cut edges, sorted by angle about the way from in to out."""
    grid, cases = grid_of(3), set()
    distance = np.random.default_rng(1).normal(size=len(grid.vertices)).astype(np.float32)
    surface = surface_of(grid, distance, tight=True)
    ends = [tuple(pair) for pair in np.asarray(surface.ends).tolist()]
    assert len(set(ends)) == len(ends)
    expected = {}
    for corners in grid.tetrahedra.tolist():
        inside = [corner for corner in corners if distance[corner] < 0]
        cases.add(tuple(distance[corner] < 0 for corner in corners))
        if 0 < len(inside) < 4:
            x = {corner: grid.vertices[corner].astype(np.float64) for corner in corners}
            outward = np.mean([x[c] for c in corners if c not in inside], axis=0) - np.mean(
                [x[c] for c in inside], axis=0
            )
            cut = [tuple(sorted((a, b))) for a in inside for b in corners if b not in inside]
            points = np.array([(x[a] + x[b]) / 2 for a, b in cut])
            right = points[0] - points.mean(axis=0)
            up = np.cross(outward, right)
            angles = np.arctan2((points - points.mean(axis=0)) @ up, (points - points.mean(axis=0)) @ right)
            order = np.argsort(angles)
            expected[tuple(corners)] = cycle([ends.index(cut[k]) for k in order])
    assert len(cases) == 16
    faces, start = np.asarray(surface.faces).tolist(), 0
    for polygon in expected.values():
        assert border(faces[start : start + len(polygon) - 2]) == polygon
        start += len(polygon) - 2
    assert start == len(faces) == int(surface.face_count)
    for vertex, (a, b) in zip(np.asarray(surface.vertices), ends, strict=True):
        s_a, s_b = distance[a], distance[b]
        np.testing.assert_allclose(vertex, (grid.vertices[a] * s_b - grid.vertices[b] * s_a) / (s_b - s_a), atol=1e-5)


def test_gradients_are_those_of_finite_differences():
    with jax.enable_x64(True):
        grid = grid_of(4)
        rng = np.random.default_rng(2)
        positions = jnp.asarray(grid.vertices + 0.05 * rng.normal(size=grid.vertices.shape))
        distance = jnp.asarray(ball(grid.vertices).astype(np.float64) + 0.01 * rng.normal(size=len(positions)))
        room = dict(zip(("vertex_capacity", "face_capacity"), demand(grid, np.asarray(distance)), strict=True))

        @jax.jit
        def loss(s, x):
            surface = march(grid, s, x, **room)
            corners = surface.vertices[surface.faces]
            return jnp.sum(jnp.linalg.det(corners)) / 6 + jnp.sum(jnp.sin(3 * surface.vertices))

        for which, slope in enumerate(jax.grad(loss, argnums=(0, 1))(distance, positions)):
            direction = jnp.asarray(rng.normal(size=slope.shape))
            sides = []
            for step in (-1e-7, 1e-7):
                moved = [distance, positions]
                moved[which] = moved[which] + step * direction
                sides.append(loss(*moved))
            np.testing.assert_allclose(jnp.sum(slope * direction), (sides[1] - sides[0]) / 2e-7, rtol=1e-6)


def test_too_little_room_is_reported_with_what_is_needed():
    grid = grid_of(6)
    distance = ball(grid.vertices)
    vertices, faces = demand(grid, distance)
    whole = surface_of(grid, distance, tight=True)
    assert not whole.overflow and bool(whole.vertex_mask.all()) and bool(whole.face_mask.all())
    few = {"vertex_capacity": vertices - 5, "face_capacity": faces + 3}
    for room in (few, {"vertex_capacity": vertices, "face_capacity": faces - 1}):
        surface = marched(grid, jnp.asarray(distance), jnp.asarray(grid.vertices), **room)
        assert bool(surface.overflow)
        assert (int(surface.vertex_count), int(surface.face_count)) == (vertices, faces)
        with pytest.raises(ValueError, match=f"{vertices} vertices and {faces} faces, but there is room for"):
            marching.mesh(surface)
        # What is there is right: the faces all of whose corners found room.
        true = np.asarray(surface.faces)[np.asarray(surface.face_mask)]
        expected = np.asarray(whole.faces)
        expected = expected[: room["face_capacity"]][
            (expected < room["vertex_capacity"]).all(axis=1)[: room["face_capacity"]]
        ]
        np.testing.assert_array_equal(true, expected)


def test_room_that_is_not_needed_is_harmless():
    grid = grid_of(6)
    surface, tight = (surface_of(grid, ball(grid.vertices), tight=tight) for tight in (False, True))
    vertices, faces = int(surface.vertex_count), int(surface.face_count)
    assert len(surface.vertices) > vertices == len(tight.vertices) and len(surface.faces) > faces == len(tight.faces)
    assert not np.any(surface.vertices[vertices:]) and not np.any(surface.faces[faces:])
    assert not np.any(surface.ends[vertices:])
    np.testing.assert_array_equal(surface.vertex_mask, np.arange(len(surface.vertices)) < vertices)
    np.testing.assert_array_equal(surface.face_mask, np.arange(len(surface.faces)) < faces)
    chex.assert_trees_all_equal(surface.vertices[:vertices], tight.vertices)
    chex.assert_trees_all_equal(surface.faces[:faces], tight.faces)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_grid_on_one_side_has_no_surface(sign):
    grid = grid_of(4)
    room = {"vertex_capacity": 256, "face_capacity": 512}
    distance, positions = jnp.full(len(grid.vertices), sign), jnp.asarray(grid.vertices)
    surface = marched(grid, distance, positions, **room)
    assert int(surface.vertex_count) == int(surface.face_count) == 0 and not surface.overflow
    assert demand(grid, np.asarray(distance)) == (0, 0)
    assert not np.any(surface.faces) and not np.any(surface.vertices)
    assert not any(np.any(slope) for slope in slopes_of(grid, distance, positions, **room))
    assert marching.mesh(surface).faces.shape == (0, 3)


def test_nodes_on_the_surface_and_equal_distances_have_finite_gradients():
    grid = grid_of(4)
    line = np.linspace(-1, 1, 5)
    x, y, z = np.meshgrid(line, line, line, indexing="ij")
    whole = (np.abs(x) + np.abs(y) + np.abs(z) - 1.0).reshape(-1).astype(np.float32)  # 0 at many nodes
    assert (whole == 0).sum() > 10
    tiny = np.where(whole < 0, np.float32(-1e-38), np.float32(0))  # both ends all but on the surface
    flat = np.sign(whole) * np.float32(0.5)  # equal distances along many edges, and jumps
    for distance in (whole, tiny, flat):
        arrays = jnp.asarray(distance), jnp.asarray(grid.vertices)
        room = {"vertex_capacity": 256, "face_capacity": 512}
        surface = marched(grid, *arrays, **room)
        chex.assert_tree_all_finite(surface)
        assert not surface.overflow and np.abs(surface.vertices).max() <= 1
        chex.assert_tree_all_finite(slopes_of(grid, *arrays, **room))
    np.testing.assert_allclose(
        volume(marching.mesh(marched(grid, jnp.asarray(whole), arrays[1], **room))), 4 / 3, rtol=1e-5
    )  # an octahedron


def test_it_does_not_depend_on_the_scale_of_distances_and_follows_maps_of_the_nodes():
    grid = grid_of(6)
    distance = ball(grid.vertices)
    surface = surface_of(grid, distance)
    chex.assert_trees_all_close(surface_of(grid, 7 * distance).vertices, surface.vertices, atol=1e-6)
    linear = np.array([[0.9, 0.2, 0], [0.1, 1.5, 0.3], [0, 0, 0.7]], np.float32)
    moved, count = surface_of(grid, distance, grid.vertices @ linear + 1), int(surface.vertex_count)
    chex.assert_trees_all_close(moved.vertices[:count], surface.vertices[:count] @ linear + 1, atol=1e-5)
    chex.assert_trees_all_equal(moved.faces, surface.faces)


def test_it_does_not_depend_on_the_order_of_nodes_and_tetrahedra():
    grid, rng = grid_of(6), np.random.default_rng(3)
    distance = ball(grid.vertices)
    node, cell, edge = (rng.permutation(len(a)).astype(np.int32) for a in (grid.vertices, grid.tetrahedra, grid.edges))
    new_node, new_edge = np.argsort(node).astype(np.int32), np.argsort(edge).astype(np.int32)
    shuffled = Tetrahedra(
        grid.vertices[node], new_node[grid.tetrahedra][cell], new_node[grid.edges][edge], new_edge[grid.edges_of][cell]
    )
    assert np.all(np.sort(shuffled.tetrahedra[:, EDGES]) == np.sort(shuffled.edges[shuffled.edges_of]))

    def triangles(surface):
        mesh = marching.mesh(surface)
        corners = np.round(mesh.vertices[mesh.faces], 4) + 0.0
        return sorted(min(map(tuple, (np.roll(c, k, axis=0).ravel() for k in range(3)))) for c in corners)

    np.testing.assert_allclose(
        triangles(surface_of(shuffled, distance[node])), triangles(surface_of(grid, distance)), atol=2e-4
    )


def test_subdivision_around_the_surface_has_twice_the_resolution():
    grid, exact = grid_of(10), 4 / 3 * np.pi * 0.71**3
    distance = ball(grid.vertices)
    coarse = marching.mesh(surface_of(grid, distance))
    fine, parents = subdivide(grid, near_surface(grid, distance))
    assert len(fine.tetrahedra) < 0.6 * 8 * len(grid.tetrahedra)
    # Interpolated distances: the same surface, cut finer.
    same = marching.mesh(surface_of(fine, distance[parents].mean(axis=1)))
    assert validity(same).valid and len(same.faces) > 3 * len(coarse.faces)
    np.testing.assert_allclose([volume(same), area(same)], [volume(coarse), area(coarse)], rtol=1e-5)
    # Distances of the ball at the new nodes: a surface of the doubled resolution, closed.
    finer = marching.mesh(surface_of(fine, ball(fine.vertices)))
    assert validity(finer).valid and characteristic(finer) == 2
    assert 3 < (exact - volume(coarse)) / (exact - volume(finer)) < 5.5


def test_a_surface_that_leaves_the_grid_is_open_there_only():
    grid = grid_of(6)
    mesh = marching.mesh(surface_of(grid, grid.vertices[:, 2] - np.float32(0.1)))
    assert validity(mesh)[:2] == (False, True) and characteristic(mesh) == 1  # a disk
    normals = np.cross(*(mesh.vertices[mesh.faces[:, k]] - mesh.vertices[mesh.faces[:, 0]] for k in (1, 2)))
    assert (normals[:, 2] > 0).all()
    np.testing.assert_allclose(area(mesh), 4, rtol=1e-5)


def test_many_surfaces_at_once():
    grid, room = grid_of(4), {"vertex_capacity": 256, "face_capacity": 512}
    distances = jnp.asarray([ball(grid.vertices, radius) for radius in (0.4, 0.6)])
    positions = jnp.asarray(grid.vertices)
    many = jax.jit(jax.vmap(lambda s: march(grid, s, positions, **room)))(distances)
    one = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[marched(grid, s, positions, **room) for s in distances])
    chex.assert_trees_all_close(many, one, atol=1e-6)


def test_bad_arguments_are_named_in_one_sentence():
    grid = grid_of(1)
    with pytest.raises(ValueError, match="room for a vertex and a face"):
        march(grid, jnp.ones(8), jnp.asarray(grid.vertices), vertex_capacity=0, face_capacity=3)
    with pytest.raises(ValueError, match="grid of 8 nodes needs .* got 7 distances and 7 positions"):
        march(grid, jnp.ones(7), jnp.ones((7, 3)), vertex_capacity=3, face_capacity=3)
