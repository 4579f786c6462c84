"""Gaussians as a scene: what they begin as, how they become more and fewer, and the surface of them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trimesh

from jax3d.math.gaussians import rotations
from jax3d.math.orbit import sphere, turntable
from jax3d.scene import gaussian_surface, growth
from jax3d.scene.backproject import Views, from_views
from jax3d.scene.gaussians import Gaussians
from jax3d.scene.growth import Growth, Rates
from jax3d.types import Points, Splats

SCENE = Gaussians(count=60, capacity=100, degree=1)
LOOK = {"height": 24, "width": 24}


@pytest.fixture(scope="module")
def params():
    return SCENE.init(jax.random.key(0))


def test_it_begins_as_an_even_ball(params):
    alive = np.asarray(params["alive"]) > 0
    assert alive.sum() == 60 and len(alive) == 100
    many = Gaussians(count=4000, capacity=4000).init(jax.random.key(1))
    radius = np.linalg.norm(many["positions"], axis=1)
    assert radius.max() <= 0.5
    assert np.mean(radius**3) == pytest.approx(0.5**3 / 2, rel=0.03)  # uniform in volume
    near = trimesh.PointCloud(many["positions"]).kdtree.query(many["positions"], 2)[0][:, 1]
    assert float(jnp.exp(many["scales"][0, 0])) == pytest.approx(near.mean(), rel=0.1)


def test_a_cloud_becomes_gaussians_of_its_colours_and_spacing():
    rng = np.random.default_rng(0)
    cloud = Points(rng.normal(size=(50, 3)).astype(np.float32), rng.uniform(size=(50, 3)).astype(np.float32))
    params = SCENE.begin(cloud)
    splats = SCENE.export_splats(params)
    chex.assert_trees_all_close(splats.positions, cloud.positions)
    chex.assert_trees_all_close(0.5 + splats.harmonics[:, 0] * 0.28209479, cloud.colors, atol=1e-6)
    chex.assert_trees_all_close(splats.opacities, np.full(50, 0.1, np.float32), rtol=1e-5)
    with pytest.raises(ValueError, match="capacity of 100"):
        SCENE.begin(Points(np.zeros((101, 3), np.float32)))


def test_counts_and_degrees_that_cannot_be():
    with pytest.raises(ValueError, match="got 5 of 4"):
        Gaussians(count=5, capacity=4)
    with pytest.raises(ValueError, match="degree 4"):
        Gaussians(degree=4)


def test_a_step_of_the_optimizer_gathers_pulls_and_ages(params):
    optimizer = Rates().optimizer(10)
    cameras = turntable(2)

    @jax.jit
    def step(params, state):
        loss = lambda params: jnp.mean((SCENE.render(params, cameras, **LOOK).rgb - 0.3) ** 2)  # noqa: E731
        gradient = jax.grad(loss)(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, gradient

    before, state = params, optimizer.init(params)
    params, state, gradient = step(before, state)
    length = np.linalg.norm(gradient["pull"], axis=1)
    assert (length[:60] > 0).sum() > 50 and not length[60:].any()  # those not alive are not pulled
    chex.assert_trees_all_close(params["pull"][:, 0], length, rtol=1e-6)
    chex.assert_trees_all_equal(params["pull"][:, 1], (length > 0).astype(np.float32))
    chex.assert_trees_all_equal(params["alive"], before["alive"])
    chex.assert_trees_all_equal(params["age"], jnp.ones(100))
    params, state, again = step(params, state)
    chex.assert_trees_all_close(params["pull"][:, 0], length + np.linalg.norm(again["pull"], axis=1), rtol=1e-6)
    # A place that is filled again begins with moments of zero: its first step has the length of any first step.
    reborn = params | {"age": params["age"].at[3].set(0)}
    after, _, gradient = step(reborn, state)
    mean, square = 0.1 * gradient["base"][3], 1e-3 * gradient["base"][3] ** 2
    count = 3
    wanted = -2.5e-3 * (mean / (1 - 0.9**count)) / (jnp.sqrt(square / (1 - 0.999**count)) + 1e-15)
    chex.assert_trees_all_close(after["base"][3] - reborn["base"][3], wanted, rtol=1e-3)


def pulled(params):
    """The first ones more than the others."""
    pull = jnp.stack([jnp.arange(100, 0, -1.0), jnp.ones(100)], axis=1)
    return params | {"pull": pull * params["alive"][:, None], "age": jnp.full(100, 9.0)}


def test_the_most_pulled_become_two(params):
    params = pulled(params)
    wide = params | {"scales": params["scales"].at[:3].set(jnp.log(0.2)).at[3:].set(jnp.log(0.01))}
    grown = growth.more(wide, jax.random.key(0), 0.1, 0.1)
    assert int(grown["alive"].sum()) == 66
    young = np.flatnonzero(np.asarray(grown["age"]) == 0)
    assert set(young) == {0, 1, 2, 3, 4, 5, *range(60, 66)}
    # Split: both moved and narrower. Cloned: one stays, and the other has its size.
    assert (np.abs(grown["positions"] - wide["positions"])[:3].max(1) > 1e-3).all()
    chex.assert_trees_all_equal(grown["positions"][3:60], wide["positions"][3:60])
    chex.assert_trees_all_close(grown["scales"][60:63], wide["scales"][:3] - np.log(1.6), rtol=1e-6)
    chex.assert_trees_all_close(grown["scales"][63:66], wide["scales"][3:6])
    # Through both passes what passed through the one.
    one, two = (jax.nn.sigmoid(p["opacities"]) for p in (wide, grown))
    chex.assert_trees_all_close((1 - two[:6]) * (1 - two[60:66]), 1 - one[:6], rtol=1e-5)
    assert not grown["pull"].any()


def test_children_are_drawn_from_the_parent():
    """Many of one wide, flat and turned Gaussian: their covariance is its."""
    params = Gaussians(count=1, capacity=4).init(jax.random.key(0))
    scales, turn = jnp.log(jnp.array([0.5, 0.2, 0.05])), jnp.array([0.9, 0.3, -0.2, 0.5])
    params |= {"scales": params["scales"].at[0].set(scales), "rotations": params["rotations"].at[0].set(turn)}
    params |= {"pull": params["pull"].at[0].set(1.0)}
    one = jax.jit(lambda key: growth.more(params, key, 1.0, 0.1)["positions"][:2])
    found = np.asarray(jax.vmap(one)(jax.random.split(jax.random.key(1), 4000)))
    axes = np.asarray(rotations(turn)) * np.exp(scales)
    offsets = (found - params["positions"][0]).reshape(-1, 3)
    chex.assert_trees_all_close(np.cov(offsets.T), axes @ axes.T, atol=0.01)
    chex.assert_trees_all_close(np.mean(found[:, 0] * found[:, 1], 0), np.mean(found, (0, 1)) ** 2, atol=0.02)


def test_without_room_nothing_is_lost(params):
    full = pulled(params | {"alive": jnp.ones(100).at[7].set(0)})
    grown = growth.more(full, jax.random.key(0), 0.5, 0.1)
    assert int(grown["alive"].sum()) == 100  # one place was free
    chex.assert_trees_all_equal(growth.more(pulled(grown), jax.random.key(1), 0.5, 0.1)["alive"], jnp.ones(100))
    again = growth.more(pulled(grown), jax.random.key(1), 0.5, 0.1)
    chex.assert_trees_all_equal(again["positions"], grown["positions"])


def test_the_faint_and_the_wide_go_and_fading_bounds_all(params):
    some = params | {
        "opacities": params["opacities"].at[4].set(-8.0),
        "scales": params["scales"].at[5, 1].set(jnp.log(0.6)),
    }
    gone = np.flatnonzero(np.asarray(params["alive"] - growth.fewer(some, 5e-3, 0.5)["alive"]))
    assert set(gone) == {4, 5}
    faded = growth.faded(params)
    assert float(jax.nn.sigmoid(faded["opacities"]).max()) == pytest.approx(0.01, rel=1e-4)


def test_when_it_grows(params):
    params, rule = pulled(params), Growth(every=10, start=0.1, until=0.5, share=0.1, reset=0.2)
    key = jax.random.key(0)
    for step in (5, 15, 60):
        assert rule.after(params, step, key, 100) is params
    assert int(rule.after(params, 10, key, 100)["alive"].sum()) == 66
    assert float(jax.nn.sigmoid(rule.after(params, 20, key, 100)["opacities"]).max()) < 0.011


def test_a_ball_of_gaussians_has_a_ball_as_surface_in_its_colours(monkeypatch):
    monkeypatch.setattr(gaussian_surface, "VIEWS", 8)
    monkeypatch.setattr(gaussian_surface, "SIZE", 48)
    rng = np.random.default_rng(0)
    way = rng.normal(size=(1500, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    positions = 0.6 * way * rng.uniform(0.1, 1, (1500, 1)) ** (1 / 3)
    shell = np.linalg.norm(positions, axis=1) > 0.5
    colors = np.where(positions[:, :1] > 0, [0.9, 0.1, 0.1], [0.1, 0.1, 0.9])
    colors[~shell] = 0.5  # what nobody sees
    harmonics = ((colors - 0.5) / 0.28209479)[:, None].astype(np.float32)
    turn = np.tile(np.array([[1.0, 0, 0, 0]], np.float32), (1500, 1))
    splats = Splats(
        positions.astype(np.float32),
        np.full((1500, 3), 0.06, np.float32),
        turn,
        np.full(1500, 0.9, np.float32),
        harmonics,
    )
    mesh = gaussian_surface.surface(splats, 32, None, None)
    body = trimesh.Trimesh(mesh.vertices, mesh.faces)
    # Deviations on the grid are 0.068, the density inside 7.4; at a plane it falls as a normal distribution, and to the
    # level 1.6 deviations outside.
    assert body.is_watertight and body.volume == pytest.approx(4 / 3 * np.pi * (0.6 + 1.6 * 0.068) ** 3, rel=0.1)
    left, right = (mesh.colors[sign * mesh.vertices[:, 0] > 0.15].mean(0) for sign in (-1, 1))
    assert left[2] > 0.8 and left[0] < 0.25 and right[0] > 0.8 and right[2] < 0.25
    with pytest.raises(ValueError, match="too thin"):
        gaussian_surface.surface(splats._replace(opacities=np.full(1500, 1e-4, np.float32)), 32, None, None)


def test_the_density_is_the_sum():
    splats = SCENE.export_splats(SCENE.init(jax.random.key(2)))
    values = gaussian_surface.density(splats, 32)
    line = np.linspace(-1, 1, 32)
    axes = np.asarray(rotations(jnp.asarray(splats.rotations)))
    for i, j, k in [(16, 16, 16), (12, 18, 15), (20, 14, 10)]:
        offset = np.array([line[i], line[j], line[k]]) - splats.positions
        scales = np.sqrt(splats.scales**2 + (line[1] - line[0]) ** 2 / 4)
        square = np.sum((np.einsum("nij,ni->nj", axes, offset) / scales) ** 2, axis=1)
        wanted = np.sum(np.where(square <= 9, splats.opacities * np.exp(-square / 2), 0))
        assert values[i, j, k] == pytest.approx(wanted, rel=1e-4)


def test_colours_come_from_where_a_point_is_seen():
    """Each camera's picture is of one colour: a point gets the mean of those in front of it, and none behind."""
    cameras = sphere(12)
    colors = np.random.default_rng(0).uniform(size=(12, 1, 1, 3)).astype(np.float32)
    views = Views(cameras, jnp.broadcast_to(colors, (12, 8, 8, 3)), jnp.full((12, 8, 8), 2.5))
    normals = np.random.default_rng(1).normal(size=(20, 3))
    normals = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)
    points = 0.5 * normals
    found = from_views(views)(jnp.asarray(points), jnp.asarray(normals))
    toward = np.asarray(cameras.position)[None] - points[:, None]
    distance = np.linalg.norm(toward, axis=-1)
    weight = np.maximum(np.sum(toward * normals[:, None], -1) / distance, 0) ** 2 * np.where(distance > 2.53, 1e-4, 1)
    wanted = weight @ colors[:, 0, 0] / weight.sum(1, keepdims=True)
    chex.assert_trees_all_close(found, wanted, atol=1e-3)
