"""A blurred gradient against SciPy's Gaussian filter, on a full lattice and on some of its nodes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jax3d.math.spread import REACH, spread


@pytest.mark.parametrize(("width", "share"), [(1.0, 1.0), (0.7, 0.3)])
def test_the_gradient_is_that_of_a_gaussian_filter_and_the_value_the_same(width, share):
    rng = np.random.default_rng(0)
    size = 9
    places = np.argwhere(rng.random((size,) * 3) < share)
    x, pull = (jnp.asarray(rng.normal(size=len(places)), jnp.float32) for _ in range(2))
    same, back = jax.vjp(lambda x: spread(x, jnp.asarray(places), size, width), x)
    np.testing.assert_array_equal(same, x)
    lattice = np.zeros((size,) * 3)
    lattice[tuple(places.T)] = np.asarray(pull)
    radius = int(np.ceil(REACH * width))
    blurred = ndimage.gaussian_filter(lattice, width, mode="constant", radius=radius)
    np.testing.assert_allclose(back(pull)[0], blurred[tuple(places.T)], atol=1e-6)
