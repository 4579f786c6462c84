"""Positions of true entries against numpy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math.select import true_positions

positions = jax.jit(true_positions, static_argnums=1)


@pytest.mark.parametrize("size", [40, 100])  # searched, written
@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 1.0])
def test_positions_are_numpy_s(share, size):
    mask = np.random.default_rng(0).random(640) < share
    found, count = positions(jnp.asarray(mask), size)
    expected = np.flatnonzero(mask)
    assert int(count) == len(expected)
    np.testing.assert_array_equal(found[: len(expected)], expected[:size])
    assert found.min() >= 0 and found.max() < 640  # the other slots are safe to look up


def test_a_ragged_mask_is_refused():
    with pytest.raises(ValueError, match="multiple of 32"):
        true_positions(jnp.ones(33, bool), 4)
