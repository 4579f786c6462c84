"""Expansion against numpy's repeat."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math.expand import expand


@pytest.mark.parametrize("size", [32, 256, 512])
def test_is_numpy_s_repeat_cut_to_size(size):
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 6, 100) * rng.integers(0, 2, 100)
    counts[50] = 90  # longer than a word
    items = np.repeat(np.arange(100), counts)
    item, which, filled, demand = jax.jit(expand, static_argnums=1)(jnp.asarray(counts, jnp.int32), size)
    assert demand == len(items) and filled.sum() == min(size, len(items))
    np.testing.assert_array_equal(item[filled], items[:size])
    starts = np.cumsum(counts) - counts
    np.testing.assert_array_equal(which[filled], (np.arange(len(items)) - starts[items])[:size])


def test_nothing_fills_nothing_and_the_size_is_checked():
    item, _, filled, demand = expand(jnp.zeros(5, jnp.int32), 32)
    assert demand == 0 and not filled.any() and item.min() >= 0
    with pytest.raises(ValueError, match="multiple of 32, is 33"):
        expand(jnp.zeros(5, jnp.int32), 33)
