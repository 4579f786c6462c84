"""Solids from triangles against closed forms: winding numbers, orientation, distances, samples."""

import numpy as np
import pytest
import trimesh

from jax3d.data.meshes import Surface, bounding_pieces, closed, distances, prepare, sample, sdf_grid, winding_numbers
from jax3d.data.meshes.sample import lookup
from jax3d.data.meshes.shape import inside_out

R = 32
CELL = 2 / (R - 1)
NODES = np.stack(np.meshgrid(*[np.linspace(-1, 1, R)] * 3, indexing="ij"), axis=-1)
RNG = np.random.default_rng(0)


def surface(vertices, faces, colors=None):
    faces = np.asarray(faces, np.int64)
    colors = np.ones((len(faces), 3, 3), np.float32) if colors is None else np.asarray(colors)[faces]
    nothing = np.full(len(faces), -1)
    return Surface(np.asarray(vertices, float), faces, colors, np.zeros((len(faces), 3, 2)), nothing, ())


def joined(*meshes):
    mesh = trimesh.util.concatenate(meshes)
    return surface(mesh.vertices, mesh.faces)


def moved(mesh, *by):
    mesh = mesh.copy()
    mesh.apply_translation(by)
    return mesh


def grid(given, resolution=R):
    """The grid of a surface as it is placed, its triangles and the way there."""
    placed, similarity = prepare(given)
    triangles = placed.vertices[placed.faces]
    pieces = bounding_pieces(triangles, 2 * 2 / (resolution - 1))
    return sdf_grid(triangles, pieces, resolution, is_closed=closed(placed.faces)), similarity, placed, pieces


def box_distance(points, half):
    beyond = np.abs(points) - half
    return np.linalg.norm(np.maximum(beyond, 0), axis=-1) + np.minimum(beyond.max(-1), 0)


BALL = trimesh.creation.icosphere(3)
BOX = trimesh.creation.box((1, 2, 3))


def test_solid_angles_of_an_octant_and_a_far_cube():
    octant = np.eye(3)[None]
    np.testing.assert_allclose(winding_numbers(np.zeros((1, 3)), octant), 1 / 8, atol=1e-12)
    cube = np.asarray(trimesh.creation.box().triangles)
    points = RNG.uniform(-1.5, 1.5, (2000, 3))
    inside = np.abs(points).max(-1) < 0.5
    np.testing.assert_allclose(winding_numbers(points, cube), inside, atol=1e-9)
    np.testing.assert_allclose(winding_numbers(points, cube[:, ::-1]), -inside.astype(float), atol=1e-9)


def test_dipoles_agree_with_the_plain_sum(monkeypatch):
    triangles = np.asarray(BALL.triangles)[BALL.triangles_center[:, 2] > 0]
    points = RNG.uniform(-1.5, 1.5, (2000, 3))
    fast = winding_numbers(points, triangles)
    monkeypatch.setattr("jax3d.data.meshes.winding.FAR", 1e9)
    error = np.abs(fast - winding_numbers(points, triangles))
    assert error.max() < 0.03 and error.mean() < 3e-3


def test_distances_agree_with_a_search_along_each_triangle():
    triangles = RNG.normal(size=(30, 3, 3))
    points = RNG.normal(size=(20, 3))
    pieces = bounding_pieces(triangles, 100.0)
    u = np.linspace(0, 1, 80)
    weights = np.stack([a.reshape(-1) for a in np.meshgrid(u, u)], axis=-1)
    weights = weights[weights.sum(-1) <= 1 + 1e-9]
    on_pieces = np.einsum("wk,fkd->fwd", np.c_[1 - weights.sum(-1), weights], pieces.corners)
    expected = np.linalg.norm(points[:, None, None] - on_pieces, axis=-1).min((1, 2))
    found = distances(points, pieces, exact_within=np.inf)
    assert np.all(found <= expected + 1e-12) and np.abs(found - expected).max() < 0.03


def test_halving_keeps_the_surface():
    triangles = np.asarray(BOX.triangles)
    pieces = bounding_pieces(triangles, 0.3)
    edges = np.linalg.norm(pieces.corners - np.roll(pieces.corners, 1, axis=1), axis=-1)
    area = np.bincount(pieces.face, trimesh.triangles.area(pieces.corners))
    assert edges.max() <= 0.3
    np.testing.assert_allclose(area, BOX.area_faces, rtol=1e-9)


def test_a_box_is_exact():
    values, similarity, _, _ = grid(surface(BOX.vertices, BOX.faces))
    np.testing.assert_allclose(values, box_distance(NODES, np.array([0.5, 1, 1.5]) * similarity.scale), atol=1e-6)


