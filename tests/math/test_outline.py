"""Edges under jit against those found by sorting on the host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from jax3d.math.marching import demand, march
from jax3d.math.outline import edges_of
from jax3d.math.tetrahedra import kuhn, near_surface, subdivide
from jax3d.render.antialias import edges

FACES, CAPACITY = 2048, 3072  # one size for most tests, so that few programs have to be compiled
marched = jax.jit(march, static_argnames=("vertex_capacity", "face_capacity"))
found_in = jax.jit(edges_of, static_argnums=1)


def padded(faces):
    """The faces with a few that are none before, between and after them, up to FACES."""
    faces = np.insert(np.asarray(faces, np.int32), [0, len(faces) // 2], [[0, 0, 0], [3, 5, 3]], axis=0)
    return jnp.asarray(np.pad(faces, ((0, FACES - len(faces)), (0, 0))))


def marched_faces(grid, distance):
    counts = demand(grid, distance)
    assert max(counts) <= FACES
    room = {"vertex_capacity": FACES, "face_capacity": FACES}
    return np.asarray(marched(grid, jnp.asarray(distance), jnp.asarray(grid.vertices), **room).faces)


def table(ends, opposite):
    """Rows (ends, opposite) in the order of the ends; each edge once."""
    rows = np.column_stack([ends, opposite])[np.lexsort((ends[:, 1], ends[:, 0]))]
    assert (rows[:, 0] < rows[:, 1]).all() and (np.diff(rows[:, :2], axis=0) != 0).any(axis=1).all()
    return rows


def check(faces):
    """Whether what is found is what the host finds; how many edges have one face, and how many there are."""
    ends, opposite, count = found_in(jnp.asarray(faces), CAPACITY)
    count = int(count)
    assert count <= CAPACITY and not np.any(ends[count:]) and not np.any(opposite[count:])
    rows = table(np.asarray(ends)[:count], np.asarray(opposite)[:count])
    np.testing.assert_array_equal(rows, table(*edges(np.asarray(faces))))
    return int((rows[:, 2] == rows[:, 3]).sum()), count


def sphere(vertices):
    return np.linalg.norm(vertices - np.float32(0.03), axis=-1) - np.float32(0.71)


def torus(vertices):
    x, y, z = vertices.T
    return np.hypot(np.hypot(x, y) - np.float32(0.55), z) - np.float32(0.27)


@pytest.mark.parametrize("shape", [sphere, torus])
def test_closed_surfaces_have_three_edges_for_two_faces(shape):
    grid = kuhn(8)
    faces = marched_faces(grid, shape(grid.vertices))
    assert check(faces) == (0, 3 * (faces[:, 0] != faces[:, 1]).sum() // 2)


def test_random_signs_in_a_grid_that_the_surface_leaves():
    grid = kuhn(3)
    for seed in range(5):
        distance = np.random.default_rng(seed).normal(size=len(grid.vertices)).astype(np.float32)
        alone, count = check(marched_faces(grid, distance))
        assert 50 < alone < count


def test_a_subdivided_grid_and_a_surface_cut_off():
    grid = kuhn(5)
    fine, parents = subdivide(grid, near_surface(grid, sphere(grid.vertices), rings=0))
    assert check(marched_faces(fine, sphere(grid.vertices)[parents].mean(axis=1)))[0] == 0
    assert check(marched_faces(fine, fine.vertices[:, 2] - np.float32(0.1)))[0] > 0


def test_any_faces_will_do_in_any_order_and_orientation():
    rng = np.random.default_rng(0)
    ball = trimesh.creation.icosphere(3)
    faces = rng.permuted(rng.permutation(ball.faces), axis=1)
    assert check(padded(faces)) == (0, len(ball.edges_unique))
    assert check(padded(faces * 4096))[1] == len(ball.edges_unique)
    assert check(padded(rng.integers(0, 9, (60, 3))))[1] <= 36  # many faces at one edge
    fan = np.stack([np.zeros(900, int), np.arange(1, 901), np.arange(2, 902)], axis=1)
    assert check(padded(fan)) == (902, 1801)


def test_faces_that_are_none_have_no_edges():
    ends, opposite, count = found_in(jnp.zeros((FACES, 3), jnp.int32), CAPACITY)
    assert int(count) == 0 and not np.any(ends) and not np.any(opposite)


def test_too_little_room_is_told_by_the_count():
    faces = jnp.asarray(trimesh.creation.icosphere(1).faces, jnp.int32)
    whole, few = found_in(faces, 128), found_in(faces, 50)
    assert int(few[2]) == int(whole[2]) == 120
    for some, all_of_them in zip(few[:2], whole[:2], strict=True):
        np.testing.assert_array_equal(some, all_of_them[:50])


def test_it_is_the_same_outside_of_jit():
    faces = jnp.asarray(trimesh.creation.icosphere(1).faces, jnp.int32)
    for leaf, eager in zip(found_in(faces, 128), edges_of(faces, 128), strict=True):
        np.testing.assert_array_equal(leaf, eager)


def test_many_meshes_at_once():
    faces = jnp.stack([padded(np.random.default_rng(seed).integers(0, 12, (40, 3))) for seed in range(2)])
    many = jax.jit(jax.vmap(lambda mesh: edges_of(mesh, CAPACITY)))(faces)
    for leaf, one in zip(many, zip(*(found_in(mesh, CAPACITY) for mesh in faces), strict=True), strict=True):
        np.testing.assert_array_equal(leaf, jnp.stack(one))


def test_bad_arguments_are_named_in_one_sentence():
    with pytest.raises(ValueError, match="got capacity=0 and 2 faces"):
        edges_of(jnp.zeros((2, 3), jnp.int32), 0)
    with pytest.raises(ValueError, match="got capacity=4 and 0 faces"):
        edges_of(jnp.zeros((0, 3), jnp.int32), 4)
