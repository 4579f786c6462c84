"""The DMTet scene: where it begins, what cameras see of it, and what it exports; test_deform moves it."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from jax.tree_util import Partial

from jax3d.math import linalg
from jax3d.math.camera import orbit
from jax3d.math.orbit import turntable
from jax3d.nn.field import Voxels
from jax3d.scene.dmtet import DMTet

SCENE = DMTet(texture=Voxels(resolution=4), cells=16, radius=0.6)
SIZE = 32
CAMERA = orbit(0.3, 0.2, 3.0, 2 * np.arctan(0.5))  # at the origin the image is 3 wide


@functools.partial(jax.jit, static_argnums=0)
def see(scene, params, camera):
    return scene.render(params, camera, None, height=SIZE, width=SIZE)


@pytest.fixture(scope="module")
def params():
    return SCENE.init(jax.random.key(0))


def disc(radius):
    """Pixels that a ball at the origin covers, seen from 3 away: sin of the cone's half angle is radius / 3."""
    return np.pi * (SIZE * np.tan(np.arcsin(radius / 3))) ** 2


def test_it_begins_as_a_ball(params):
    out = see(SCENE, params, CAMERA)
    chex.assert_tree_all_finite(jax.tree.leaves(out))
    np.testing.assert_allclose(float(out.opacity.sum()), disc(0.6), rtol=0.03)
    middle = SIZE // 2
    assert float(out.depth[middle, middle]) == pytest.approx(2.4, abs=0.02)
    np.testing.assert_allclose(out.normal[middle, middle], linalg.normalize(CAMERA.world_from_camera[:3, 3]), atol=0.15)
    assert all(0 < float(room) < 1 for room in out.extras["demand"].values())
    assert "key" not in str(jax.tree.structure(params)) and params["fixed"]["grid"].tetrahedra.dtype == jnp.int32


def test_a_batch_of_cameras_is_that_many_cameras(params):
    both = turntable(2)
    out = see(SCENE, params, both)
    for k in range(2):
        one = see(SCENE, params, jax.tree.map(lambda leaf, k=k: leaf[k], both))
        chex.assert_trees_all_close(one.rgb, out.rgb[k], atol=1e-6)


def test_it_begins_at_the_surface_of_a_density_without_its_crumbs_and_cavities(params):
    def density(points):
        ball = 30 * jnp.exp(30 * (0.55 - linalg.safe_norm(points)))
        crumb = 200 * jnp.exp(-((linalg.safe_norm(points - 0.9) / 0.06) ** 2))
        return jnp.where(linalg.safe_norm(points) < 0.15, 0.0, ball) + crumb

    scene, begun = SCENE.begin(Partial(density), params["texture"])
    out = see(scene, begun, CAMERA)
    shown = SCENE.export(begun)  # a ball whose size is that of the automatic level
    radius = np.linalg.norm(shown.vertices, axis=1)
    assert radius.std() < 0.1 * 2 / 16 and 0.3 < radius.mean() < 0.9
    np.testing.assert_allclose(float(out.opacity.sum()), disc(radius.mean()), rtol=0.04)
    assert scene.room[0] < SCENE._room[0] and float(out.extras["demand"]["surface"]) < 1
    thicker = SCENE.export(SCENE.begin(Partial(density), params["texture"], share=0.3)[1])
    grown = np.linalg.norm(thicker.vertices, axis=1).mean() - radius.mean()
    np.testing.assert_allclose(grown, np.log(1 / 0.3) / 30, atol=5e-3)
    with pytest.raises(ValueError, match="empty"):
        SCENE.begin(Partial(lambda points: jnp.zeros(len(points))), params["texture"])


def test_the_export_is_closed_outward_and_has_colours(params):
    mesh = SCENE.export(params, max_faces=400)
    body = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert body.is_watertight and len(mesh.faces) <= 400
    np.testing.assert_allclose(body.volume, 4 / 3 * np.pi * 0.6**3, rtol=0.05)
    assert (np.sum(mesh.normals * mesh.vertices, axis=1) > 0.55).all()
    assert mesh.colors.shape == mesh.vertices.shape and mesh.uv is None
    textured = SCENE.export(params, texture=256)
    assert textured.texture.shape == (256, 256, 3) and textured.normal_map is not None


