"""Adam with one step size for all numbers of an array, so that steps keep the direction of a smooth gradient.

    m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) max g^2,   x <- x - rate m^ / (sqrt(v^) + eps)

m^ and v^ corrected for their start (Kingma & Ba, arXiv 1412.6980). With v of each number by itself, those of the
smallest gradients would move as far as those of the largest, which undoes what math/diffuse is for (Nicolet et al.
2021).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax


class EvenAdamState(NamedTuple):
    """Moments: of each number, and of each array."""

    count: jax.Array
    mean: optax.Params
    largest: optax.Params


def even_adam(
    rate: optax.ScalarOrSchedule, *, b1: float = 0.9, b2: float = 0.99, eps: float = 1e-12
) -> optax.GradientTransformation:
    """The optimizer; `rate` is how far the numbers of the largest gradients move a step."""

    def init(params: optax.Params) -> EvenAdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return EvenAdamState(jnp.zeros((), jnp.int32), zeros, jax.tree.map(lambda p: jnp.zeros((), p.dtype), params))

    def update(gradient: optax.Updates, state: EvenAdamState, params: optax.Params | None = None):
        mean = optax.tree.update_moment(gradient, state.mean, b1, 1)
        largest = jax.tree.map(lambda g, v: b2 * v + (1 - b2) * jnp.max(g**2), gradient, state.largest)
        count = state.count + 1
        step = rate(state.count) if callable(rate) else rate
        scale = lambda v: step / (1 - b1**count) / (jnp.sqrt(v / (1 - b2**count)) + eps)  # noqa: E731
        return jax.tree.map(lambda m, v: -scale(v) * m, mean, largest), EvenAdamState(count, mean, largest)

    return optax.GradientTransformation(init, update)
