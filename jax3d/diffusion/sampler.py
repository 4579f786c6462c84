"""Samplers: one readable function each, all under the same `lax.scan`.

In sigma space with D = D(x, s), from level s to the next level r < s (s, r of `Move`), and d = (x - D) / s:

    euler             x + (r - s) d = D + r d                       = DDIM (arXiv 2010.02502) and EDM's Euler
    euler_ancestral   D + sqrt(r^2 - u^2) d + u n,  u^2 = eta^2 r^2 (s^2 - r^2) / s^2         = DDIM with eta
    ddpm              D + (r / s)^2 (x - D) + std n                 arXiv 2006.11239, eq. 6-7; = euler_ancestral(1)
    heun              arXiv 2206.00364, algorithm 2
    dpmpp_2m          arXiv 2211.01095, algorithm 2; with eta its stochastic form
    dpmpp_3m          the same with one more past x0
    plms              arXiv 2202.09778: Adams and Bashforth's multistep method on d

A sampler may carry a state from step to step. Levels are data: `schedule` makes grids, and their last entry may be 0.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jax3d.diffusion.schedule import normal
from jax3d.types import Denoiser, Key


class Move(NamedTuple):
    """One step of a sampler."""

    sigma: Array  # () the level of x
    next: Array  # () the level to reach, below sigma
    noise: Array | None  # like x, standard normal; None for samplers that draw none
    steps: int  # in the whole run


class Sampler(NamedTuple):
    """`init(x) -> state` and `step(denoise, x, state, move) -> (x, state)`."""

    step: Callable[[Denoiser, Array, Any, Move], tuple[Array, Any]]
    init: Callable[[Array], Any] = lambda x: ()
    stochastic: bool = False


def sample(
    sampler: Sampler,
    denoise: Denoiser,
    x: Float[Array, "b ..."],
    sigmas: Float[Array, "n"] | Float[np.ndarray, "n"],
    key: Key | None = None,
    *,
    noise: Float[Array, "m b ..."] | None = None,
) -> Float[Array, "b ..."]:
    """Bring x from level sigmas[0] to sigmas[-1], which may be 0; sigmas decrease.

    Stochastic samplers need `key`: one key, or keys [b], one an example (then an example's result does not depend on
    its batch); or the standard normal numbers themselves, `noise`, one array a step.
    """
    steps = sigmas.shape[0] - 1
    if isinstance(sigmas, np.ndarray) and (steps < 1 or np.any(np.diff(sigmas) > 0) or sigmas[-1] < 0):
        raise ValueError(f"A sampling grid needs 2 or more levels that do not increase, 0 or above, got {sigmas}.")
    if sampler.stochastic and key is None and noise is None:
        raise ValueError("This sampler draws noise: give `key`, or take a deterministic one such as dpmpp_2m().")
    if noise is not None and noise.shape != (steps, *x.shape):
        raise ValueError(f"`noise` must have shape {(steps, *x.shape)}, one array a step, got {noise.shape}.")

    def step(carry, inputs):
        x, state = carry
        i, level, following, drawn = inputs
        if sampler.stochastic and drawn is None:
            drawn = normal(_fold(key, i), x.shape, x.dtype)
        after, state = sampler.step(denoise, x, state, Move(level, following, drawn, steps))
        return (after.astype(x.dtype), state), None

    levels = jnp.asarray(sigmas, jnp.promote_types(x.dtype, jnp.float32))
    inputs = (jnp.arange(steps), levels[:-1], levels[1:], noise if sampler.stochastic else None)
    (x, _), _ = jax.lax.scan(step, (x, sampler.init(x)), inputs)
    return x


def euler() -> Sampler:
    """Euler's method on the probability flow: DDIM with eta = 0."""

    def step(denoise, x, state, move):
        x0 = denoise(x, move.sigma)
        return x0 + move.next / move.sigma * (x - x0), state

    return Sampler(step)


