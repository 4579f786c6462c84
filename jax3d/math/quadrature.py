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


def stratified(
    near: Float[Array, "..."], far: Float[Array, "..."], count: int, key: Array | None
) -> tuple[Float[Array, "... n"], Float[Array, "... n"]]:
    """One sample in each of `count` equal bins of [near, far], uniform in the bin, and the bins' lengths."""
    within = 0.5 if key is None else jax.random.uniform(key, (*jnp.shape(near), count), near.dtype)
    fraction = (jnp.arange(count, dtype=near.dtype) + within) / count
    length = (far - near)[..., None]
    return near[..., None] + length * fraction, jnp.broadcast_to(length / count, (*near.shape, count))


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
