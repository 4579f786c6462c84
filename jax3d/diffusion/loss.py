"""Training a denoiser: where to draw noise levels, how to weigh them, and the one loss.

    loss = E_{x0, sigma, n}  w(sigma) |D(x0 + sigma n, sigma) - x0|^2        mean over the numbers of x0

What a network predicts is a weight (each is |prediction error|^2 of the named network):

    eps    1 / sigma^2                                  arXiv 2006.11239
    v      (1 + sigma^2) / sigma^2                      arXiv 2202.00512; EDM's weight at sigma_data = 1
    x0     1
    EDM    (sigma^2 + d^2) / (sigma d)^2, d = sigma_data    arXiv 2206.00364
    min-SNR   min(1 / sigma^2, gamma)                   arXiv 2303.09556

Keys are [b], one an example, so that the numbers do not depend on how the batch is split over devices; a single key
gives a single noise level.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.diffusion.denoiser import expand
from jax3d.diffusion.schedule import Number, Schedule, normal
from jax3d.types import Denoiser


def uniform_time(
    keys: Array, schedule: Schedule, low: Number = 0.0, high: Number = 1.0, *, integer: bool = False
) -> Float[Array, "..."]:
    """Noise levels at times uniform in [low, high], fractions of the schedule; one for each key.

    With `integer`, times are whole, as the published networks were trained. low and high may change with the step.
    """

    def draw(key):
        share = low + (high - low) * jax.random.uniform(key)
        if not integer:
            return schedule.sigma(share * schedule.last)
        return schedule.sigma(jnp.clip(jnp.floor(share * (schedule.last + 1)), 0, schedule.last))

    return _each(keys, draw)


def log_normal(keys: Array, mean: float = -1.2, std: float = 1.2) -> Float[Array, "..."]:
    """Noise levels with log sigma ~ N(mean, std^2), one for each key; the defaults are EDM's (arXiv 2206.00364)."""
    return _each(keys, lambda key: jnp.exp(mean + std * jax.random.normal(key)))


def log_uniform(keys: Array, low: float, high: float) -> Float[Array, "..."]:
    """Noise levels with log sigma uniform between log low and log high, one for each key."""
    return _each(keys, lambda key: jnp.exp(jax.random.uniform(key, minval=jnp.log(low), maxval=jnp.log(high))))


def noise_like(keys: Array, x: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
    """Standard normal numbers like x, from keys [b] or one key."""
    return normal(keys, x.shape, x.dtype)


def eps_weight(sigma: Float[Array, "..."]) -> Float[Array, "..."]:
    """1 / sigma^2: the squared error of a noise prediction."""
    return sigma**-2


def v_weight(sigma: Float[Array, "..."]) -> Float[Array, "..."]:
    """(1 + sigma^2) / sigma^2: the squared error of a v-prediction."""
    return 1 + sigma**-2


def x0_weight(sigma: Float[Array, "..."]) -> Float[Array, "..."]:
    """1: the squared error of x0 itself."""
    return jnp.ones_like(sigma)


def edm_weight(sigma: Float[Array, "..."], sigma_data: float = 0.5) -> Float[Array, "..."]:
    """(sigma^2 + d^2) / (sigma d)^2: the squared error of EDM's network, one at initialisation for every sigma."""
    return sigma_data**-2 + sigma**-2


def min_snr_weight(sigma: Float[Array, "..."], gamma: float = 5.0) -> Float[Array, "..."]:
    """min(SNR, gamma) with SNR = 1 / sigma^2: low noise levels don't take over (arXiv 2303.09556)."""
    return jnp.minimum(sigma**-2, gamma)


def denoising_loss(
    denoise: Denoiser,
    x0: Float[Array, "b ..."],
    sigma: Float[Array, "..."],
    noise: Float[Array, "b ..."],
    weight: Number = 1.0,
) -> Float[Array, ""]:
    """The mean over examples of weight * mean |D(x0 + sigma n) - x0|^2; sigma and weight are () or [b]."""
    noisy = (x0 + expand(sigma, x0) * noise).astype(x0.dtype)
    return jnp.mean(expand(weight, x0) * (denoise(noisy, sigma) - x0) ** 2)


def _each(keys: Array, draw) -> Array:
    return jax.vmap(draw)(keys) if keys.ndim else draw(keys)
