"""Point-E's losses where they are known, what is told and what is dropped, and that a condition is learnt."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.data.batches import shuffled
from jax3d.methods.denoising import Denoising
from jax3d.methods.point_e_sdf import Distances
from jax3d.nn.perceiver import by_head
from jax3d.nn.point_e import PointSDF, Told
from jax3d.nn.point_e_config import CHANNEL_BIASES, CHANNEL_SCALES, PointEConfig, PointSDFConfig
from jax3d.nn.set_transformer import normalised
from jax3d.prior.openai_denoiser import Network, Run
from jax3d.scene.point_e import to_published
from jax3d.train.loop import TrainConfig, train

SCALES = {"channel_scales": CHANNEL_SCALES, "channel_biases": CHANNEL_BIASES}
UPSAMPLE = PointEConfig(16, 1, 2, n_ctx=8, grid_features=4, cond_ctx=6, **SCALES)


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


@pytest.mark.parametrize("mean_type", ["epsilon", "v", "x_start"])
def test_a_network_that_says_nothing_has_the_loss_of_its_target(mean_type):
    """Networks begin at 0: the error is E n^2 = 1, E x0^2, or E v^2 = (n - sigma x0)^2 / (1 + sigma^2)."""
    method = Denoising(PointEConfig(16, 1, 2, n_ctx=400), mean_type=mean_type, bound=0.0)
    kept = 0.3 * jnp.ones((64, 500, 6))
    task = method.task(lambda step: {"kept": kept}, 2)
    loss, _ = task.loss(method.init(jax.random.key(1)), (), {"kept": kept}, keys(64), jnp.int32(0))
    share = np.mean(1 - method.diffusion.schedule.abar)  # of noise, times being uniform
    wanted = {"epsilon": 1.0, "x_start": 0.09, "v": (1 - share) + 0.09 * share}[mean_type]
    assert float(loss) == pytest.approx(wanted, rel=0.15 if mean_type == "v" else 0.03)


def test_the_bound_trains_the_variance_alone():
    method = Denoising(PointEConfig(16, 1, 2, n_ctx=8), mean_type="v")
    batch = {"kept": jax.random.uniform(jax.random.key(0), (4, 16, 6))}
    params, at = method.init(jax.random.key(1)), (batch, keys(4), jnp.int32(0))
    with_bound, without = (
        jax.grad(lambda p, m=m: m.task(lambda step: batch, 2).loss(p, (), *at)[0])(params)["output_proj"]["kernel"]
        for m in (method, dataclasses.replace(method, bound=0.0))
    )
    np.testing.assert_allclose(with_bound[:, :6], without[:, :6], atol=1e-6)
    assert jnp.abs(with_bound[:, 6:]).max() > 0 == jnp.abs(without[:, 6:]).max()


def test_what_is_told_is_dropped_together_and_the_picture_more_often():
    method = Denoising(UPSAMPLE, dropout=0.25, unseen=0.5)
    cloud, batch = jnp.ones((400, 6, 6)), {"pictures": jnp.full((400, 2, 3, 3, 3), 255, jnp.uint8)}
    told = method._told(cloud, batch, keys(400), lambda frozen, seen: frozen * seen.mean((1, 2))[:, None, :], 2.0)
    image, points = (np.asarray(part).max((1, 2)) for part in (told.grid, told.cloud))
    assert told.vector is None and set(image) == {0.0, 2.0} and set(points) == {0.0, 1.0}
    assert not image[points == 0].any()
    assert np.mean(points == 0) == pytest.approx(0.25, abs=0.07)
    assert np.mean(image[points == 1] == 0) == pytest.approx(0.5, abs=0.09)


def test_an_upsampler_is_told_points_of_the_object_in_their_own_units_and_makes_others():
    method = Denoising(UPSAMPLE, drawn=4)
    rows = method._draw(jnp.arange(60.0).reshape(10, 6), jax.random.key(0))
    assert rows.shape == (10, 6) and len(np.unique(rows)) == 60
    data = jnp.array([[0.25, -0.5, 0.1, 255.0, 0.0, 51.0]])
    np.testing.assert_allclose(method.diffusion.leave(method.diffusion.enter(data)), data, atol=1e-4)
    np.testing.assert_allclose(method.diffusion.enter(data), [[0.5, -1, 0.2, 1, -1, -0.6]], atol=1e-5)


def test_training_learns_what_the_vector_says():
    """Clouds of one point repeated, at x0 = +0.5 along x for one vector and at -0.5 for the other."""
    method = Denoising(
        PointEConfig(32, 1, 2, n_ctx=8, vector_features=2), mean_type="v", batch_size=16, warmup=20, learning_rate=8e-3
    )
    which = np.arange(32) % 2
    kept = np.zeros((32, 16, 6), np.float16) + np.eye(6)[0] * (0.5 - which)[:, None, None]
    arrays = {"kept": kept.astype(np.float16), "vectors": np.eye(2, dtype=np.float16)[which][:, None]}
    state = train(method.task(shuffled(arrays, 16, seed=0), 300), TrainConfig(300, ema_decay=0.98, progress=False))
    network = Network(method.network, state.averaged, method.diffusion)
    told = Told(vector=jnp.repeat(jnp.eye(2), 3, axis=0))
    found = network.draw(told, keys(6, 1), Run(16, guidance=1.0)).reshape(2, -1, 6)
    np.testing.assert_allclose(found[..., :3].mean(1), [[0.25, 0, 0], [-0.25, 0, 0]], atol=0.08)
    np.testing.assert_allclose(found[..., 3:].mean((0, 1)), 127.5, atol=20)


BALL = np.float32([0.2, 0.0, -0.1]), 0.6


def ball():
    """Points, normals and distances of a ball of our world."""
    normals = np.random.default_rng(0).normal(size=(300, 3))
    normals = (normals / np.linalg.norm(normals, axis=-1, keepdims=True)).astype(np.float32)
    line = np.linspace(-1, 1, 9, dtype=np.float32)
    nodes = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1)
    distances = np.linalg.norm(nodes - BALL[0], axis=-1) - BALL[1]
    return (jnp.asarray(x, jnp.float32) for x in (BALL[0] + BALL[1] * normals, normals, distances))


def test_places_have_the_distances_of_the_cloud_they_are_asked_of():
    method = Distances(PointSDFConfig(16, 1, 2, 1, 2, n_ctx=200), places=400, noise=0.002)
    cloud, places, truth = method.example(*ball(), jax.random.key(0))
    away = lambda x: jnp.linalg.norm(x - to_published(BALL[0]), axis=-1)  # noqa: E731
    np.testing.assert_allclose(truth, BALL[1] / 2 - away(places), atol=1e-6)
    assert jnp.std(away(cloud) - BALL[1] / 2) == pytest.approx(0.002, rel=0.3)
    assert jnp.mean(jnp.abs(truth) <= method.reach / 2) > 0.5  # half and more lie beside the surface


@pytest.mark.parametrize("said", [-0.7, 0.7])
def test_too_small_a_solid_costs_four_times_as_much(said):
    method = Distances(PointSDFConfig(16, 1, 2, 1, 2, n_ctx=200))
    params = jax.tree.map(jnp.zeros_like, method.init(jax.random.key(0)))
    params["output_proj"]["bias"] += said
    points, normals, sdf = (x[None] for x in ball())
    loss, metrics = method._loss(params, (), {"points": points, "normals": normals, "sdf": sdf}, keys(1), jnp.int32(0))
    assert float(loss) == pytest.approx((1.0 if said > 0 else 4.0) * float(metrics["error"]), rel=1e-5)


@pytest.mark.parametrize("network", [PointEConfig(64, 1, 4), dataclasses.replace(UPSAMPLE, width=64, heads=4)])
def test_points_attend_at_first_to_those_near_them(network):
    params = jax.jit(Denoising(network).init)(jax.random.key(0))
    points = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (1, 400, 6)), jnp.float32).at[..., 3:].set(0.0)
    enters = [params[name] for name in ("input_proj", "cond_point_proj") if name in params]
    tokens = [normalised(points @ enter["kernel"] + enter["bias"]) for enter in enters]
    kernel = params["backbone"]["resblocks.0"]["attn.c_qkv"]["kernel"]
    parts = [jnp.split(by_head(each @ kernel, 4), 3, -1) for each in tokens]
    asked, told = parts[0][0][0], parts[-1][1][0]  # new points ask, those of the smaller cloud where there is one tell
    weights = jax.nn.softmax(jnp.einsum("qhd,khd->hqk", asked, told) / 4, -1)
    apart = jnp.linalg.norm(points[0, :, None] - points[0], axis=-1)
    assert jnp.mean(jnp.sum(weights * apart, -1)) < 0.5 * jnp.mean(apart)


def test_places_attend_at_first_to_the_points_near_them():
    network = PointSDFConfig(64, 2, 2, 2, 2, n_ctx=8)
    params = jax.jit(Distances(network).init)(jax.random.key(0))
    cloud = jnp.asarray(np.random.default_rng(0).uniform(-0.5, 0.5, (1, 500, 3)), jnp.float32)
    latents = PointSDF(network).apply({"params": params}, cloud, method="encode")
    block, enter = params["decoder"]["resblocks.0"], params["decoder_input_proj"]
    normed = lambda h: (h - h.mean(-1, keepdims=True)) / h.std(-1, keepdims=True)  # noqa: E731
    asked = normed(cloud[0, :50] @ enter["kernel"] + enter["bias"]) @ block["attn.c_q"]["kernel"]
    told = (normed(latents[0]) @ block["attn.c_kv"]["kernel"]).reshape(500, 2, 2, 32)[:, :, 0]
    weights = jax.nn.softmax(jnp.einsum("qhd,khd->hqk", asked.reshape(50, 2, 32), told) / 32**0.5, -1)
    apart = jnp.linalg.norm(cloud[0, :50, None] - cloud[0], axis=-1)
    assert jnp.mean(jnp.sum(weights * apart, -1)) < 0.5 * jnp.mean(apart)
