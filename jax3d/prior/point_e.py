"""Point-E in memory: a base network, an upsampler and a regressor of distances, with the CLIP that reads for them.

    words or a picture  ->  CLIP  ->  base: 1,024 points  ->  upsampler: 3,072 more  ->  regressor: distances

(arXiv:2212.08751). Clouds are [n, 6] in published units: positions in a cube of side 1, colours of 255.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from jax3d.nn.point_e import Told
from jax3d.nn.point_e_config import PointSDFConfig
from jax3d.prior import openai
from jax3d.prior.clip import CLIPScore
from jax3d.prior.openai_denoiser import Network, Run, grid, told
from jax3d.types import Params


@dataclasses.dataclass(frozen=True, eq=False)
class PointE:
    """A loaded model."""

    base: Network
    upsampler: Network | None
    sdf: tuple[PointSDFConfig, Params] | None
    clip: CLIPScore | None
    """None where the networks are told nothing."""

    def coarse(
        self, prompts: Sequence[str | None], image: np.ndarray | None, keys: Array, run: Run
    ) -> Float[Array, "b n 6"]:
        """The base network's clouds, one a prompt; keys [b]. Told nothing at all, it runs without guidance."""
        free = image is None and all(prompt is None for prompt in prompts)
        run = dataclasses.replace(run, guidance=1.0) if free else run
        return self.base.draw(told(self.base.config, self.clip, prompts, image), keys, run)

    def finer(
        self, cloud: Float[Array, "b k 6"], image: np.ndarray | None, keys: Array, run: Run
    ) -> Float[Array, "b n 6"]:
        """The clouds with the upsampler's points behind theirs. Told no picture, it runs without guidance."""
        if self.upsampler is None:
            return cloud
        config = self.upsampler.config
        run = dataclasses.replace(run, guidance=1.0) if image is None else run
        seen = Told(grid=grid(config, self.clip, len(cloud), image), cloud=cloud[:, : config.cond_ctx])
        return jnp.concatenate([cloud, self.upsampler.draw(seen, keys, run)], 1)

    def distance(self, cloud: Float[np.ndarray, "n 3"]) -> Partial:
        """places [m, 3] -> signed distances [m] to the surface of a cloud, positive inside."""
        config, params = self.sdf
        encode, decode = _regressor(config)
        rows = np.random.default_rng(0).permutation(len(cloud))[: config.n_ctx]
        return Partial(decode, params, encode(params, jnp.asarray(cloud[rows])))


@functools.cache
def _regressor(config: PointSDFConfig) -> tuple[Callable, Callable]:
    """(parameters, cloud) -> latents, and (parameters, latents, places) -> distances; once, that they compile once."""
    module = openai.module(config)

    def encode(params: Params, cloud: Float[Array, "n 3"]) -> Float[Array, "1 n c"]:
        return module.apply({"params": params}, cloud[None], method="encode")

    def decode(params: Params, latents: Float[Array, "1 n c"], places: Float[Array, "m 3"]) -> Float[Array, " m"]:
        return module.apply({"params": params}, latents, places[None], method="decode")[0]

    return jax.jit(encode), decode
