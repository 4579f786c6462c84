"""How Gaussians train: a rate for each kind of number, and between steps more where they are pulled, fewer where faint.

The published rule (arXiv 2308.04079, section 5) compares the gradient on the screen with a threshold, which depends on
the loss's scale. Here the share of the Gaussians with the greatest mean pull grows, so that any loss will do:

    wide ones are split:    two are drawn from its distribution, 1.6 times narrower each
    narrow ones are cloned: a second one is drawn from its distribution

In both cases with the opacity 1 - sqrt(1 - o) each, through which as much light passes as through the one before
(Bulo et al., arXiv 2404.06109). Places of those that are too faint or too wide become free. All arrays keep their size.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from jax3d.math.gaussians import rotations
from jax3d.math.ramp import Ramp, ramp
from jax3d.types import Key, Params

NARROWER = 1.6


@dataclasses.dataclass(frozen=True)
class Rates:
    """Learning rates of Adam."""

    positions: Ramp = ramp(5e-4, 5e-6)
    """World units a step."""
    scales: Ramp = ramp(5e-3)
    rotations: Ramp = ramp(1e-3)
    opacities: Ramp = ramp(5e-2)
    base: Ramp = ramp(2.5e-3)
    rest: Ramp = ramp(1.25e-4)

    def optimizer(self, steps: int) -> optax.GradientTransformation:
        """Adam for what a scene of Gaussians is made of; its moments begin anew in a place that was filled again."""
        names = [field.name for field in dataclasses.fields(self)]
        adam = {name: optax.adam(getattr(self, name).schedule(steps), b1=0.9, b2=0.999, eps=1e-15) for name in names}
        other = {"alive": optax.set_to_zero(), "age": optax.stateless(_one), "pull": optax.stateless(_lengths)}
        return _anew(optax.partition(adam | other, lambda params: {name: name for name in params}))


def _one(gradient: optax.Updates, params: optax.Params) -> optax.Updates:
    return jax.tree.map(jnp.ones_like, gradient)


def _lengths(gradient: optax.Updates, params: optax.Params) -> optax.Updates:
    """Adds the length of a gradient to what is known of it, and one step where it is not 0."""

    def lengths(pull: Array) -> Array:
        length = jnp.linalg.norm(pull, axis=-1)
        return jnp.stack([length, (length > 0).astype(length.dtype)], axis=-1)

    return jax.tree.map(lengths, gradient)


def _anew(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    def update(gradient: optax.Updates, state: optax.OptState, params: optax.Params):
        young = params["age"] == 0

        def cleared(leaf: Array) -> Array:
            if leaf.shape[:1] != young.shape:
                return leaf
            return jnp.where(young.reshape(-1, *(1,) * (leaf.ndim - 1)), 0, leaf)

        return optimizer.update(gradient, jax.tree.map(cleared, state), params)

    return optax.GradientTransformation(optimizer.init, update)


@dataclasses.dataclass(frozen=True)
class Growth:
    """When Gaussians become more and fewer."""

    every: int = 100
    """Steps."""
    start: float = 0.05
    """Fraction of the run before which nothing changes."""
    until: float = 0.6
    """Fraction of the run after which nothing changes."""
    share: float = 0.1
    """Of those that are alive, that grow each time."""
    wide: float = 0.02
    """Deviation, world units, above which one is split and not cloned."""
    widest: float = 0.3
    """Wider ones go."""
    faintest: float = 5e-3
    """Less opaque ones go."""
    reset: float | None = None
    """Every such fraction of the run all become as good as transparent, so that only what is needed comes back."""

    def after(self, params: Params, step: int, key: Key, steps: int) -> Params:
        """Between two steps of a run."""
        if not self.start * steps <= step <= self.until * steps or step % self.every:
            return params
        params = _grown(params, key, self)
        if self.reset and step % (max(round(self.reset * steps / self.every), 1) * self.every) == 0:
            params = faded(params)
        return params


@partial(jax.jit, static_argnums=2)
def _grown(params: Params, key: Key, growth: Growth) -> Params:
    return more(fewer(params, growth.faintest, growth.widest), key, growth.share, growth.wide)


def fewer(params: Params, faintest: float, widest: float) -> Params:
    """Without those that are less opaque than `faintest` or wider than `widest`."""
    good = (jax.nn.sigmoid(params["opacities"]) >= faintest) & (jnp.max(params["scales"], axis=1) <= jnp.log(widest))
    return params | {"alive": params["alive"] * good}


def more(params: Params, key: Key, share: float, wide: float) -> Params:
    """With a second one for the `share` of the most pulled, as far as there is room; the pulls begin anew."""
    k_first, k_second = jax.random.split(key)
    capacity = len(params["alive"])
    alive = params["alive"] > 0
    pull = params["pull"][:, 0] / jnp.maximum(params["pull"][:, 1], 1)
    most = max(int(share * capacity), 1)
    source = jnp.argsort(jnp.where(alive & (pull > 0), -pull, jnp.inf))[:most]
    free = jnp.argsort(alive, stable=True)[:most]  # the places that are not alive come first
    count = jnp.minimum(share * jnp.sum(alive), jnp.minimum(jnp.sum(alive & (pull > 0)), jnp.sum(~alive)))
    does = jnp.arange(most) < count
    child = jax.tree.map(lambda leaf: leaf[source], params)
    deviations, turned = jnp.exp(child["scales"]), rotations(child["rotations"])
    splits = jnp.max(deviations, axis=1) > wide

    def drawn(key: Key) -> Array:
        offset = deviations * jax.random.normal(key, deviations.shape)
        return child["positions"] + jnp.sum(turned * offset[:, None, :], axis=-1)

    through = jnp.sqrt(jnp.maximum(1 - jax.nn.sigmoid(child["opacities"]), 1e-6))
    child |= {
        "opacities": jnp.log((1 - through) / through),
        "scales": child["scales"] - jnp.where(splits, jnp.log(NARROWER), 0.0)[:, None],
        "age": jnp.zeros(most),
    }
    first = child | {"positions": jnp.where(splits[:, None], drawn(k_first), child["positions"])}
    second = child | {"positions": drawn(k_second)}

    def put(leaf: Array, *pairs: tuple[Array, Array]) -> Array:
        for place, value in pairs:
            leaf = leaf.at[jnp.where(does, place, capacity)].set(value, mode="drop")
        return leaf

    params = jax.tree.map(lambda leaf, a, b: put(leaf, (source, a), (free, b)), params, first, second)
    return params | {"pull": jnp.zeros_like(params["pull"])}


def faded(params: Params, opacity: float = 0.01) -> Params:
    """With no opacity above `opacity`."""
    most = jnp.log(opacity / (1 - opacity))
    return params | {"opacities": jnp.minimum(params["opacities"], most), "age": jnp.zeros_like(params["age"])}
