"""Published scheduler_config.json files: a schedule, a border, a default sampler and its grid.

Such a file mixes how the network was trained (the betas and what it predicts) with how someone liked to sample. Both
are read; a class that has no sampler here gets the nearest one on its own grid:

    DDPMScheduler                     ddpm
    DDIMScheduler                     ddim
    PNDMScheduler                     plms            (its Runge-Kutta start, which no pipeline uses, is not offered)
    EulerDiscreteScheduler            euler
    EulerAncestralDiscreteScheduler   euler_ancestral
    HeunDiscreteScheduler             heun
    LMSDiscreteScheduler              dpmpp_2m        (also a deterministic multistep method)
    DPMSolverMultistepScheduler       dpmpp_2m, _3m   (dpmsolver++ of order 2 and 3, sde-dpmsolver++ of order 2)

Defaults of absent fields are those of diffusers 0.42 (src/diffusers/schedulers). Its zero123 conversion script writes
betas 0.02 .. 0.085 where 0.00085 .. 0.012 were trained; `from_scheduler_config` refuses them.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jax3d.diffusion import sampler as samplers
from jax3d.diffusion import schedule as schedules
from jax3d.diffusion.denoiser import Network, from_eps, from_v, from_x0, scale_in
from jax3d.diffusion.sampler import Sampler, sample
from jax3d.diffusion.schedule import Schedule
from jax3d.types import Denoiser, Key

Border = Callable[[Network, Schedule], Denoiser]

BORDERS: dict[str, Border] = {"epsilon": from_eps, "v_prediction": from_v, "sample": from_x0}
TABLES = {"linear": schedules.linear, "scaled_linear": schedules.scaled_linear, "squaredcos_cap_v2": schedules.cosine}
SPACINGS = {"leading": schedules.leading, "trailing": schedules.trailing, "linspace": schedules.linspace}
EULER = ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler")
DPM = "DPMSolverMultistepScheduler"
CLASSES = ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler", *EULER, DPM)
REFUSED = ("thresholding", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas")


@dataclasses.dataclass(frozen=True)
class Published:
    """What a scheduler_config.json says."""

    schedule: Schedule
    border: Border
    """from_eps, from_v or from_x0."""
    sampler: Sampler
    sigmas: Callable[[int], np.ndarray]
    """steps -> decreasing levels [steps + 1]; the last is 0 or (Stable Diffusion's DDIM) the table's first entry."""
    unit_start: bool = True
    """Whether the initial z has standard deviation 1, or else the initial x has sigma (k-diffusion)."""

    def denoiser(self, network: Network) -> Denoiser:
        """The network as a denoiser."""
        return self.border(network, self.schedule)

    def sample(
        self,
        denoise: Denoiser,
        latents: Float[Array, "b ..."],
        steps: int,
        key: Key | None = None,
        *,
        noise: Float[Array, "m b ..."] | None = None,
    ) -> Float[Array, "b ..."]:
        """A published pipeline's run: from standard normal `latents` to the z that its decoder takes."""
        sigmas = self.sigmas(steps)
        start = float(np.sqrt(1 + sigmas[0] ** 2) if self.unit_start else sigmas[0])
        x = sample(self.sampler, denoise, latents * jnp.asarray(start, latents.dtype), sigmas, key, noise=noise)
        return scale_in(x, float(sigmas[-1]))


def from_scheduler_config(config: dict[str, Any]) -> Published:
    """Read a published scheduler_config.json, given as a dict.

    A class, prediction type, beta schedule or option that is not supported is a ValueError that names those that are.
    """
    name = _known(config, "_class_name", CLASSES, None)
    for option in REFUSED:
        if config.get(option):
            raise ValueError(f"The scheduler option {option} is not supported; set it to false.")
    schedule = _schedule(config, name)
    border = BORDERS[_known(config, "prediction_type", BORDERS, "epsilon")]
    spacing = _known(config, "timestep_spacing", SPACINGS, "linspace" if name in (*EULER, DPM) else "leading")
    unit_start = name not in EULER or spacing == "leading"
    return Published(schedule, border, _sampler(config, name), _grid(config, name, spacing, schedule), unit_start)


def to_scheduler_config(schedule: Schedule, border: Border) -> dict[str, Any]:
    """A scheduler_config.json (DDIM with Stable Diffusion's grid) for a schedule and what the network predicts.

    Betas are written by the name of their law where one gives this schedule, otherwise as a table.
    """
    names = [name for name, known in BORDERS.items() if known is border]
    if not names:
        raise ValueError("A published config knows from_eps, from_v and from_x0 only; wrap the network in one of them.")
    betas, count = schedule.betas, schedule.last + 1
    start, end = float(f"{betas[0]:.9g}"), float(f"{betas[-1]:.9g}")
    laws = {
        "linear": np.linspace(start, end, count),
        "scaled_linear": np.linspace(start**0.5, end**0.5, count) ** 2,
        "squaredcos_cap_v2": schedules.cosine(count).betas,
    }
    law: dict[str, Any] = {"trained_betas": [float(beta) for beta in betas]}
    for kind, table in laws.items():
        if np.allclose(table, betas, rtol=1e-6, atol=0):
            law = {"beta_schedule": kind, "beta_start": start, "beta_end": end}
    return {
        "_class_name": "DDIMScheduler",
        "_diffusers_version": "0.42.1",
        "num_train_timesteps": count,
        **law,
        "prediction_type": names[0],
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "timestep_spacing": "leading",
    }


def _schedule(config: dict[str, Any], name: str) -> Schedule:
    count = config.get("num_train_timesteps", 1000)
    law = _known(config, "beta_schedule", TABLES, "linear")
    heun = name == "HeunDiscreteScheduler"
    start, end = config.get("beta_start", 0.00085 if heun else 1e-4), config.get("beta_end", 0.012 if heun else 0.02)
    if config.get("trained_betas") is not None:
        schedule = schedules.from_betas(np.asarray(config["trained_betas"], np.float64))
    elif law == "squaredcos_cap_v2":
        schedule = schedules.cosine(count)
    elif law == "scaled_linear" and (start, end) == (0.02, 0.085):
        raise ValueError(
            "Betas 0.02 to 0.085 (scaled_linear) are the mark of a faulty zero123 conversion; "
            "set beta_start to 0.00085 and beta_end to 0.012 in scheduler_config.json."
        )
    else:
        schedule = TABLES[law](start, end, count)
    if config.get("rescale_betas_zero_snr"):
        # Published Euler code takes 4096 for infinity; the others are exact there, which 2^22 is to float32 rounding.
        schedule = schedules.zero_terminal_snr(schedule, max_sigma=4096.0 if name in EULER else 2.0**22)
    return schedule


def _grid(config: dict[str, Any], name: str, spacing: str, schedule: Schedule) -> Callable[[int], np.ndarray]:
    count, offset = schedule.last + 1, config.get("steps_offset", 0) if spacing == "leading" else 0

    def times(steps: int) -> np.ndarray:
        if name == DPM and spacing != "trailing":  # one time more is laid out and the last left off
            return np.round(SPACINGS[spacing](count, steps + 1)[:-1])
        times = SPACINGS[spacing](count, steps)
        return times if name in EULER else np.round(times)

    def sigmas(steps: int) -> np.ndarray:
        levels = schedules.levels(schedule, times(steps) + offset)
        if config.get("use_karras_sigmas"):
            ends = schedule.sigmas[::-1] if name == DPM else levels
            levels = schedules.karras(steps, ends[-1], ends[0])
        return np.append(levels, _final(config, name, schedule))

    return sigmas


def _final(config: dict[str, Any], name: str, schedule: Schedule) -> float:
    """The level where sampling ends."""
    if name in ("DDIMScheduler", "PNDMScheduler"):
        clean = config.get("set_alpha_to_one", name == "DDIMScheduler")
    else:
        clean = _known(config, "final_sigmas_type", ("zero", "sigma_min"), "zero") == "zero"
    return 0.0 if clean else float(schedule.sigmas[0])


def _sampler(config: dict[str, Any], name: str) -> Sampler:
    bound = config.get("clip_sample_range", 1.0) if config.get("clip_sample", True) else None
    makers = {
        "DDIMScheduler": partial(samplers.ddim, bound=bound),
        "PNDMScheduler": samplers.plms,
        "EulerDiscreteScheduler": samplers.euler,
        "EulerAncestralDiscreteScheduler": samplers.euler_ancestral,
        "HeunDiscreteScheduler": samplers.heun,
        "LMSDiscreteScheduler": samplers.dpmpp_2m,
    }
    if name == "DDPMScheduler":
        variance = _known(config, "variance_type", ("fixed_small", "fixed_large"), "fixed_small")
        return samplers.ddpm(large=variance == "fixed_large", bound=bound)
    if name == DPM:
        kind = _known(config, "algorithm_type", ("dpmsolver++", "sde-dpmsolver++"), "dpmsolver++")
        rule = _known(config, "solver_type", ("midpoint", "heun"), "midpoint")
        stochastic = kind.startswith("sde")
        if _known(config, "solver_order", (2,) if stochastic else (2, 3), 2) == 3:
            return samplers.dpmpp_3m()
        return samplers.dpmpp_2m(eta=1.0 if stochastic else 0.0, trapezoid=rule == "heun")
    return makers[name]()


def _known(config: dict[str, Any], field: str, offered: Any, default: Any) -> Any:
    value = config.get(field, default)
    if value not in offered:
        raise ValueError(f"Scheduler field {field} must be one of {', '.join(map(str, offered))}, got {value!r}.")
    return value