def test_a_sphere_and_a_torus_are_exact_to_their_facets():
    ball = trimesh.creation.icosphere(4)
    values, _, _, _ = grid(surface(ball.vertices, ball.faces))
    np.testing.assert_allclose(values, np.linalg.norm(NODES, axis=-1) - 0.9, atol=1.5e-3)
    torus = trimesh.creation.torus(1.0, 0.4, 96, 48)
    values, similarity, _, _ = grid(surface(torus.vertices, torus.faces))
    points = NODES / similarity.scale
    expected = np.hypot(np.hypot(points[..., 0], points[..., 1]) - 1, points[..., 2]) - 0.4
    np.testing.assert_allclose(values, expected * similarity.scale, atol=2e-3)


def test_overlapping_balls_are_one_solid_without_a_wall_between():
    values, similarity, placed, pieces = grid(joined(BALL, moved(BALL, 1, 0, 0)))
    centres = similarity.to_ours(np.array([[0.0, 0, 0], [1, 0, 0]]))
    each = np.linalg.norm(NODES[..., None, :] - centres, axis=-1) - similarity.scale
    union = each.min(-1)
    np.testing.assert_allclose(values[union > 0], union[union > 0], atol=0.005)
    assert np.mean((values < 0) != (union < 0)) < 2e-3  # where facets cut the corners of the balls
    # The rim where the balls meet is the nearest surface to the middle.
    middle = values[R // 2 - 1 : R // 2 + 1, R // 2 - 1 : R // 2 + 1, R // 2 - 1 : R // 2 + 1]
    np.testing.assert_allclose(middle, -np.sqrt(0.75) * similarity.scale, atol=2 * CELL)
    drawn = sample(placed, pieces, 2000, RNG)
    depth = (np.linalg.norm(drawn.positions[:, None] - centres, axis=-1) - similarity.scale).min(-1)
    assert depth.min() > -2 * CELL


def test_stacked_boxes_lose_the_face_they_share():
    cube = trimesh.creation.box()
    values, similarity, _, _ = grid(joined(cube, moved(cube, 0, 0, 1)))
    half = np.array([0.5, 0.5, 1]) * similarity.scale
    np.testing.assert_allclose(values, box_distance(NODES, half), atol=1e-6)


def test_a_hollow_ball_is_hollow_and_an_inner_ball_is_not():
    inner = trimesh.creation.icosphere(3, 0.5)
    hole = inner.copy()
    hole.invert()
    values, _, _, _ = grid(joined(BALL, hole))
    radius = np.linalg.norm(NODES, axis=-1)
    np.testing.assert_allclose(values, np.maximum(radius - 0.9, 0.45 - radius), atol=0.01)
    values, _, _, _ = grid(joined(BALL, inner))
    np.testing.assert_allclose(values, radius - 0.9, atol=0.01)


def test_an_open_hemisphere_counts_as_the_half_ball():
    angle = np.linspace(0, np.pi / 2, 20)
    bowl = trimesh.creation.revolve(np.stack([np.sin(angle), -np.cos(angle)], axis=-1), sections=64)
    values, similarity, placed, _ = grid(surface(bowl.vertices, bowl.faces))
    assert not closed(placed.faces)
    points = similarity.to_file(NODES)
    radius, height = np.linalg.norm(points, axis=-1), points[..., 2]
    assert np.all(values[(radius < 0.98) & (height < -0.02)] < 0)
    assert np.all(values[(radius > 1.01) | (height > 0.02)] > 0)
    shell = np.where(height < 0, np.abs(radius - 1), np.hypot(np.hypot(points[..., 0], points[..., 1]) - 1, height))
    np.testing.assert_allclose(np.abs(values), shell * similarity.scale, atol=0.012)


def test_a_sheet_has_no_inside():
    sheet = surface([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]])
    values, similarity, _, _ = grid(sheet)
    half = np.array([0.5, 0.5, 0]) * similarity.scale
    np.testing.assert_allclose(values, box_distance(NODES, half), atol=1e-6)


@pytest.mark.parametrize("turn", ["all", "some", "one of two"])
def test_faces_are_turned_outwards(turn):
    given = joined(BALL, moved(trimesh.creation.box(), 3, 0, 0))
    faces = given.faces.copy()
    wrong = {"all": np.arange(len(faces)), "some": RNG.permutation(len(faces))[:400], "one of two": np.arange(1280)}[
        turn
    ]
    faces[wrong] = faces[wrong, ::-1]
    np.testing.assert_array_equal(np.flatnonzero(inside_out(given.vertices, faces)), np.sort(wrong))
    values, _, placed, _ = grid(given._replace(faces=faces))
    np.testing.assert_array_equal(values, grid(given)[0])
    assert np.linalg.det(placed.vertices[placed.faces]).sum() > 0


def test_cubes_that_share_an_edge_are_turned_each_by_itself():
    given = joined(trimesh.creation.box(), moved(trimesh.creation.box(), 1, 1, 0))
    positions, welded = np.unique(given.vertices, axis=0, return_inverse=True)
    faces = welded.reshape(-1)[given.faces]
    faces[12:] = faces[12:, ::-1]
    np.testing.assert_array_equal(inside_out(positions, faces), np.arange(24) >= 12)