def ddim(eta: float = 0.0, *, bound: float | None = None) -> Sampler:
    """DDIM (arXiv 2010.02502, eq. 12 and 16), eta = 0 deterministic and 1 as noisy as DDPM.

    With `bound`, x0 is clipped to [-bound, bound] but the noise estimate is not, as in published code.
    """

    def step(denoise, x, state, move):
        x0 = denoise(x, move.sigma)
        direction = (x - x0) / move.sigma
        x0 = x0 if bound is None else jnp.clip(x0, -bound, bound)
        if eta == 0:
            return x0 + move.next * direction, state
        up = eta * posterior_std(move)
        return x0 + jnp.sqrt(jnp.maximum(move.next**2 - up**2, 0)) * direction + up * move.noise, state

    return Sampler(step, stochastic=eta != 0)


def euler_ancestral(eta: float = 1.0) -> Sampler:
    """Euler to a level below the next one, then fresh noise up to it: DDIM with eta, in sigma space."""
    return ddim(eta)


def ddpm(*, large: bool = False, bound: float | None = None) -> Sampler:
    """The posterior q(x_r | x_s, x0) at x0 = D (arXiv 2006.11239, eq. 6-7).

    `large` takes the variance of the forward step, beta, instead of the posterior's; the last step to 0 draws none.
    With `bound`, x0 is clipped to [-bound, bound].
    """

    def step(denoise, x, state, move):
        x0 = denoise(x, move.sigma)
        x0 = x0 if bound is None else jnp.clip(x0, -bound, bound)
        mean = x0 + (move.next / move.sigma) ** 2 * (x - x0)
        return mean + (_forward_std(move) if large else posterior_std(move)) * move.noise, state

    return Sampler(step, stochastic=True)


def heun(
    churn: float = 0.0, *, churn_min: float = 0.0, churn_max: float = float("inf"), noise_scale: float = 1.0
) -> Sampler:
    """Karras et al.'s second-order sampler (arXiv 2206.00364, algorithm 2): two denoisings a step, one if it ends at 0.

    churn, churn_min, churn_max, noise_scale are S_churn, S_tmin, S_tmax, S_noise.
    """

    def step(denoise, x, state, move):
        sigma = move.sigma
        if churn:
            inside = (churn_min <= sigma) & (sigma <= churn_max)
            sigma = sigma * (1 + jnp.where(inside, min(churn / move.steps, 2**0.5 - 1), 0.0))
            x = x + jnp.sqrt(jnp.maximum(sigma**2 - move.sigma**2, 0)) * noise_scale * move.noise
            x = x.astype(move.noise.dtype)
        slope = (x - denoise(x, sigma)) / sigma
        after = (x + (move.next - sigma) * slope).astype(x.dtype)

        def corrected():
            there = (after - denoise(after, move.next)) / move.next
            return (x + (move.next - sigma) * 0.5 * (slope + there)).astype(x.dtype)

        return jax.lax.cond(move.next > 0, corrected, lambda: after), state

    return Sampler(step, stochastic=churn > 0)


def dpmpp_2m(eta: float = 0.0, *, trapezoid: bool = False) -> Sampler:
    """DPM-Solver++(2M): exponential integrator with x0 extrapolated from the last two (arXiv 2211.01095, algorithm 2).

    eta = 1 is its SDE form. `trapezoid` integrates the extrapolation's slope exactly (published as solver_type "heun")
    instead of by the midpoint. The first step, and one to level 0, are of first order.
    """

    def init(x):
        return jnp.zeros_like(x), jnp.array(jnp.inf, jnp.promote_types(x.dtype, jnp.float32))

    def step(denoise, x, state, move):
        previous_x0, previous_sigma = state
        x0 = denoise(x, move.sigma).astype(x.dtype)
        # h = log(s / r), the step in the half-log-SNR; infinitely many of them precede the first step
        h = jnp.log(move.sigma / jnp.where(move.next > 0, move.next, move.sigma))
        previous_h = jnp.log(previous_sigma / move.sigma)
        slope = jnp.where(previous_h > 0, h / jnp.where(previous_h > 0, previous_h, 1), 0) * (x0 - previous_x0)
        decay = (move.next / move.sigma) ** (1 + eta)
        if trapezoid:
            ahead = 1 - (1 - decay) / jnp.where(h > 0, (1 + eta) * h, 1)
        else:
            ahead = 0.5 * (1 - decay)
        x = decay * x + (1 - decay) * x0 + jnp.where(h > 0, ahead, 0) * slope
        if eta:
            x = x + move.next * jnp.sqrt(1 - (move.next / move.sigma) ** (2 * eta)) * move.noise
        return x, (x0, move.sigma)

    return Sampler(step, init, stochastic=eta > 0)


