"""Diffusion: noise schedules, denoisers, losses, samplers and score distillation. Knows nothing of what x is."""

from jax3d.diffusion.denoiser import (
    clip,
    edm,
    from_eps,
    from_v,
    from_x0,
    guide,
    guide_batched,
    perp_neg,
    rescale,
    scale_in,
    threshold,
    whole_times,
)
from jax3d.diffusion.distill import csd, reconstruct, sds, vsd
from jax3d.diffusion.loss import denoising_loss
from jax3d.diffusion.published import Published, from_scheduler_config, to_scheduler_config
from jax3d.diffusion.sampler import Sampler, ddim, ddpm, dpmpp_2m, dpmpp_3m, euler, euler_ancestral, heun, plms, sample
from jax3d.diffusion.schedule import Schedule, cosine, initial, karras, linear, scaled_linear, zero_terminal_snr
from jax3d.diffusion.variance import ddpm_learned, variational_bound, with_variance

__all__ = [
    "Published",
    "Sampler",
    "Schedule",
    "clip",
    "cosine",
    "csd",
    "ddim",
    "ddpm",
    "ddpm_learned",
    "denoising_loss",
    "dpmpp_2m",
    "dpmpp_3m",
    "edm",
    "euler",
    "euler_ancestral",
    "from_eps",
    "from_scheduler_config",
    "from_v",
    "from_x0",
    "guide",
    "guide_batched",
    "heun",
    "initial",
    "karras",
    "linear",
    "perp_neg",
    "plms",
    "reconstruct",
    "rescale",
    "sample",
    "scale_in",
    "scaled_linear",
    "sds",
    "threshold",
    "to_scheduler_config",
    "variational_bound",
    "vsd",
    "whole_times",
    "with_variance",
    "zero_terminal_snr",
]
