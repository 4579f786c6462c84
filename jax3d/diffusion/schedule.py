"""Noise levels: the table a network was trained with, the continuous time between its entries, and grids to sample on.

A variance-preserving chain z_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) n with betas beta_t (arXiv 2006.11239) has

    abar_t = prod_{s <= t} (1 - beta_s),  sigma_t^2 = 1 / abar_t - 1,  z_t = (x0 + sigma_t n) / sqrt(1 + sigma_t^2)

so the table of sigmas is all of it. Between the entries, t and log sigma are piecewise linear in each other.

    linear         beta linear in t                                      DDPM
    scaled_linear  sqrt(beta) linear in t                                latent diffusion, whose code says "linear"
    cosine         abar = cos^2((t + 0.008) / 1.008 * pi / 2)            arXiv 2102.09672
    exponential, inverse_parabola  abar = e^(-12 t), 1 - t^power         Shap-E, arXiv 2305.02463
    zero_terminal_snr  sqrt(abar) moved to 0 at the last t               arXiv 2305.08891, algorithm 1
    karras         sigma^(1/rho) linear in the step                      arXiv 2206.00364, eq. 5

A network's prediction type is no part of the schedule: see `denoiser`.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real

Number = Real[Array | np.ndarray, "..."] | float | int
Table = Float[np.ndarray, "n"]


@dataclasses.dataclass(frozen=True, eq=False)
class Schedule:
    """The noise levels a network was trained with, increasing; `sigma` and `time` are inverse to each other."""

    sigmas: np.ndarray  # [n] float64, increasing, finite

    def __post_init__(self):
        if self.sigmas.ndim != 1 or len(self.sigmas) < 2 or not np.all(np.isfinite(self.sigmas)):
            raise ValueError(f"A schedule needs 2 or more finite sigmas in one row, got shape {self.sigmas.shape}.")
        if self.sigmas[0] <= 0 or np.any(np.diff(self.sigmas) <= 0):
            raise ValueError("The sigmas of a schedule must be positive and increase; sort them and drop repetitions.")

    @property
    def last(self) -> int:
        """The largest time, 999 in the published tables."""
        return len(self.sigmas) - 1

    @property
    def abar(self) -> Table:
        """The share of signal variance at each integer time."""
        return 1 / (1 + self.sigmas**2)

    @property
    def betas(self) -> Table:
        """The variance added at each integer time."""
        return 1 - self.abar / np.append(1.0, self.abar[:-1])

    def sigma(self, t: Number) -> Float[Array, "..."]:
        """The noise level at time t in [0, last], linear in log sigma between the integers, constant outside."""
        t = _real(t)
        return jnp.exp(jnp.interp(t, jnp.arange(self.last + 1, dtype=t.dtype), self._log(t.dtype)))

    def time(self, sigma: Number) -> Float[Array, "..."]:
        """The time of a noise level, in [0, last]. A sigma of the table gives its integer exactly, rounding or not.

        It is the sum of how much of each interval of the table lies below, and not looked up, because jax 0.11 does not
        compile a table's lookup in a sampler's loop on GPUs.
        """
        sigma = _real(sigma)
        level, table = jnp.log(jnp.maximum(sigma, self.sigmas[0])), self._log(sigma.dtype)
        t = jnp.sum(jnp.clip((level[..., None] - table[:-1]) / jnp.diff(table), 0, 1), -1)
        whole = jnp.round(t)
        return jnp.where(jnp.abs(t - whole) < 4 * self.last * jnp.finfo(sigma.dtype).eps, whole, t)

    def _log(self, dtype) -> Array:
        return jnp.asarray(np.log(self.sigmas), dtype)


def from_betas(betas: Table) -> Schedule:
    """The schedule of a table of betas in (0, 1)."""
    if not np.all((betas > 0) & (betas < 1)):
        raise ValueError(f"Betas must lie between 0 and 1, these span {np.min(betas)} to {np.max(betas)}.")
    abar = np.cumprod(1 - betas)
    return Schedule(np.sqrt((1 - abar) / abar))


def linear(beta_start: float = 1e-4, beta_end: float = 2e-2, count: int = 1000) -> Schedule:
    """Betas linear in time (DDPM)."""
    return from_betas(np.linspace(beta_start, beta_end, count))


def scaled_linear(beta_start: float = 0.00085, beta_end: float = 0.012, count: int = 1000) -> Schedule:
    """Square roots of the betas linear in time; the defaults are Stable Diffusion's, zero123's and MVDream's."""
    return from_betas(np.linspace(beta_start**0.5, beta_end**0.5, count) ** 2)


