"""The training state and how one gradient moves it.

With master weights w (float32), gradient g of the mean loss, optimizer update U and smoothed weights e:

    g <- g min(1, c / |g|)                                   clipping by the global norm
    w <- w + U(g)
    e <- d_t e + (1 - d_t) w,  d_t = min(d, (1 + t) / (10 + t))     t = updates so far

The warm-up of d_t makes e follow w while w still moves fast (the rule of tf.train.ExponentialMovingAverage and of
CompVis/latent-diffusion's LitEma). A gradient that is not finite moves nothing; it is counted instead, and so is the
length of the present row of such steps, so that the loop can stop a run that is stuck.

Mixed precision (Micikevicius et al., arXiv:1710.03740): weights, optimizer and average stay in float32; the loss sees
a copy in the compute type. bfloat16 has the exponent range of float32, so no loss scaling is needed.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from jax3d.types import Metrics, Params


@struct.dataclass
class State:
    """Everything a run must remember."""

    step: Any  # [] int32, gradients asked for, skipped ones too: it names the next step's keys
    params: Params  # master weights
    opt_state: Any  # of the task's optax optimizer
    ema: Params | None  # smoothed weights, None when the run keeps none
    skipped: Any  # [] int32, steps whose gradient was not finite
    stuck: Any  # [] int32, how many of them in a row up to now

    @property
    def averaged(self) -> Params:
        """The weights to use after training: the average where there is one."""
        return self.params if self.ema is None else self.ema


def init(params: Params, optimizer: optax.GradientTransformation, ema: bool = False) -> State:
    """The state before the first step."""
    params = jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), params)  # weak types compile twice
    step, skipped, stuck = jnp.zeros((3,), jnp.int32)
    return State(step, params, optimizer.init(params), params if ema else None, skipped, stuck)


def cast(tree: Params, dtype: Any) -> Params:
    """Every floating-point leaf in `dtype`; integers, booleans and keys as they are."""
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def ema_rate(decay: float, updates: Int[Array, ""]) -> Float[Array, ""]:
    """d_t, the decay of the average after `updates` updates, warmed up."""
    return jnp.minimum(decay, (1 + updates) / (10 + updates)).astype(jnp.float32)


def clip(gradient: Params, limit: float | None) -> tuple[Params, Float[Array, ""]]:
    """The gradient scaled so that its global norm is at most `limit`, and the norm it had before."""
    norm = optax.tree.norm(gradient).astype(jnp.float32)
    if limit is None:
        return gradient, norm
    scale = jnp.minimum(1.0, limit / jnp.maximum(norm, jnp.finfo(jnp.float32).tiny))
    return jax.tree.map(lambda g: (g * scale).astype(g.dtype), gradient), norm


def advance(
    state: State,
    loss: Float[Array, ""],
    gradient: Params,
    optimizer: optax.GradientTransformation,
    clip_norm: float | None = None,
    ema_decay: float | None = None,
) -> tuple[State, Metrics]:
    """One optimizer step, or none where the loss or the gradient is not finite."""
    gradient, norm = clip(gradient, clip_norm)
    good = jnp.isfinite(norm) & jnp.isfinite(loss)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = state.ema
    if ema is not None:
        rate = ema_rate(ema_decay or 0.0, state.step - state.skipped)
        ema = jax.tree.map(lambda e, w: (rate * e + (1 - rate) * w).astype(e.dtype), ema, params)
    moved = (params, opt_state, ema)
    params, opt_state, ema = jax.tree.map(
        lambda new, old: jnp.where(good, new, old), moved, (state.params, state.opt_state, state.ema)
    )
    bad = (~good).astype(jnp.int32)
    new = State(state.step + 1, params, opt_state, ema, state.skipped + bad, bad * (state.stuck + 1))
    return new, {"loss": loss, "grad_norm": norm, "skipped": new.skipped, "stuck": new.stuck}
