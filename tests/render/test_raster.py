"""The rasteriser against a slow loop over triangles in float64, and against closed forms."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from jax3d.math import camera as cameras
from jax3d.nn.field import FieldSample
from jax3d.render import volume
from jax3d.render.raster import interpolate, rasterise

HEIGHT, WIDTH, NEAR = 40, 56, 0.05
CAMERA = cameras.orbit(0.4, 0.3, 3.0, 0.7, aspect=WIDTH / HEIGHT)
STATIC = ("height", "width", "near", "cull", "spans", "fragments")
draw = functools.partial(
    jax.jit(rasterise, static_argnames=STATIC), height=HEIGHT, width=WIDTH, near=NEAR, fragments=60 * HEIGHT * WIDTH
)


def rays(camera=CAMERA, height=HEIGHT, width=WIDTH):
    bundle = cameras.rays(camera, height, width)
    return np.asarray(bundle.origins, np.float64)[0, 0], np.asarray(bundle.directions, np.float64)


def slow(vertices, faces, cull):
    """Face, barycentrics and distance of each pixel by intersecting each ray with each triangle."""
    origin, directions = rays()
    ahead = directions @ np.asarray(CAMERA.world_from_camera, np.float64)[:3, 2]
    nearest, face = np.full((HEIGHT, WIDTH), np.inf), np.full((HEIGHT, WIDTH), -1)
    weights = np.zeros((HEIGHT, WIDTH, 3))
    for index, corners in enumerate(vertices.astype(np.float64)[faces]):
        a, b, c = corners
        if not np.isfinite(corners).all():
            continue
        normal = np.cross(b - a, c - a)
        if not normal @ normal or (cull and normal @ (a - origin) >= 0):
            continue
        distance = (a - origin) @ normal / (directions @ normal)
        point = origin + distance[..., None] * directions
        inner = [np.cross(c - b, point - b), np.cross(a - c, point - c), np.cross(b - a, point - a)]
        inner = np.stack([value @ normal / (normal @ normal) for value in inner], axis=-1)
        seen = (inner.min(axis=-1) >= 0) & (distance * ahead > NEAR) & (distance < nearest)
        nearest, face = np.where(seen, distance, nearest), np.where(seen, index, face)
        weights = np.where(seen[..., None], inner, weights)
    return face, weights, np.where(face >= 0, nearest, 0)


def triangles(spread, size, count=40):
    """Random ones, one of them huge, and four that draw nothing."""
    rng = np.random.default_rng(0)
    vertices = rng.uniform(-spread, spread, (count, 1, 3)) + size * rng.normal(size=(count, 3, 3))
    vertices = vertices.reshape(-1, 3).astype(np.float32)
    faces = rng.permutation(3 * count).reshape(count, 3).astype(np.int32)
    vertices[faces[0]] = vertices[faces[0, 0]]  # a point
    vertices[faces[1, 0]], vertices[faces[3, 0]], vertices[faces[4, 0]] = np.nan, np.inf, 1e4
    faces[2] = faces[2, 0]
    return vertices, faces


@pytest.mark.parametrize("cull", [False, True])
@pytest.mark.parametrize(("spread", "size"), [(1.0, 0.3), (4.0, 2.0)])  # the large ones cross the near plane
def test_faces_barycentrics_and_depth_are_those_of_a_slow_loop(spread, size, cull):
    vertices, faces = triangles(spread, size)
    depth = (vertices[faces] - np.asarray(CAMERA.position)) @ np.asarray(CAMERA.world_from_camera)[:3, 2] - NEAR
    assert (((depth > 0).any(axis=1) & (depth < 0).any(axis=1)).sum() > 10) == (size > 1)
    seen = draw(jnp.asarray(vertices), jnp.asarray(faces), CAMERA, cull=cull)
    face, weights, distance = slow(vertices, faces, cull)
    assert len(np.unique(face)) > 2 and seen.demand.max() <= 1
    np.testing.assert_array_equal(seen.face, face)
    np.testing.assert_allclose(seen.barycentric, weights, atol=2e-4)
    np.testing.assert_allclose(seen.depth, distance, rtol=1e-4)


def test_interpolation_is_in_space_and_corners_may_have_values_of_their_own():
    vertices, faces = triangles(1.0, 0.6)
    vertices = np.nan_to_num(np.clip(vertices, -5, 5))
    seen = draw(jnp.asarray(vertices), jnp.asarray(faces), CAMERA)
    origin, directions = rays()
    points = np.where((seen.face >= 0)[..., None], origin + np.asarray(seen.depth)[..., None] * directions, 0.0)
    np.testing.assert_allclose(interpolate(jnp.asarray(vertices), jnp.asarray(faces), seen), points, atol=1e-4)
    own = jnp.arange(faces.size).reshape(-1, 3)
    np.testing.assert_allclose(interpolate(jnp.asarray(vertices)[faces.reshape(-1)], own, seen), points, atol=1e-4)


def test_faces_that_meet_leave_no_gap_and_the_first_wins_where_they_coincide():
    grid = np.stack(np.meshgrid(np.linspace(-3, 3, 9), np.linspace(-3, 3, 8)), axis=-1).reshape(-1, 2)
    vertices = np.concatenate(
        [np.zeros((72, 1)), grid + 0.1 * np.random.default_rng(0).normal(size=grid.shape)], axis=1
    )
    corner = (np.arange(7)[:, None] * 9 + np.arange(8)).reshape(-1)
    faces = np.concatenate([corner + np.array([[0], [1], [9]]), corner + np.array([[1], [10], [9]])], axis=1).T
    wall = jnp.asarray(vertices, jnp.float32), jnp.asarray(np.concatenate([faces, faces]), jnp.int32)
    seen = draw(*wall, CAMERA)
    assert seen.face.min() >= 0 and seen.face.max() < len(faces)
    assert float(seen.demand[1]) * 60 * HEIGHT * WIDTH == pytest.approx(2 * HEIGHT * WIDTH)  # each pixel once a wall


def test_too_little_room_is_reported_and_more_of_it_helps():
    vertices, faces = triangles(1.0, 0.3)
    whole = draw(jnp.asarray(vertices), jnp.asarray(faces), CAMERA)
    some = draw(jnp.asarray(vertices), jnp.asarray(faces), CAMERA, spans=64)
    assert some.demand[0] > 1 and (some.face >= 0).sum() < (whole.face >= 0).sum()
    few = draw(jnp.asarray(vertices), jnp.asarray(faces), CAMERA, fragments=128)
    assert few.demand[1] > 1 and few.demand[0] <= 1
    enough = draw(jnp.asarray(vertices), jnp.asarray(faces), CAMERA, spans=int(np.ceil(64 * float(some.demand[0]))))
    assert enough.demand[0] <= 1
    np.testing.assert_array_equal(enough.face, whole.face)


def test_the_picture_of_a_ball_is_that_of_volume_rendering():
    ball = trimesh.creation.icosphere(4, radius=0.8)
    vertices = jnp.asarray(ball.vertices, jnp.float32) + jnp.array([0.0, 0.25, 0.35])

    def solid(points, directions):
        inside = jnp.sum((points - jnp.array([0.0, 0.25, 0.35])) ** 2, axis=-1) < 0.64
        return FieldSample(jnp.where(inside, 1e4, 0.0), jnp.ones(points.shape))

    out = volume.render_rays(solid, cameras.rays(CAMERA, HEIGHT, WIDTH), samples=256, region=volume.Box(1.3))
    seen = draw(vertices, jnp.asarray(ball.faces, jnp.int32), CAMERA, cull=True)
    both = (out.opacity > 0.5) & (seen.face >= 0)
    assert ((out.opacity > 0.5) != (seen.face >= 0)).mean() < 0.01 and both.mean() > 0.2
    np.testing.assert_allclose(seen.depth[both], out.depth[both], atol=0.03)
    rows, columns = np.nonzero(seen.face >= 0)
    assert rows.mean() < HEIGHT / 2 - 3 and columns.mean() > WIDTH / 2  # above the middle: row 0 is the top


def test_several_cameras_at_once():
    vertices, faces = (jnp.asarray(value) for value in triangles(1.0, 0.3))
    views = cameras.orbit(jnp.array([0.0, 1.0, 2.5]), 0.2, 3.0, 0.7, aspect=WIDTH / HEIGHT)
    one = functools.partial(draw, vertices, faces)
    single = [one(jax.tree.map(lambda leaf, i=i: leaf[i], views)) for i in range(3)]
    single = jax.tree.map(lambda *leaves: jnp.stack(leaves), *single)
    for batch in (jax.vmap(one)(views), jax.lax.map(one, views)):
        np.testing.assert_array_equal(batch.face, single.face)
        chex.assert_trees_all_close(batch, single, atol=2e-4)


def test_the_gradient_is_finite_whatever_the_faces_and_that_of_the_points_seen():
    vertices, faces = (jnp.asarray(value) for value in triangles(4.0, 2.0))
    origin, directions = (jnp.asarray(value, jnp.float32) for value in rays())

    def total(vertices, camera, attributes):
        seen = draw(vertices, faces, camera)
        return jnp.sum(seen.depth) + jnp.sum(jnp.sin(interpolate(attributes, faces, seen)))

    gradient = jax.jit(jax.grad(total, (0, 1, 2), allow_int=True))(vertices, CAMERA, jnp.nan_to_num(vertices))
    chex.assert_tree_all_finite(jax.tree.leaves(gradient))

    def distance(offset):  # of a wall at x = offset, large enough to fill the image
        wall = jnp.array([[0.0, -9.0, -9.0], [0.0, 9.0, -9.0], [0.0, 0.0, 20.0]]) + offset * jnp.array([1.0, 0.0, 0.0])
        return draw(wall, jnp.array([[0, 1, 2]]), CAMERA).depth

    value, slope = jax.jvp(distance, (jnp.float32(0.2),), (jnp.float32(1.0),))
    np.testing.assert_allclose(value, (0.2 - origin[0]) / directions[..., 0], rtol=1e-4)
    np.testing.assert_allclose(slope, 1 / directions[..., 0], rtol=1e-3)


def test_what_makes_no_sense_is_refused():
    vertices, faces = jnp.zeros((3, 3)), jnp.array([[0, 1, 2]])
    for options, words in (({"near": 0.0}, "near > 0"), ({"spans": 0}, "room for"), ({"height": 0}, "has pixels")):
        with pytest.raises(ValueError, match=words):
            rasterise(vertices, faces, CAMERA, **{"height": 8, "width": 8, **options})
    with pytest.raises(ValueError, match="vertices and faces"):
        rasterise(vertices, faces[:0], CAMERA, height=8, width=8)