def from_abar(abar: Callable[[Table], Table], count: int, *, max_beta: float = 0.999) -> Schedule:
    """The schedule of a share of signal over time in [0, 1], its betas capped (arXiv 2102.09672, sec. 3.2)."""
    signal = abar(np.arange(count + 1) / count)
    return from_betas(np.minimum(1 - signal[1:] / signal[:-1], max_beta))


def cosine(count: int = 1000, *, max_beta: float = 0.999) -> Schedule:
    """The squared cosine, its betas capped (arXiv 2102.09672); `squaredcos_cap_v2` in published configs."""
    return from_abar(lambda t: np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2, count, max_beta=max_beta)


def exponential(count: int = 1024, *, rate: float = 12.0) -> Schedule:
    """abar = e^(-rate t): the same beta at all times (Shap-E's latents)."""
    return from_abar(lambda t: np.exp(-rate * t), count)


def inverse_parabola(count: int = 1024, *, power: float = 2.0) -> Schedule:
    """abar = 1 - t^power: little noise for long (Shap-E's bottleneck, with power 5)."""
    return from_abar(lambda t: 1 - t**power, count)


def zero_terminal_snr(schedule: Schedule, *, max_sigma: float = 4096.0) -> Schedule:
    """Rescale to no signal at the last time (arXiv 2305.08891, algorithm 1), where `max_sigma` stands for infinity."""
    root = np.sqrt(schedule.abar)
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    sigmas = np.sqrt(1 - root[:-1] ** 2) / root[:-1]
    if max_sigma <= sigmas[-1]:
        raise ValueError(f"max_sigma must exceed the last finite noise level {sigmas[-1]:.4g}, got {max_sigma:.4g}.")
    return Schedule(np.append(sigmas, max_sigma))


def karras(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Table:
    """`steps` noise levels from sigma_max down to sigma_min (arXiv 2206.00364, eq. 5); append 0 to end clean."""
    if steps < 1 or not 0 < sigma_min < sigma_max:
        raise ValueError(
            f"A Karras grid needs steps >= 1 and 0 < sigma_min < sigma_max, got {steps}, {sigma_min}, {sigma_max}."
        )
    ramp = np.linspace(0, 1, steps)
    return (sigma_max ** (1 / rho) + ramp * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho


Spacing = Callable[[int, int], np.ndarray]
"""(length of the table, steps) -> decreasing times [steps]."""


def leading(count: int, steps: int) -> Table:
    """Times 0, k, 2k, ... with k = count // steps, decreasing; the last is 0 and the first lies below count - 1."""
    return (np.arange(steps) * (count // _checked(steps, count)))[::-1].astype(np.float64)


def trailing(count: int, steps: int) -> Table:
    """Times count - 1, count - 1 - k, ... with k = count / steps, rounded, decreasing."""
    return np.round(count - np.arange(_checked(steps, count)) * (count / steps)) - 1


def linspace(count: int, steps: int) -> Table:
    """Evenly spaced times from count - 1 to 0, both ends included, not rounded, decreasing."""
    return np.linspace(0, count - 1, _checked(steps, count))[::-1]


def levels(schedule: Schedule, times: Table) -> Table:
    """The noise levels at times, exact at integers and linear in sigma between them, as the published grids are."""
    return np.interp(times, np.arange(schedule.last + 1), schedule.sigmas)


def initial(keys: Array, shape: tuple[int, ...], sigma: Number, dtype=jnp.float32) -> Float[Array, "b ..."]:
    """Pure noise to start sampling at sigma: sqrt(1 + sigma^2) n, so that a network sees a standard normal array.

    `keys` is a key for the whole array of shape [b, ...], or keys [b], one an example.
    """
    sigma = jnp.asarray(sigma, dtype)
    return (jnp.sqrt(1 + sigma.astype(jnp.float32) ** 2)).astype(dtype) * normal(keys, shape, dtype)


def normal(keys: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Float[Array, "b ..."]:
    """Standard normal numbers of shape [b, ...] from one key, or from keys [b], each for its own example."""
    if keys.ndim == 0:
        return jax.random.normal(keys, shape, dtype)
    return jax.vmap(lambda key: jax.random.normal(key, shape[1:], dtype))(keys)


def _real(number: Number) -> Array:
    """As an array of real numbers of float32 or more."""
    number = jnp.asarray(number)
    if not jnp.issubdtype(number.dtype, jnp.floating):
        return number.astype(float)
    return number.astype(jnp.promote_types(number.dtype, jnp.float32))


def _checked(steps: int, count: int) -> int:
    if not 1 <= steps <= count:
        raise ValueError(f"The number of sampling steps must be from 1 to {count}, got {steps}.")
    return steps
