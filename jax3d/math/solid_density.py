"""What a volume renderer sees of a solid given by signed distances s, negative inside.

    VolSDF (arXiv 2106.12052, eq. 2-3)     sigma = Psi(-s) / beta,   Psi the distribution function of Laplace's law,
                                           Psi(x) = e^(x/beta) / 2 for x <= 0, 1 - e^(-x/beta) / 2 for x > 0
    NeuS (arXiv 2106.10689, eq. 13)        alpha_i = max(0, (Phi(s_i) - Phi(s_{i+1})) / Phi(s_i)),
                                           Phi(x) = sigmoid(x / beta)

Both are sharp within about beta of the surface. VolSDF's is a density and knows no direction. NeuS's is the opacity of
a piece of a ray between two samples; along a ray that only goes inwards the product of all (1 - alpha) telescopes to
Phi(s_last) / Phi(s_first), whatever the samples are: no bias, and light is stopped at the surface alone.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def volsdf_density(distance: Float[Array, "..."], beta: Float[Array, ""] | float) -> Float[Array, "..."]:
    """sigma per unit length, 1 / beta deep inside and 1 / (2 beta) on the surface; beta > 0 in units of length."""
    tail = 0.5 * jnp.exp(-jnp.abs(distance) / beta)
    return jnp.where(distance > 0, tail, 1 - tail) / beta


def neus_opacity(distance: Float[Array, "... n"], beta: Float[Array, ""] | float) -> Float[Array, "... m"]:
    """alpha in [0, 1) of the n - 1 pieces between the samples of a ray, from the distances at the samples."""
    # 1 - Phi_next / Phi in logarithms: deep inside both are tiny.
    change = jax.nn.log_sigmoid(distance[..., 1:] / beta) - jax.nn.log_sigmoid(distance[..., :-1] / beta)
    return -jnp.expm1(jnp.minimum(change, 0.0))