def dpmpp_3m() -> Sampler:
    """DPM-Solver++(3M): as `dpmpp_2m` with a parabola through the last three x0 (published as solver_order 3).

    The rule is the published code's, which enters the parabola's second derivative by half, so it is of second order.
    The first steps and, in a run of fewer than 15, the last two use fewer x0; one to level 0 uses one.
    """

    def init(x):
        sigma = jnp.ones((), jnp.promote_types(x.dtype, jnp.float32))
        return jnp.array(0), (jnp.zeros_like(x), jnp.zeros_like(x)), (3 * sigma, 2 * sigma)

    def step(denoise, x, state, move):
        count, (older_x0, previous_x0), (older_sigma, previous_sigma) = state
        x0 = denoise(x, move.sigma).astype(x.dtype)
        order = jnp.minimum(count + 1, move.steps - count if move.steps < 15 else 3)
        order = jnp.where(move.next > 0, order, 1)
        h = jnp.where(order > 1, jnp.log(move.sigma / jnp.where(order > 1, move.next, 1)), 1.0)
        first, second = (
            jnp.where(order > k, jnp.log(before / after) / h, 1.0)
            for k, before, after in ((1, previous_sigma, move.sigma), (2, older_sigma, previous_sigma))
        )
        slope, older_slope = (x0 - previous_x0) / first, (previous_x0 - older_x0) / second
        bend = (slope - older_slope) / (first + second)
        decay = move.next / move.sigma
        ahead = 1 - (1 - decay) / h
        curved = ahead * (slope + first * bend) - ((h - 1 + decay) / h**2 - 0.5) * bend
        change = jnp.where(order > 2, curved, jnp.where(order > 1, 0.5 * (1 - decay) * slope, 0.0))
        state = count + 1, (previous_x0, x0), (previous_sigma, move.sigma)
        return decay * x + (1 - decay) * x0 + change, state

    return Sampler(step, init)


def plms() -> Sampler:
    """Pseudo linear multistep (arXiv 2202.09778), Stable Diffusion's first sampler: x + (r - s) times a mean of d.

    The mean is Adams and Bashforth's for even steps over up to four levels; the first step is Heun's (two denoisings).
    """
    bashforth = jnp.array([[1, 0, 0, 0], [3 / 2, -1 / 2, 0, 0], [23 / 12, -16 / 12, 5 / 12, 0]])
    bashforth = jnp.concatenate([bashforth, jnp.array([[55, -59, 37, -9]]) / 24])

    def init(x):
        return jnp.array(0), jnp.zeros((3, *x.shape), jnp.promote_types(x.dtype, jnp.float32))

    def step(denoise, x, state, move):
        count, past = state
        slope = (x - denoise(x, move.sigma)) / move.sigma
        slopes = jnp.concatenate([slope[None], past])
        mean = jnp.tensordot(bashforth[jnp.minimum(count, 3)].astype(past.dtype), slopes, axes=1)

        def corrected():
            there = (x + (move.next - move.sigma) * slope).astype(x.dtype)
            return (0.5 * (slope + (there - denoise(there, move.next)) / move.next)).astype(past.dtype)

        mean = jax.lax.cond((count == 0) & (move.next > 0), corrected, lambda: mean)
        return x + (move.next - move.sigma) * mean, (count + 1, slopes[:3].astype(past.dtype))

    return Sampler(step, init)


def posterior_std(move: Move) -> Array:
    """The standard deviation of x_r given x_s and x0."""
    return move.next * jnp.sqrt(jnp.maximum(1 - (move.next / move.sigma) ** 2, 0))


def _forward_std(move: Move) -> Array:
    """sqrt(beta) of the forward step from r to s, in sigma space; 0 where r is 0."""
    beta = (move.sigma**2 - move.next**2) / (1 + move.sigma**2)
    return jnp.where(move.next > 0, jnp.sqrt((1 + move.next**2) * beta), 0)


def _fold(key: Key, step: Array) -> Array:
    """The key, or each of the keys [b], for a step."""
    return jax.random.fold_in(key, step) if key.ndim == 0 else jax.vmap(jax.random.fold_in, (0, None))(key, step)
