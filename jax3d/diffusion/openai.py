"""Diffusion as Point-E and Shap-E run it (arXiv:2212.08751, arXiv:2305.02463), read from its published dict.

    x       scale * data + bias for each channel (Point-E: twice the position; colours of 255 to [-1, 1])
    D       from the first half of the network's channels, at whole times alone, clipped to [-1, 1]
    guide   on those D; what is guided is not clipped
    levels  Karras' grid from sigma_max (120 for Point-E's base, 160 otherwise) to 0.001 with rho = 7, then 0
    run     Heun, begun at sigma_max n; Point-E's base with a churn of 3

The table of times has the schedules' names: linear is DDPM's for any number of times, betas 1000 / count as large.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jax3d.diffusion import schedule as schedules
from jax3d.diffusion.denoiser import Network, clip, from_eps, from_v, from_x0, whole_times
from jax3d.diffusion.sampler import heun, sample
from jax3d.diffusion.schedule import Schedule, karras
from jax3d.diffusion.variance import Border, prediction
from jax3d.types import Denoiser, Key

BORDERS: dict[str, Border] = {"epsilon": from_eps, "x_start": from_x0, "v": from_v}  # v: ours alone
SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "linear": lambda count: schedules.linear(0.1 / count, 20 / count, count),
    "cosine": schedules.cosine,
    "exp": lambda count, coefficient=-12.0: schedules.exponential(count, rate=-coefficient),
    "inv_parabola": schedules.inverse_parabola,
}
SIGMA_MIN = 1e-3
CHANNELS = {
    "channel_scales": [2.0, 2.0, 2.0, 0.007843137255, 0.007843137255, 0.007843137255],
    "channel_biases": [0.0, 0.0, 0.0, -1.0, -1.0, -1.0],
}
POINT_E_BASE = {**CHANNELS, "mean_type": "epsilon", "schedule": "cosine", "timesteps": 1024}
POINT_E_UPSAMPLE = {**POINT_E_BASE, "schedule": "linear"}
SHAP_E = {"mean_type": "x_start", "schedule": "exp", "timesteps": 1024}


@dataclasses.dataclass(frozen=True, eq=False)
class Diffusion:
    """What a published diffusion dict says."""

    schedule: Schedule
    border: Border
    """from_eps or from_x0; from_v in models of our own."""
    scales: np.ndarray | None = None  # [c]
    biases: np.ndarray | None = None  # [c]

    def enter(self, data: Float[Array, "... c"]) -> Float[Array, "... c"]:
        """Data in its own units -> x0."""
        data = data if self.scales is None else data * jnp.asarray(self.scales, data.dtype)
        return data if self.biases is None else data + jnp.asarray(self.biases, data.dtype)

    def leave(self, x0: Float[Array, "... c"]) -> Float[Array, "... c"]:
        """x0 -> data in its own units."""
        x0 = x0 if self.biases is None else x0 - jnp.asarray(self.biases, x0.dtype)
        return x0 if self.scales is None else x0 / jnp.asarray(self.scales, x0.dtype)

    def denoiser(self, network: Network, *, whole: bool = True, bound: float | None = 1.0) -> Denoiser:
        """The network, with its channels for the variance, as the published denoiser of one condition.

        Without `whole` the network is asked at fractional times, and x0 is clipped to [-bound, bound] or not at all.
        """
        denoise = self.border(prediction(network), self.schedule)
        denoise = whole_times(denoise, self.schedule) if whole else denoise
        return denoise if bound is None else clip(denoise, bound)

    def sample(
        self,
        denoise: Denoiser,
        start: Float[Array, "b ..."],
        steps: int = 64,
        key: Key | None = None,
        *,
        sigma_max: float = 160.0,
        churn: float = 0.0,
        noise: Float[Array, "m b ..."] | None = None,
    ) -> Float[Array, "b ..."]:
        """The published run from standard normal `start` to data; churn draws from `key`, or takes `noise`."""
        sigmas = levels(steps, sigma_max)
        return self.leave(sample(heun(churn), denoise, start * sigma_max, sigmas, key, noise=noise))


def levels(steps: int, sigma_max: float) -> Float[np.ndarray, "n"]:
    """The published grid [steps + 1], which ends at 0."""
    return np.append(karras(steps, SIGMA_MIN, sigma_max), 0.0)


def from_config(config: Mapping[str, Any]) -> Diffusion:
    """Read a published diffusion dict; ValueError names the field that is not supported and what is."""
    law = _known(config, "schedule", SCHEDULES)
    border = BORDERS[_known({"mean_type": "epsilon", **config}, "mean_type", BORDERS)]
    schedule = SCHEDULES[law](config.get("timesteps", 1024), **config.get("schedule_args", {}))
    scales, biases = (config.get(f"channel_{name}") for name in ("scales", "biases"))
    return Diffusion(schedule, border, *(None if v is None else np.asarray(v) for v in (scales, biases)))


def _known(config: Mapping[str, Any], field: str, offered: Mapping[str, Any]) -> str:
    value = config.get(field)
    if value not in offered:
        raise ValueError(f"Diffusion field {field} must be one of {', '.join(offered)}, got {value!r}.")
    return value
