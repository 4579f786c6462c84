"""Shap-E in memory: a denoiser of latents, the CLIP that reads for it, and the fields that latents stand for.

    words or a picture  ->  CLIP  ->  denoiser: latents  ->  decoder: a field of distance, density and colour

(arXiv:2305.02463). Latents are [rows, d] in [-1, 1].
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Float

from jax3d.nn.shap_e_config import DecoderConfig
from jax3d.prior.clip import CLIPScore
from jax3d.prior.openai_denoiser import Network, Run, told
from jax3d.types import Params


@dataclasses.dataclass(frozen=True, eq=False)
class ShapE:
    """A loaded model."""

    denoiser: Network
    decoder: tuple[DecoderConfig, Params]
    clip: CLIPScore | None
    """None where the denoiser is told nothing."""

    def latents(
        self, prompts: Sequence[str | None], image: np.ndarray | None, keys: Array, run: Run
    ) -> Float[Array, "b n d"]:
        """Latents, one a prompt; keys [b]. Told nothing at all, it runs without guidance."""
        free = image is None and all(prompt is None for prompt in prompts)
        run = dataclasses.replace(run, guidance=1.0) if free else run
        return self.denoiser.draw(told(self.denoiser.inner, self.clip, prompts, image), keys, run)
