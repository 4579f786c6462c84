"""Per-example randomness: every example of a batch has its own key, so the numbers do not depend on how the batch is
split over devices."""

import jax
from jaxtyping import Array


def split_each(keys: Array, count: int) -> tuple[Array, ...]:
    """Split each of the keys [b] into `count`, to be unpacked by name: that many arrays of keys [b]."""
    return jax.vmap(lambda key: tuple(jax.random.split(key, count)))(keys)


def normal_each(keys: Array, shape: tuple[int, ...]) -> Array:
    """Standard normal numbers [b, *shape], one draw per key."""
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)


def uniform_each(keys: Array, shape: tuple[int, ...] = (), low: float = 0.0, high: float = 1.0) -> Array:
    """Uniform numbers [b, *shape] in [low, high), one draw per key."""
    return jax.vmap(lambda key: jax.random.uniform(key, shape, minval=low, maxval=high))(keys)
