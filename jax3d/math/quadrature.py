"""Numerical integration along rays: samples, the emission-absorption weights, and resampling where the weights are.

A ray r(t) = o + t d is cut into n bins of length delta_i. With density sigma_i constant in a bin (Max 1995; NeRF,
arXiv 2003.08934, eq. 3)

    alpha_i = 1 - exp(-sigma_i delta_i),   T_i = exp(-sum_{j<i} sigma_j delta_j),   w_i = T_i alpha_i,

and sum_i w_i = 1 - exp(-sum_i sigma_i delta_i) exactly: the opacity of the ray. What is left, 1 - sum w, sees the
background. The delta_i are bin lengths, never differences of jittered samples, so they add up to far - near and the
last bin is no special case: NeRF's infinite last bin turns any density at the far plane, even 1e-9, into a wall.

All arrays align along the last axis: n values in bins, n + 1 edges. `key=None` means midpoints.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def evenly(near: Float[Array, ""], far: Float[Array, ""], s: Float[Array, " n"]) -> Float[Array, " n"]:
    """The distance at the fraction s in [0, 1] of the way from near to far."""
    return near + (far - near) * s


def by_disparity(near: Float[Array, ""], far: Float[Array, ""], s: Float[Array, " n"]) -> Float[Array, " n"]:
    """The distance whose inverse is at the fraction s between 1 / near and 1 / far: dense near the camera; near > 0."""
    near = jnp.maximum(near, 1e-6)
    return 1 / ((1 - s) / near + s / jnp.maximum(far, near))


def stratified(count: int, key: Array | None) -> tuple[Float[Array, " n"], Float[Array, " n1"]]:
    """One number in each of `count` equal bins of [0, 1], uniform in its bin, and the bins' edges."""
    within = 0.5 if key is None else jax.random.uniform(key, (count,))
    return (jnp.arange(count) + within) / count, jnp.linspace(0.0, 1.0, count + 1)


def optical_depth(density: Float[Array, "... n"], delta: Float[Array, "... n"]) -> Float[Array, "..."]:
    """sum_i sigma_i delta_i: the whole ray's."""
    return jnp.sum(density * delta, axis=-1)


def opacity(density: Float[Array, "... n"], delta: Float[Array, "... n"]) -> Float[Array, "..."]:
    """1 - exp(-sum_i sigma_i delta_i) in [0, 1], accurate for thin media."""
    return -jnp.expm1(-optical_depth(density, delta))


def weights(density: Float[Array, "... n"], delta: Float[Array, "... n"]) -> Float[Array, "... n"]:
    """w_i = T_i alpha_i >= 0, with sum at most 1."""
    depth = density * delta
    # Shifted, not cumsum(depth) - depth: that cancels, and a fused multiply-add makes exp(+large) of an opaque bin.
    before = jnp.cumsum(depth[..., :-1], axis=-1)
    before = jnp.concatenate([jnp.zeros_like(depth[..., :1]), before], axis=-1)
    return jnp.exp(-before) * -jnp.expm1(-depth)


def residual(density: Float[Array, "... n"], delta: Float[Array, "... n"]) -> Float[Array, "..."]:
    """exp(-sum_i sigma_i delta_i) = 1 - sum w: the share of the background."""
    return jnp.exp(-optical_depth(density, delta))


def resample(
    edges: Float[Array, " m1"], mass: Float[Array, " m"], count: int, key: Array | None, *, floor: float = 1e-3
) -> Float[Array, " n"]:
    """`count` sorted samples of the step density that has `mass` (need not sum to 1) between `edges`, for one ray.

    Inverse CDF at stratified quantiles; the CDF is linear in a bin. `floor`, a share of the whole, is spread over the
    bins by length so that empty space keeps a few samples, and a ray with no mass is sampled uniformly.
    """
    lengths = jnp.diff(edges)
    total, span = jnp.sum(mass), edges[-1] - edges[0]
    share = mass / jnp.where(total > 0, total, 1.0)
    uniform = lengths / jnp.where(span > 0, span, 1.0)
    share = jnp.where(total > 0, (1 - floor) * share + floor * uniform, uniform)
    cdf = jnp.concatenate([jnp.zeros(1, share.dtype), jnp.cumsum(share)])
    cdf = cdf / jnp.where(cdf[-1] > 0, cdf[-1], 1.0)
    within = 0.5 if key is None else jax.random.uniform(key, (count,), edges.dtype)
    return jnp.interp((jnp.arange(count, dtype=edges.dtype) + within) / count, cdf, edges)


def mass_around(mass: Float[Array, " m"], edges: Float[Array, " n1"]) -> Float[Array, " n"]:
    """For each interval between `edges` in [0, 1] the mass of those of m equal bins of [0, 1] that it touches.

    The upper bound of mip-NeRF 360 (arXiv 2111.12077, eq. 12): no step density with these bins has more there.
    """
    count = mass.shape[0]
    total = jnp.concatenate([jnp.zeros(1, mass.dtype), jnp.cumsum(mass)])
    low = jnp.floor(edges[:-1] * count).astype(jnp.int32)
    high = jnp.ceil(edges[1:] * count).astype(jnp.int32)
    return total[jnp.clip(high, 0, count)] - total[jnp.clip(low, 0, count)]
