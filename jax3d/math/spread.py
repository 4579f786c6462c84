"""Numbers at nodes of a lattice whose gradient is blurred: a step moves regions, and what was smooth stays smooth.

    forward    y = x
    backward   dL/dx = B dL/dy,   B a Gaussian over the lattice, with weights that sum to 1

As with math/diffuse, any x can still be reached, but bumps of one node take longer than what many nodes do together.
The gradient of a surface on a grid is anything but smooth: it is zero at nodes that the surface does not touch, and
each pixel of an outline pulls at a few.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

REACH = 3
"""So many standard deviations of the Gaussian count."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def spread(x: Float[Array, "v"], places: Int[Array, "v 3"], size: int, width: float) -> Float[Array, "v"]:
    """x, at some `places` of a lattice of size^3 nodes; its gradient is blurred by `width` spacings, above 0.

    Nodes of the lattice that are none of these places count as nodes without a gradient.
    """
    return x


def _forward(x: Array, places: Array, size: int, width: float) -> tuple[Array, Array]:
    return x, places


def _backward(size: int, width: float, places: Array, gradient: Array) -> tuple[Array, None]:
    radius = int(np.ceil(REACH * width))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / width) ** 2)
    weights /= weights.sum()
    lattice = jnp.zeros((size,) * 3, gradient.dtype).at[tuple(places.T)].add(gradient)
    for axis in range(3):
        padded = jnp.pad(lattice, [(radius * (a == axis),) * 2 for a in range(3)])
        lattice = sum(float(w) * jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k, w in enumerate(weights))
    return lattice[tuple(places.T)], None


spread.defvjp(_forward, _backward)