def test_too_little_room_and_a_vanished_surface_are_said(params):
    small = dataclasses.replace(SCENE, room=(100, 200))
    demand = see(small, params, CAMERA).extras["demand"]
    assert demand["surface"] > 1 and demand["fragments"] < 1
    gone = params | {"distance": jnp.abs(params["distance"]) + 1}
    assert float(see(SCENE, gone, CAMERA).opacity.max()) == 0
    with pytest.raises(ValueError, match="vanished: distances"):
        SCENE.export(gone)


def bumpy(params):
    """Waves on the ball, and every node moved by up to half of what it may."""
    k_offset = jax.random.key(1)
    grid = params["fixed"]["grid"]
    waves = 0.4 * jnp.sin(9 * grid.vertices[:, 0]) * jnp.cos(7 * grid.vertices[:, 1])
    moved = jax.random.uniform(k_offset, params["offset"].shape, minval=-0.5, maxval=0.5)
    return params | {"distance": params["distance"] + waves, "offset": jnp.arctanh(moved)}


@pytest.fixture(scope="module")
def finer(params):
    """A bumpy ball, twice."""
    coarse = bumpy(params)
    scene, fine = SCENE.finer(coarse)
    return coarse, scene, fine


def body(mesh):
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def test_a_finer_grid_has_the_same_surface_and_fewer_tetrahedra_than_all(finer):
    coarse, scene, fine = finer
    grid = fine["fixed"]["grid"]
    assert scene.spacing == SCENE.spacing / 2 and len(grid.tetrahedra) < 0.8 * 6 * 32**3
    before, after = SCENE.export(coarse), scene.export(fine)
    assert body(after).is_watertight and len(after.faces) > 3 * len(before.faces)
    assert body(after).volume == pytest.approx(body(before).volume, rel=1e-4)
    assert body(after).area == pytest.approx(body(before).area, rel=1e-3)
    images = [see(*each, CAMERA) for each in ((SCENE, coarse), (scene, fine))]
    np.testing.assert_allclose(images[0].depth, images[1].depth, atol=1e-3)
    assert 0 < float(images[1].extras["demand"]["surface"]) < 1
    assert (np.sum(after.normals * after.vertices, axis=1) > 0.3).all()


def test_a_finer_surface_moves_and_stays_closed_wherever_it_is_pushed(finer):
    _, scene, fine = finer
    loss = lambda params: jnp.sum(see(scene, params, CAMERA).opacity)  # noqa: E731
    gradient = jax.grad(loss, allow_int=True)(fine)
    chex.assert_tree_all_finite([gradient["distance"], gradient["offset"]])
    held = np.isfinite(fine["fixed"]["held"])
    assert (np.asarray(gradient["distance"])[held] == 0).all() and float(jnp.abs(gradient["distance"]).max()) > 0
    k_push = jax.random.key(2)
    for push in (-9.0, 9.0, 5 * jax.random.normal(k_push, fine["distance"].shape)):
        pushed = scene.export(fine | {"distance": fine["distance"] + push}, keep=0.0)
        assert body(pushed).is_watertight and body(pushed).volume > 0


def test_it_can_be_halved_again_and_begin_halved():
    twice = dataclasses.replace(SCENE, cells=8, halvings=2)
    begun = twice.init(jax.random.key(0))
    ball = body(twice.export(begun, max_faces=2000))
    assert ball.is_watertight and ball.volume == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.1)
    offsets = jnp.full_like(begun["offset"], 9.0)  # all the reach to one side, more than the next grid has
    scene, again = twice.finer(begun | {"offset": offsets})
    shift = np.subtract(
        *(body(s.export(p)).centroid for s, p in ((twice, begun | {"offset": offsets}), (scene, again)))
    )
    np.testing.assert_allclose(shift, 0.16 * scene.spacing, rtol=0.05)
    with pytest.raises(ValueError, match="rings must be 1 or more, is 0"):
        twice.finer(begun, rings=0)
    with pytest.raises(ValueError, match="vanished"):
        twice.finer(begun | {"distance": begun["distance"] ** 2 + 1, "fixed": begun["fixed"] | {"held": jnp.nan}})
