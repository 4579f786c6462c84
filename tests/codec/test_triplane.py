"""Solids as triplanes: two solids there and back, what stays fixed, statistics, densities, what is refused."""

import copy

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from jax3d.codec.triplane import CLOSE, Triplanes, _targets
from jax3d.math.camera import Rays
from jax3d.math.grid import nodes
from jax3d.nn.field import FieldSample
from jax3d.render.volume import render_rays
from jax3d.types import Codec

CODEC = Triplanes(
    resolution=12, channels=4, width=16, learn=2, learn_steps=300, steps=300, points=256, block=2, nodes=24
)
CENTRE, RADIUS, SIDES = np.array([0.1, -0.15, 0.05]), 0.6, np.array([0.5, 0.35, 0.6])


def ball(x):
    return np.linalg.norm(x - CENTRE, axis=-1) - RADIUS


def box(x):
    beyond = np.abs(x) - SIDES
    return np.linalg.norm(np.maximum(beyond, 0), axis=-1) + np.minimum(beyond.max(-1), 0)


@pytest.fixture(scope="module")
def data():
    """A ball and a box, coloured by where they are."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(1000, 3))
    on_ball = CENTRE + RADIUS * directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    on_box = rng.uniform(-1, 1, (1000, 3))
    side = rng.choice(3, size=1000, p=1 / SIDES / np.sum(1 / SIDES))
    on_box[np.arange(1000), side] = np.sign(on_box[np.arange(1000), side])
    points = np.stack([on_ball, SIDES * on_box])
    where = np.asarray(nodes(24))
    arrays = {"sdf": np.stack([ball(where), box(where)]), "points": points, "colors": 0.5 * (points + 1)}
    return {name: np.float32(array) for name, array in arrays.items()}


@pytest.fixture(scope="module")
def encoded(data):
    """(params, kept)."""
    return CODEC.encode(data)


def test_two_solids_come_back(data, encoded):
    params, kept = encoded
    for index, distance in enumerate((ball, box)):
        mesh = CODEC.decode(params, kept[index])
        solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
        assert solid.is_watertight and solid.body_count == 1 and solid.volume > 0  # the faces look outwards
        assert np.abs(distance(mesh.vertices)).mean() < 0.02
        assert np.abs(mesh.colors - 0.5 * (mesh.vertices + 1)).mean() < 0.06
        facing = np.sum(mesh.normals * solid.vertex_normals, axis=-1)
        assert mesh.normals.shape == mesh.vertices.shape and facing.mean() > 0.9
        density, _ = CODEC.density_and_color(params, jnp.asarray(kept[index]), nodes(24))
        found, inside = density > CODEC.sharpness / 2, data["sdf"][index] < 0
        assert np.sum(found & inside) / np.sum(found | inside) > 0.95


def test_it_is_a_codec_of_arrays_of_mean_0_and_deviation_1(encoded):
    params, kept = encoded
    assert isinstance(CODEC, Codec) and kept.shape == (2, *CODEC.shape) == (2, 3, 12, 12, 4)
    assert kept.dtype == np.float16 and Triplanes().shape == (3, Triplanes().resolution, Triplanes().resolution, 8)
    x0 = jax.jit(CODEC.draw)(jnp.asarray(kept[0]), jax.random.key(0))
    assert x0.dtype == jnp.float32 and x0.shape == CODEC.shape
    values = kept.astype(np.float32)
    np.testing.assert_allclose(values.mean((0, 2, 3)), 0, atol=2e-3)
    np.testing.assert_allclose(values.std((0, 2, 3)), 1, atol=2e-3)


def test_given_params_stay_and_the_same_shapes_get_the_same_planes(data, encoded):
    params, kept = encoded
    before = copy.deepcopy(jax.tree.map(np.asarray, params))
    after, again = CODEC.encode(data, params)
    chex.assert_trees_all_equal(jax.tree.map(np.asarray, after), before)
    np.testing.assert_array_equal(again, kept)
    three = {name: array[[0, 1, 1]] for name, array in data.items()}  # a block and a half
    _, again = CODEC.encode(three, params)
    assert again.shape == (3, *CODEC.shape)
    np.testing.assert_array_equal(again[:2], kept)
    apart = np.square(again[2] - kept[1].astype(np.float32)).mean()  # other random points
    assert 0 < apart < 0.2 * np.square(kept[0] - kept[1].astype(np.float32)).mean()


def test_the_density_is_the_logistic_of_the_distance_and_renders(encoded):
    params, kept = encoded
    x0 = jnp.asarray(kept[0], jnp.float32)
    directions = jnp.eye(3)[jnp.array([0, 0])]
    rays = Rays(jnp.array([[-2.0, *CENTRE[1:]], [-2.0, 0.95, 0.95]]), directions)

    @jax.jit
    def render(params):
        query = lambda points, directions: FieldSample(*CODEC.density_and_color(params, x0, points))  # noqa: E731
        return render_rays(query, rays, samples=200)

    out = render(params)
    np.testing.assert_allclose(out.opacity, [1, 0], atol=0.02)
    np.testing.assert_allclose(out.depth[0], 2 + CENTRE[0] - RADIUS, atol=0.05)
    np.testing.assert_allclose(out.rgb[0], 0.5 * (1 + CENTRE - [RADIUS, 0, 0]), atol=0.1)
    chex.assert_tree_all_finite(jax.grad(lambda params: render(params).rgb.sum())(params))
    density, _ = CODEC.density_and_color(params, x0, nodes(6))
    assert 0 <= density.min() < 1e-3 and density.max() <= CODEC.sharpness


def test_targets_of_a_linear_field_are_exact():
    slope = np.array([0.3, -0.5, 0.8])
    points = np.float32(np.random.default_rng(0).uniform(-0.6, 0.6, (1, 500, 3)))
    points[..., 2] = -points[..., :2] @ slope[:2] / slope[2]  # on the surface
    sdf = np.float32(np.asarray(nodes(5)) @ slope)[None]
    data = {"sdf": sdf, "points": points, "colors": 0.5 * (points + 1)}
    targets = _targets(CODEC, jax.tree.map(jnp.asarray, data), 4000, jax.random.key(0))
    wanted = np.clip((targets.points @ slope - CODEC.swell) / CODEC.truncation, -1, 1)
    np.testing.assert_allclose(targets.distances, wanted, atol=1e-5)
    near = np.asarray(targets.colored) == 1
    assert near.mean() == 0.5
    offset = np.asarray(targets.points - (2 * targets.colors - 1))[0, near]
    np.testing.assert_allclose([offset.mean(), offset.std()], [0, CLOSE], atol=1e-3)
    assert np.abs(targets.points).max() <= 1


def test_what_cannot_be_encoded_or_decoded_says_so(data, encoded):
    params, _ = encoded
    with pytest.raises(ValueError, match="reach the truncation of 0.2, but they end at 0.1"):
        CODEC.encode({**data, "sdf": np.clip(data["sdf"], -0.1, 0.1)})
    for x0 in (np.full(CODEC.shape, np.nan, np.float32),):
        with pytest.raises(ValueError, match="a solid needs places inside"):
            CODEC.decode(params, x0)
