"""Solids as grids of truncated distances: a ball whose answer is known, resampling, colours, borders, round trips."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from jax3d.codec.sdf_grid import SDFGrid
from jax3d.data.meshes import procedural_dataset
from jax3d.math.grid import interpolate
from jax3d.types import Codec

CENTRE, RADIUS = np.array([0.1, -0.15, 0.05]), 0.6


def nodes(resolution):
    line = np.linspace(-1, 1, resolution)
    return np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1)


def dataset(function, resolution, points=None):
    """The arrays of one example: distances by `function`, and points coloured by where they are."""
    points = np.zeros((1, 3)) if points is None else points
    arrays = {"sdf": function(nodes(resolution)), "points": points, "colors": 0.5 * (points + 1)}
    return {name: np.float32(array)[None] for name, array in arrays.items()}


def ball(resolution):
    directions = np.random.default_rng(0).normal(size=(4000, 3))
    points = CENTRE + RADIUS * directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    return dataset(lambda p: np.linalg.norm(p - CENTRE, axis=-1) - RADIUS, resolution, points)


def there_and_back(codec, data):
    params, kept = codec.encode(data)
    assert params == {} and kept.shape == (len(data["sdf"]), *codec.shape) and kept.dtype == np.float16
    return codec.decode(params, np.asarray(codec.draw(jnp.asarray(kept[0]), jax.random.key(0))))


def test_a_ball_comes_back_to_second_order():
    errors = []
    for resolution in (12, 23):
        mesh = there_and_back(SDFGrid(resolution), ball(resolution))
        solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
        assert solid.is_watertight and solid.euler_number == 2 and solid.volume > 0  # the faces look outwards
        outward = (mesh.vertices - CENTRE) / np.linalg.norm(mesh.vertices - CENTRE, axis=-1, keepdims=True)
        assert np.min(np.sum(mesh.normals * outward, axis=-1)) > 0.98
        np.testing.assert_allclose(mesh.colors, 0.5 * (mesh.vertices + 1), atol=0.06)
        np.testing.assert_allclose(solid.center_mass, CENTRE, atol=2e-3)
        errors.append(np.abs(np.linalg.norm(mesh.vertices - CENTRE, axis=-1) - RADIUS).max())
    assert errors[0] < (2 / 11) ** 2 / 4 and errors[0] / errors[1] > 3


def test_it_is_a_codec_with_or_without_colours():
    codec = SDFGrid(12, colors=False)
    assert isinstance(codec, Codec) and codec.shape == (12, 12, 12, 1) and SDFGrid().shape == (32, 32, 32, 4)
    data = ball(12)
    mesh = there_and_back(codec, {"sdf": data["sdf"]})
    assert mesh.colors is None and mesh.normals.shape == mesh.vertices.shape
    x0 = jax.jit(codec.draw)(jnp.zeros(codec.shape, jnp.float16), jax.random.key(0))
    assert x0.dtype == jnp.float32


@pytest.mark.parametrize("given, resolution", [(6, 6), (11, 6), (12, 5), (31, 14)])
def test_a_linear_field_is_resampled_exactly(given, resolution):
    codec = SDFGrid(resolution, truncation=0.9, colors=False)
    plane = lambda p: 0.3 + p @ np.array([0.3, -0.5, 0.8])  # noqa: E731
    _, kept = codec.encode(dataset(plane, given))
    np.testing.assert_allclose(
        kept[0, ..., 0], np.clip((plane(nodes(resolution)) - codec.swell) / 0.9, -1, 1), atol=5e-4
    )


def test_colours_are_whole_at_the_surface_and_fade_to_grey():
    codec, data = SDFGrid(24), ball(24)
    _, kept = codec.encode(data)
    distance = np.abs(data["sdf"][0] - codec.swell)
    offset = nodes(24) - CENTRE
    nearest = CENTRE + RADIUS * offset / np.maximum(np.linalg.norm(offset, axis=-1, keepdims=True), 1e-9)
    weight = np.clip((0.2 - distance) / (0.2 - 2 / 23), 0, 1)
    assert np.all(weight[distance < 2 / 23] == 1) and np.all(weight[distance >= 0.2] == 0)
    near = distance < 0.2  # at the centre of the ball no point is nearest
    np.testing.assert_allclose(kept[0, near, 1:], (weight[..., None] * nearest)[near], atol=0.08)
    assert np.all(kept[0, ~near, 1:] == 0) and np.abs(kept).max() <= 1


def test_what_reaches_the_border_is_closed():
    codec = SDFGrid(12, colors=False)
    for function in (lambda p: p[..., 2] - 0.2, lambda p: 0.3 - np.linalg.norm(p, axis=-1)):
        x0 = np.float32(np.clip(function(nodes(12))[..., None] / 0.2, -1, 1))
        solid = trimesh.Trimesh(*codec.decode({}, x0)[:2], process=False)
        assert solid.is_watertight and solid.volume > 0
        assert np.abs(solid.vertices).max() < 1 + 2 / 11
    alone = np.ones(codec.shape, np.float32)
    alone[3, 4, 5] = -1
    solid = trimesh.Trimesh(*codec.decode({}, alone)[:2], process=False)
    assert solid.is_watertight
    np.testing.assert_allclose(solid.center_mass, np.array([3, 4, 5]) * 2 / 11 - 1, atol=1e-6)


def test_a_rod_thinner_than_a_cell_stays_whole():
    start, way = np.array([-0.6, -0.5, -0.55]), np.array([1.1, 1.1, 1.0])

    def rod(p):
        along = np.clip((p - start) @ way / (way @ way), 0, 1)
        return np.linalg.norm(p - start - along[..., None] * way, axis=-1) - 0.02

    def parts(swell):
        mesh = there_and_back(SDFGrid(32, colors=False, swell=swell), dataset(rod, 32))
        return mesh, trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).body_count

    mesh, count = parts(0.02)
    assert count == 1
    with pytest.raises(ValueError, match="needs nodes inside"):
        parts(0.0)
    assert np.abs(rod(mesh.vertices)).max() < 0.02  # a third of a cell


def test_a_single_wrong_node_is_no_part_of_the_solid():
    codec = SDFGrid(24, colors=False)
    _, kept = codec.encode(ball(24))
    kept[0, 1, 1, 1] = -1
    assert trimesh.Trimesh(*codec.decode({}, kept[0])[:2], process=False).body_count == 1


def test_the_procedural_world_comes_back(tmp_path):
    data = procedural_dataset(2, points=1000, resolution=32, cache=tmp_path)
    codec = SDFGrid(24)
    params, kept = codec.encode(data)
    cell = 2 / 23
    for index in range(2):
        mesh = codec.decode(params, kept[index])
        assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).is_watertight
        distance = interpolate(jnp.asarray(data["sdf"][index][..., None]), jnp.asarray(mesh.vertices))
        assert np.abs(distance).max() < cell / 2
        far, vertex = cKDTree(mesh.vertices).query(data["points"][index])
        assert np.quantile(far, 0.9) < cell
        wrong = np.abs(mesh.colors[vertex] - data["colors"][index]).max(-1) > 0.25  # between parts the colours blend
        assert wrong.mean() < 0.2


def test_what_cannot_be_encoded_or_decoded_says_so():
    data = ball(12)
    with pytest.raises(ValueError, match="at least the 16 nodes an axis of the grid, got 12"):
        SDFGrid(16).encode(data)
    with pytest.raises(ValueError, match="reach the truncation of 0.2, but those of example 0 end at 0.1"):
        SDFGrid(12).encode({**data, "sdf": np.clip(data["sdf"], -0.1, 0.1)})
    SDFGrid(12, truncation=0.7).encode({**data, "sdf": np.clip(data["sdf"], -0.7, 0.7)})
    for x0 in (np.ones((12, 12, 12, 4), np.float32), np.full((12, 12, 12, 4), np.nan, np.float32)):
        with pytest.raises(ValueError, match="a solid needs nodes inside"):
            SDFGrid(12).decode({}, x0)
    for options in ({"resolution": 3}, {"resolution": 8}, {"truncation": -1.0}):
        with pytest.raises(ValueError, match="truncation of at least a cell"):
            SDFGrid(**options)