def test_an_open_surface_follows_the_whole_and_a_moebius_strip_stays():
    bowl = BALL.faces[BALL.triangles_center[:, 2] < 0]
    assert inside_out(np.asarray(BALL.vertices), bowl[:, ::-1]).all()
    assert not inside_out(np.asarray(BALL.vertices), bowl).any()
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    across = np.array([-0.3, 0.3])[:, None]
    strip = np.stack(
        [(1 + across * np.cos(angle / 2)) * np.cos(angle), (1 + across * np.cos(angle / 2)) * np.sin(angle)]
    )
    vertices = np.concatenate([strip, [across * np.sin(angle / 2)]]).reshape(3, -1).T
    i, j = np.arange(24), np.r_[1:24, 0]
    low, high = i, i + 24
    next_low, next_high = np.where(j, j, 24), np.where(j, j + 24, 0)  # it closes upside down
    faces = np.concatenate([np.stack([low, next_low, next_high], -1), np.stack([low, next_high, high], -1)])
    turned = inside_out(vertices, faces)
    assert turned.all() or not turned.any()


def test_degenerate_faces_change_nothing():
    plain = surface(BOX.vertices, BOX.faces)
    vertices = np.concatenate([plain.vertices, [[0, 0, 0.0], [0.5, 1, 1.5]]])  # one unused, one a double
    faces = np.concatenate([plain.faces, [[0, 0, 1], [2, 2, 2], [7, 9, 7]]])
    np.testing.assert_array_equal(grid(surface(vertices, faces))[0], grid(plain)[0])
    with pytest.raises(ValueError, match="without any; export it again"):
        prepare(surface(np.zeros((3, 3)), [[0, 1, 2]]))
    with pytest.raises(ValueError, match="without any"):
        prepare(surface([[0, 0, 0], [1, 1, 1], [2, 2, 2]], [[0, 1, 2]]))


def test_a_solid_drawn_from_both_sides_is_solid():
    plain = surface(BOX.vertices, BOX.faces)
    both = np.concatenate([plain.faces, plain.faces[::-1, ::-1]])
    np.testing.assert_array_equal(grid(surface(BOX.vertices, both))[0], grid(plain)[0])


def test_the_place_undoes_any_similarity():
    far = BOX.copy()
    far.apply_scale(1e-3)
    far.apply_translation((5, -7, 11))
    first, _ = prepare(surface(BOX.vertices, BOX.faces))
    second, similarity = prepare(surface(far.vertices, far.faces))
    np.testing.assert_allclose(np.sort(second.vertices, axis=0), np.sort(first.vertices, axis=0), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(second.vertices, axis=-1), 0.9, atol=1e-9)
    np.testing.assert_allclose(similarity.to_file(np.zeros(3)), [5, -7, 11], atol=1e-9)
    turned, _ = prepare(surface(BOX.vertices, BOX.faces), y_up=True)  # glTF's z, x, y are our x, y, z
    np.testing.assert_allclose(np.ptp(turned.vertices, axis=0), np.ptp(first.vertices, axis=0)[[2, 0, 1]], atol=1e-9)


def test_samples_are_even_and_bring_normals_and_colours():
    given = surface(BOX.vertices, BOX.faces, np.asarray(BOX.vertices) / [1, 2, 3] + 0.5)
    _, similarity, placed, pieces = grid(given)
    drawn = sample(placed, pieces, 60_000, RNG)
    half = np.array([0.5, 1, 1.5]) * similarity.scale
    np.testing.assert_allclose(box_distance(drawn.positions, half), 0, atol=1e-6)
    side = np.abs(drawn.normals).argmax(-1)
    share = np.bincount(side) / 60_000
    np.testing.assert_allclose(share, np.array([6, 3, 2]) / 11, atol=0.01)
    rows = np.arange(60_000)
    np.testing.assert_allclose(drawn.normals[rows, side], np.sign(drawn.positions[rows, side]), atol=1e-6)
    np.testing.assert_allclose(drawn.colors, drawn.positions / (2 * half) + 0.5, atol=1e-5)
    moments = (drawn.positions[side == 2, :2] / half[:2]) ** 2
    np.testing.assert_allclose(moments.mean(0), 1 / 3, atol=0.01)


def test_a_texture_is_bilinear_between_texel_centres_and_repeats():
    texture = RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    row, column = np.meshgrid(np.arange(4), np.arange(6), indexing="ij")
    centres = np.stack([(column + 0.5) / 6, 1 - (row + 0.5) / 4], axis=-1).reshape(-1, 2)
    for shift in ([0, 0], [3, -2]):
        np.testing.assert_allclose(lookup(texture, centres + shift), texture.reshape(-1, 3) / 255, atol=1e-9)
    between = lookup(texture, np.array([[2 / 6, 1 - 1.5 / 4]]))
    np.testing.assert_allclose(between[0], texture[1, 1:3].mean(0) / 255, atol=1e-9)
