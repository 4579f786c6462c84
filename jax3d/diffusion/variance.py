"""Learned variance of the reverse steps (arXiv 2102.09672, sec. 3.1): the network says how noisy to step.

Its output has twice the channels: a prediction, and u, the place of the log variance between two bounds (eq. 15)

    log var = v log beta + (1 - v) log beta~ = log beta~ + v (log(1 + 1 / r^2) - log(1 + 1 / s^2)),    v = (1 + u) / 2

beta the variance of the forward step from level r to s and beta~ = r^2 q, q = 1 - (r / s)^2, that of the posterior of
x_r given x_s and x0, both in sigma space. The variational bound (eq. 13-16) trains u: with w = log var - log beta~,

    KL(posterior || reverse step) = 1/2 (w + e^-w (1 + q (D - x0)^2 / r^2) - 1)

in bits a number, D held constant: the prediction is learnt from the plain loss.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from jax3d.diffusion.denoiser import Network, expand
from jax3d.diffusion.sampler import Sampler, posterior_std
from jax3d.diffusion.schedule import Schedule
from jax3d.types import Denoiser

Border = Callable[[Network, Schedule], Denoiser]
Both = Callable[[Array, Array], tuple[Array, Array]]
"""(x, sigma) -> (x0, u)."""


def prediction(network: Network) -> Network:
    """The network without what it says of the variance."""
    return lambda z, t: _halves(network(z, t))[0]


def with_variance(border: Border, network: Network, schedule: Schedule) -> Both:
    """(x, sigma) -> (x0, u), the network asked once; `border` is from_eps, from_v or from_x0."""

    def denoise(x, sigma):
        said = []

        def first_half(z, t):
            out, u = _halves(network(z, t))
            said.append(u)
            return out

        x0 = border(first_half, schedule)(x, sigma)
        return x0, said[0]

    return denoise


def ddpm_learned(*, bound: float | None = None) -> Sampler:
    """The posterior at x0 = D with the learned variance; it samples from `with_variance` in place of a denoiser.

    With `bound`, x0 is clipped to [-bound, bound]. The step to level 0 draws no noise.
    """

    def step(both, x, state, move):
        x0, u = both(x, move.sigma)
        x0 = x0 if bound is None else jnp.clip(x0, -bound, bound)
        mean = x0 + (move.next / move.sigma) ** 2 * (x - x0)
        std = posterior_std(move) * jnp.exp(0.5 * _widening(u, move.sigma, move.next))
        return mean + jnp.where(move.next > 0, std, 0.0) * move.noise, state

    return Sampler(step, stochastic=True)


def variational_bound(
    x0: Float[Array, "b ..."],
    foretold: Float[Array, "b ..."],
    u: Float[Array, "b ..."],
    sigma: Float[Array, " b"],
    below: Float[Array, " b"],
) -> Float[Array, " b"]:
    """The term of the bound for a step from sigma to `below`, in bits a number; 0 for the step to level 0.

    `foretold` is the denoised array; the gradient reaches u alone.
    """
    s, r = expand(sigma, x0), expand(jnp.where(below > 0, below, sigma / 2), x0)
    w = _widening(u, s, r)
    apart = (stop_gradient(foretold) - x0) / r
    divergence = 0.5 * (w + jnp.exp(-w) * (1 + (1 - (r / s) ** 2) * apart**2) - 1)
    bits = jnp.mean(divergence, axis=tuple(range(1, x0.ndim))) / np.log(2)
    return jnp.where(below > 0, bits, 0.0)


def below(schedule: Schedule, sigma: Float[Array, "..."]) -> Float[Array, "..."]:
    """The level one whole time below those of `sigma`, which belong to whole times; 0 below the first."""
    t = jnp.round(schedule.time(sigma)).astype(jnp.int32)
    table = jnp.asarray(np.append(0.0, schedule.sigmas[:-1]), sigma.dtype)
    return table[t]


def _widening(u: Array, sigma: Array, below: Array) -> Array:
    """log var - log beta~ of a step from sigma to `below`; 0 where that is 0."""
    r = jnp.where(below > 0, below, sigma)
    return (1 + u) / 2 * (jnp.log1p(r**-2) - jnp.log1p(sigma**-2))


def _halves(out: Array) -> tuple[Array, Array]:
    if out.shape[-1] % 2:
        raise ValueError(f"A network with a learned variance has an even number of channels, this has {out.shape[-1]}.")
    first, second = jnp.split(out, 2, axis=-1)
    return first, second
