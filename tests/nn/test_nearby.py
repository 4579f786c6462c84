"""Initial weights with which near points attend to each other."""

import jax
import jax.numpy as jnp
import numpy as np

from jax3d.nn import nearby
from jax3d.nn.perceiver import by_head
from jax3d.nn.set_transformer import normalised

WIDTH, HEADS = 64, 4


def test_attention_falls_with_the_distance():
    stretch, sharpness = (1.5, 1.5, 1.5), 2.0
    enter = nearby.entrance(jax.random.key(0), stretch, WIDTH)
    points = jnp.stack([jnp.linspace(0, 1, 9), jnp.zeros(9), jnp.zeros(9)], -1)
    tokens = normalised(points @ enter["kernel"] + enter["bias"])
    kernel = jax.random.normal(jax.random.key(1), (WIDTH, 3 * WIDTH))
    ask = nearby.question(jax.random.key(2), sharpness, WIDTH)
    kernel = nearby.asked(kernel, ask, HEADS, keys=(0, 1))
    q, k, v = (part[0] for part in jnp.split(by_head((tokens @ kernel)[None], HEADS), 3, -1))
    np.testing.assert_allclose(q, k, atol=1e-5)
    assert jnp.abs(v - k).max() > 1
    scores = jnp.einsum("thd,shd->ts", q, k)[0]
    cosine = 1 / jnp.sqrt(1 + (1.5 * points[:, 0]) ** 2)  # between (1, W x) and (1, 0)
    np.testing.assert_allclose(scores / (sharpness**2 * WIDTH), cosine, atol=0.05)
    assert jnp.all(jnp.diff(scores) < 0)


def test_the_other_maps_stay():
    kernel = jax.random.normal(jax.random.key(0), (WIDTH, 2 * WIDTH))
    ask = nearby.question(jax.random.key(1), 1.0, WIDTH)
    found = nearby.asked(kernel, ask, HEADS, keys=(0,)).reshape(WIDTH, HEADS, 2, -1)
    np.testing.assert_array_equal(found[:, :, 1], kernel.reshape(WIDTH, HEADS, 2, -1)[:, :, 1])
    np.testing.assert_array_equal(found[:, :, 0].reshape(WIDTH, WIDTH), ask)
    np.testing.assert_allclose(ask.T @ ask, np.eye(WIDTH), atol=1e-5)
