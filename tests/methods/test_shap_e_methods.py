"""The losses of Shap-E's autoencoder: a field that is right has none, and each sees what it is to see."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.data.meshes.views import poses, views
from jax3d.math.grid import nodes
from jax3d.math.tetrahedra import kuhn
from jax3d.methods.shap_e import Autoencoding, slow
from jax3d.nn.shap_e import Readings
from jax3d.nn.shap_e_config import DecoderConfig, TransmitterConfig
from jax3d.types import Points

NETWORK = TransmitterConfig(
    DecoderConfig(d_latent=4, d_hidden=8, n_coarse_samples=48, n_fine_samples=48), inner_batch_size=(16, 1)
)
METHOD = Autoencoding(NETWORK, rays=256, places=128, cells=12)
RADIUS, COLOR = 0.6, np.array([0.8, 0.5, 0.2], np.float32)


def ball(radius=RADIUS, color=COLOR, density=200.0):
    """A field that says of a lit ball what is to be said, and is dense inside."""

    def read(places, directions):
        depth = radius - jnp.linalg.norm(places, axis=-1)
        inside = density * (depth > 0)
        painted = jnp.broadcast_to(jnp.asarray(color), places.shape)
        return Readings(jnp.tanh(METHOD.steepness * depth), inside, inside, painted, painted, painted)

    return read


@pytest.fixture(scope="module")
def example():
    """A ball as data: points, views and distances."""
    normals = np.random.default_rng(0).normal(size=(4096, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    points = Points(RADIUS * normals, np.broadcast_to(COLOR, normals.shape).copy(), normals)
    pose = poses(1, 2, 24, np.random.default_rng(0))
    sdf = np.linalg.norm(np.asarray(nodes(16)), axis=-1) - RADIUS
    shown = {**points._asdict(), **views(points, pose, 24), "poses": pose, "sdf": sdf.reshape(16, 16, 16)}
    return {name: jnp.asarray(array) for name, array in shown.items()} | {"points": jnp.asarray(points.positions)}


def test_places_know_a_right_field_from_one_that_is_too_small(example):
    run = lambda read: jax.jit(lambda key: METHOD.said_of_places(read, example, key))(jax.random.key(0))  # noqa: E731
    right, small = run(ball()), run(ball(0.5, 1 - COLOR))
    assert right["distance"] < 1e-3 and right["paint"] < 1e-6 and right["right_side"] > 0.99
    np.testing.assert_allclose(small["paint"], np.mean(np.abs(1 - 2 * COLOR)), rtol=1e-5)
    assert small["distance"] > 0.1 and small["right_side"] < 0.9


def test_rays_see_opacity_and_nothing_of_an_empty_field(example):
    run = lambda read: jax.jit(lambda key: METHOD.seen_by_rays(read, jnp.zeros(3), example, key))(jax.random.key(0))  # noqa: E731
    right, empty = run(ball()), run(ball(density=0.0))
    assert right["through"] < 0.25 < 0.75 < empty["through"]  # outlines of pixels are soft, those of rays are not
    assert right["color"] < 0.5 * empty["color"]


def test_the_surface_is_pictured_where_it_is_and_its_outline_is_felt(example):
    grid = jax.device_put(kuhn(METHOD.cells))
    loss = lambda radius: METHOD.seen_of_surface(ball(radius), grid, example, jax.random.key(1))["picture"]  # noqa: E731
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(loss)))(
        jnp.array([0.5, RADIUS + 0.03, 0.75])
    )  # discs are wider than their points
    assert values[1] < 0.3 * values[0] and values[1] < 0.3 * values[2]
    assert slopes[0] < 0 < slopes[2]


def test_latents_are_noised_for_their_share_of_examples():
    z = jnp.tanh(jax.random.normal(jax.random.key(0), (64, 4, 4)))
    keys = jax.random.split(jax.random.key(1), 64)
    run = lambda share: jax.jit(dataclasses.replace(METHOD, noisy=share).noised)(z, keys)  # noqa: E731
    chex.assert_trees_all_close(run(0.0), z)
    same = jnp.all(run(0.5) == z, axis=(1, 2))
    assert 20 < same.sum() < 44 and not jnp.any(jnp.all(run(1.0) == z, axis=(1, 2)))


def test_fast_octaves_begin_small():
    start = slow()
    assert start.shape == (93,) and (start[: 3 + 4 * 3] == 1).all()
    np.testing.assert_allclose(start[3 + 14 * 3], 8 / 2**14)
    np.testing.assert_array_equal(start[3:48], start[48:])
