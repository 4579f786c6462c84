"""Inverse rendering as a recipe: a surface that looks like its pictures has no error, and gradients lead there."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax3d.math.orbit import turntable
from jax3d.math.ramp import ramp
from jax3d.methods.deform import Deform
from jax3d.nn.field import Voxels
from jax3d.scene.dmtet import DMTet

FIELD, SIZE = Voxels(resolution=4), 24


def test_pictures_of_the_scene_itself_leave_no_error_and_others_a_gradient():
    """The pictures show a ball; it begins as their hull, and a lesser ball grows."""
    scene, cameras = DMTet(FIELD, cells=10, radius=0.6), turntable(3)
    larger = dataclasses.replace(scene, radius=0.7)
    params = larger.init(jax.random.key(1))
    out = jax.jit(lambda p: larger.render(p, cameras, None, height=SIZE, width=SIZE))(params)
    straight = out.rgb / jnp.maximum(out.opacity, 1e-6)[..., None]
    rgba = np.round(255 * np.clip(jnp.concatenate([straight, out.opacity[..., None]], -1), 0, 1)).astype(np.uint8)
    method = Deform(scene, views=2, steps=12, normal_variation=ramp(0.0), sign_entropy=ramp(0.0))
    task = dataclasses.replace(method, distance_rate=ramp(0.2)).task(rgba, cameras)
    true = {name: leaf for name, leaf in params.items() if name != "fixed"}
    value = jax.jit(jax.value_and_grad(task.loss, has_aux=True))
    keys = lambda: jax.random.split(jax.random.key(2), 2)  # noqa: E731
    hull = task.init(jax.random.key(1))
    start = {name: leaf for name, leaf in scene.init(jax.random.key(1)).items() if name != "fixed"}
    with jax.debug_key_reuse(True):
        (error, metrics), gradient = value(start, task.frozen, (), keys(), jnp.int32(0))
        (least, _), _ = value(true, task.frozen, (), keys(), jnp.int32(0))
        (_, begun), _ = value(hull, task.frozen, (), keys(), jnp.int32(0))
    assert float(least) < 0.01 < 0.1 * float(error) and 0 < metrics["demand_surface"] < 1
    assert float(begun["silhouette"]) < 0.3 * float(metrics["silhouette"])
    chex.assert_tree_all_finite(gradient)
    assert all(float(jnp.abs(gradient[name]).max()) > 0 for name in set(gradient) & {"shape", "distance"})

    @jax.jit
    def step(params, state, k):
        (error, _), gradient = value(params, task.frozen, (), keys(), k)
        updates, state = task.optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, error

    params, state, errors = start, task.optimizer.init(start), []
    for k in range(12):
        params, state, now = step(params, state, jnp.int32(k))
        errors.append(float(now))
    assert errors[-1] < 0.5 * errors[0], errors


def test_a_finer_surface_goes_on_where_the_coarse_one_ended_and_nowhere_else():
    scene, cameras = DMTet(FIELD, cells=8), turntable(2)
    finer, start = scene.finer(scene.init(jax.random.key(1)))
    rgba = np.full((2, SIZE, SIZE, 4), 255, np.uint8)
    task = Deform(finer, steps=4).task(rgba, cameras, start)
    begun = task.init(jax.random.key(3))
    chex.assert_trees_all_equal(begun | {"fixed": task.frozen["scene"]}, start)
    with pytest.raises(ValueError, match="halvings must be 0, is 1; take more scene.cells"):
        Deform(finer).task(rgba, cameras)


def test_pictures_of_nothing_have_no_hull():
    nothing = np.zeros((2, SIZE, SIZE, 4), np.uint8)
    with pytest.raises(ValueError, match="inside the outlines of all pictures; check the poses"):
        Deform(DMTet(FIELD, cells=10)).task(nothing, turntable(2))
