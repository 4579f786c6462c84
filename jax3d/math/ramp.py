"""Piecewise-linear schedules over a whole run, as values that a config can hold.

Knots are (fraction of the run, value), so a run with more steps keeps its shape: `Ramp((0.0, 0.98), (0.5, 0.5))` falls
from 0.98 to 0.5 over the first half and stays there.
"""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array


@dataclasses.dataclass(frozen=True)
class Ramp:
    """A scalar that changes linearly between knots."""

    knots: tuple[tuple[float, float], ...]
    """(fraction of the run in [0, 1], value), fractions increasing."""

    def __post_init__(self):
        fractions = [fraction for fraction, _ in self.knots]
        if not fractions or fractions != sorted(fractions):
            raise ValueError(f"a ramp needs knots with increasing fractions, got {self.knots}; write ((0, a), (1, b)).")

    @property
    def ever(self) -> bool:
        """Whether the value is ever other than 0."""
        return any(value != 0 for _, value in self.knots)

    def schedule(self, steps: int) -> Callable[[Array | int], Array]:
        """The optax schedule (a function of the step) over a run of `steps`."""
        fractions, values = (jnp.array(column, jnp.float32) for column in zip(*self.knots, strict=True))
        return lambda step: jnp.interp(step / steps, fractions, values)


def ramp(*values: float, until: float = 1.0) -> Ramp:
    """Evenly spaced knots from 0 to the fraction `until`; one value is a constant."""
    last = max(len(values) - 1, 1)
    return Ramp(tuple((until * i / last, float(value)) for i, value in enumerate(values)))
