"""Reconstruction: it learns from pictures it is given, whatever places the samples, and corrects cameras."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math.camera import Rays
from jax3d.math.orbit import turntable
from jax3d.math.ramp import ramp
from jax3d.methods.reconstruct import Reconstruct, moved
from jax3d.nn.field import Voxels
from jax3d.render.packed import Occupancy
from jax3d.scene.nerf import NeRF
from jax3d.train.loop import TrainConfig, train

QUIET = TrainConfig(steps=60, progress=False, log_every=1)


def haze(points):
    return 0 * points[..., 0] - 1.0


FIELD = Voxels(resolution=12, bias=haze)


@pytest.fixture(scope="module")
def pictures():
    """A red ball above a blue one, seen from eight sides."""
    scene = NeRF(field=Voxels(resolution=12, noise=0.0, bias=lambda x: 40 * (0.5 - jnp.linalg.norm(x, axis=-1))))
    params = scene.init(jax.random.key(0))
    upper = jnp.linspace(-1, 1, 12) > 0
    color = jnp.where(upper[:, None], jnp.array([4.0, -4, -4]), jnp.array([-4.0, -4, 4]))
    params["field"]["grid"] = params["field"]["grid"].at[..., 1:].set(color)
    camera = turntable(8)
    out = jax.jit(lambda: scene.render(params, camera, None, height=16, width=16))()
    straight = out.rgb / jnp.maximum(out.opacity, 1e-6)[..., None]
    rgba = jnp.concatenate([straight, out.opacity[..., None]], axis=-1)
    return np.asarray(jnp.round(255 * jnp.clip(rgba, 0, 1)), np.uint8), camera


@pytest.mark.parametrize(
    "method",
    [
        Reconstruct(scene=NeRF(field=FIELD, samples=24), mask=0.1, distortion=1e-3, exposure=True),
        Reconstruct(
            scene=NeRF(field=FIELD, samples=16, proposals=16, proposer=Voxels(resolution=8, bias=haze)),
            interlevel=1.0,
            coarse=0.5,
        ),
        Reconstruct(
            scene=NeRF(field=FIELD, occupancy=Occupancy(resolution=8, steps=32, budget=4096)), warmup=20, refresh=10
        ),
    ],
    ids=["uniform", "proposer", "occupancy"],
)
def test_it_learns(method, pictures):
    method = dataclasses.replace(method, rays=256, steps=60, learning_rate=ramp(0.2, 0.05))
    figures = []
    state = train(method.task(*pictures), QUIET, callback=lambda step, state, each: figures.append(each))
    assert np.mean([each["psnr"] for each in figures[-5:]]) > figures[0]["psnr"] + 3
    if method.scene.occupancy:
        assert all((each["rendered"] < 1) == (each["demand"] > 1) for each in figures)
        assert figures[-1]["demand"] < 0.8 * figures[0]["demand"]
    assert set(state.params) == {"scene"} | ({"exposure"} if method.exposure else set())


def test_pose_corrections_are_rigid_and_have_a_gradient_at_zero():
    rays = Rays(jnp.array([[0.0, 0, 3]]), jnp.array([[0.0, 0, -1]]))
    quarter = moved(rays, jnp.array([[0.0, np.pi / 2, 0, 0.1, 0.2, 0.3]]))
    chex.assert_trees_all_close(quarter.directions, jnp.array([[-1.0, 0, 0]]), atol=1e-6)
    chex.assert_trees_all_close(quarter.origins, jnp.array([[0.1, 0.2, 3.3]]), atol=1e-6)
    slope = jax.jacobian(lambda motion: moved(rays, motion).directions)(jnp.zeros((1, 6)))
    chex.assert_trees_all_close(slope[0, :, 0, :3], jnp.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 0]]), atol=1e-6)


def test_pose_refinement_undoes_a_shift(pictures):
    """With the true field held still, the cameras find back to where they were."""
    rgba, camera = pictures
    scene = NeRF(field=FIELD, samples=24)
    method = Reconstruct(scene=scene, rays=512, steps=60, learning_rate=ramp(0.2, 0.05), refine_poses=True)
    state = train(method.task(rgba, camera), dataclasses.replace(QUIET, steps=60, log_every=60))
    wrong = camera.replace(world_from_camera=camera.world_from_camera.at[..., 2, 3].add(0.15))
    still = dataclasses.replace(method, learning_rate=ramp(0.0), camera_rate=ramp(1e-2))
    task = still.task(rgba, wrong)
    start = state.params | {"pose": jnp.zeros((8, 6))}
    errors = []
    end = train(
        task._replace(init=lambda key: start), QUIET, callback=lambda step, state, each: errors.append(each["psnr"])
    )
    chex.assert_trees_all_close(end.params["scene"], start["scene"])
    assert np.mean(errors[-5:]) > np.mean(errors[:5]) + 1.5
