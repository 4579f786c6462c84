"""Terms that keep a distilled radiance field a solid object.

Per ray, from weights w_i, unit normals n_i and the ray's direction d (pointing away from the camera):
    orientation  sum_i sg(w_i) max(0, n_i . d)^2      normals seen face the camera (Ref-NeRF, arXiv 2112.03907, eq. 11)
    distortion   sum_ij w_i w_j |m_i - m_j| + 1/3 sum_i w_i^2 delta_i        (mip-NeRF 360, arXiv 2111.12077, eq. 15)
    interlevel   sum_i max(0, sg(w_i) - bound_i)^2 / (sg(w_i) + 1e-7)    a proposal covers w (mip-NeRF 360, eq. 13)
Per pixel, from the opacity a = sum_i w_i:
    opacity      sqrt(a^2 + 0.01)                     empty background (DreamFusion, arXiv 2209.14988, App. A.2)
    entropy      -a log2 a - (1 - a) log2 (1 - a)     full or empty pixels (stable-dreamfusion's lambda_entropy)
Of a whole field:
    sparsity     log(1 + 2 sigma^2)                   little matter (SNeRG, arXiv 2103.14645)
    total variation of a grid                         neighbours alike
sg stops the gradient: with it the weights cannot fall to please the orientation term. All but the first three are means
over pixels or nodes, so a multiplier does not depend on the resolution. Multipliers of other programs are not portable.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.math import linalg


def orientation_along(
    weights: Float[Array, "... n"], normals: Float[Array, "... n 3"], direction: Float[Array, "... 3"]
) -> Float[Array, "..."]:
    """The orientation term of a ray."""
    away = jnp.maximum(linalg.dot(normals, direction[..., None, :]), 0.0)
    return jnp.sum(jax.lax.stop_gradient(weights) * away**2, axis=-1)


def distortion_along(
    weights: Float[Array, "... n"], middles: Float[Array, "... n"], delta: Float[Array, "... n"]
) -> Float[Array, "..."]:
    """The distortion term of a ray, in O(n): the middles are sorted, so |m_i - m_j| splits into prefix sums."""
    mass = jnp.cumsum(weights, axis=-1) - weights
    moment = jnp.cumsum(weights * middles, axis=-1) - weights * middles
    return jnp.sum(2 * weights * (middles * mass - moment) + weights**2 * delta / 3, axis=-1)


def interlevel_along(weights: Float[Array, "... n"], bound: Float[Array, "... n"]) -> Float[Array, "..."]:
    """The proposal's loss of a ray: weights it leaves uncovered; `bound` from quadrature.mass_around."""
    weights = jax.lax.stop_gradient(weights)
    return jnp.sum(jnp.maximum(weights - bound, 0.0) ** 2 / (weights + 1e-7), axis=-1)


def opacity(opacity: Float[Array, "..."]) -> Float[Array, ""]:
    """Mean of sqrt(a^2 + 0.01), between 0.1 (empty) and 1.005 (full)."""
    return jnp.mean(jnp.sqrt(opacity**2 + 0.01))


def entropy(opacity: Float[Array, "..."], *, margin: float = 1e-3) -> Float[Array, ""]:
    """Mean binary entropy in bits: 0 for full and empty pixels, 1 at a = 1/2; in float32.

    The logarithms' arguments are clamped to [margin, 1 - margin], so value and gradient are finite at 0 and 1.
    """
    a = jnp.clip(opacity.astype(jnp.promote_types(opacity.dtype, jnp.float32)), margin, 1 - margin)
    return jnp.mean(-a * jnp.log2(a) - (1 - a) * jnp.log2(1 - a))


def sparsity(density: Float[Array, "..."]) -> Float[Array, ""]:
    """Mean of log(1 + 2 sigma^2)."""
    return jnp.mean(jnp.log1p(2 * density**2))


def total_variation(grid: Float[Array, "*sizes c"]) -> Float[Array, ""]:
    """Mean squared difference of neighbouring nodes, averaged over the spatial axes."""
    axes = range(grid.ndim - 1)
    return sum(jnp.mean(jnp.diff(grid, axis=axis) ** 2) for axis in axes) / len(axes)
