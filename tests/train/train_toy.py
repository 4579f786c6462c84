"""A two-layer network learns to take noise off points on a circle: small, stochastic, with data and frozen weights."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax3d.types import Task


def init(key):
    up, down = jax.random.split(key)
    return {
        "up": {"kernel": jax.random.normal(up, (2, 16))},
        "down": {"kernel": 0.1 * jax.random.normal(down, (16, 2))},
    }


def loss(params, frozen, batch, keys, step):
    noise = jax.vmap(lambda key: jax.random.normal(key, (2,), batch["x"].dtype))(keys)
    hidden = jnp.tanh((batch["x"] + frozen["sigma"] * noise) @ params["up"]["kernel"])
    error = (hidden @ params["down"]["kernel"] - batch["x"]) ** 2
    return error.mean(), {"error_x": error[:, 0].mean()}


def batches(step):
    angle = np.random.default_rng(step).uniform(0, 2 * np.pi, 8)
    return {"x": np.stack([np.cos(angle), np.sin(angle)], -1).astype(np.float32), "label": np.arange(8)}


def task(**changes):
    parts = dict(
        init=init,
        loss=loss,
        optimizer=optax.adam(1e-2),
        batch_size=8,
        frozen={"sigma": jnp.float32(0.3)},
        batches=batches,
    )
    return Task(**(parts | changes))
