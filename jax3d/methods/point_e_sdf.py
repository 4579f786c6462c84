"""Training Point-E's regressor of distances (arXiv:2212.08751, sec. 4.4 and app. C).

    c = points of a surface + 0.005 N(0, I)                         the cloud, in published units
    loss = mean w |f(q; c) - y(q)|,   w = 1 where f > y, else 4     y > 0 inside

An unsure f is rather too large than too small, so thin parts stay. The places q are those of `math/known`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jax3d.math.known import known_distances
from jax3d.math.muon import muon
from jax3d.nn import nearby
from jax3d.nn.point_e import PointSDF
from jax3d.nn.point_e_config import PointSDFConfig
from jax3d.scene.point_e import SCALE, to_published
from jax3d.types import Key, Params, Task

STRETCH, SHARPNESS = 2.0, 2.5
"""How a place enters, and the size of q and k: together a place attends at first to points within 0.1 or so."""


@dataclasses.dataclass(frozen=True)
class Distances:
    """Trains a regressor of signed distances."""

    network: PointSDFConfig
    places: int = 512
    """Places q of an example."""
    noise: float = 0.005
    """Standard deviation of what is added to a cloud, published units."""
    under: float = 4.0
    """Weight of errors that make the solid smaller."""
    reach: float = 0.02
    """Farthest way along a normal, in our units."""
    batch_size: int = 16
    learning_rate: float = 4e-3
    warmup: int = 200
    """Steps of the rate's rise, at most half of all."""

    def init(self, key: Key) -> Params:
        """The network's initial weights, all distances being 0: drawn, they are ten times what they are to be.

        Places attend at first to the points near them (nn/nearby).
        """
        k_params, k_in, k_asked = jax.random.split(key, 3)
        place, width = jnp.zeros((1, 1, 3)), self.network.width
        params = PointSDF(self.network).init(k_params, place, place)["params"]
        params["output_proj"] = jax.tree.map(jnp.zeros_like, params["output_proj"])
        enter = nearby.entrance(k_in, (STRETCH,) * 3, width)
        params |= {"encoder_input_proj": enter, "decoder_input_proj": enter}
        first, heads = params["decoder"]["resblocks.0"], self.network.decoder_heads
        ask = nearby.question(k_asked, SHARPNESS, width)
        first["attn.c_q"]["kernel"] = ask
        first["attn.c_kv"]["kernel"] = nearby.asked(first["attn.c_kv"]["kernel"], ask, heads, keys=(0,))
        return params

    def task(self, batches: Callable[[int], dict[str, Any]], steps: int, start: Params | None = None) -> Task:
        """A task of so many steps, whose batches hold `points`, `normals` [b, m, 3] and `sdf` [b, r, r, r], negative
        inside, of our world. It begins with the weights `start`, or with random ones.
        """
        rate = optax.warmup_cosine_decay_schedule(0.0, self.learning_rate, min(self.warmup, steps // 2), steps)
        init = self.init if start is None else lambda key: start
        return Task(init, self._loss, muon(rate, weight_decay=0.01), self.batch_size, batches=batches)

    def _loss(self, params: Params, frozen: Params, batch: Mapping[str, Array], keys: Array, step: Array):
        cloud, places, truth = jax.vmap(self.example)(batch["points"], batch["normals"], batch["sdf"], keys)
        error = PointSDF(self.network).apply({"params": params}, cloud, places) - truth
        weight = jnp.where(error > 0, 1.0, self.under)
        right = jnp.mean((error + truth > 0) == (truth > 0))
        return jnp.mean(weight * jnp.abs(error)), {"error": jnp.mean(jnp.abs(error)), "right_side": right}

    def example(
        self, points: Float[Array, "m 3"], normals: Float[Array, "m 3"], sdf: Float[Array, "r r r"], key: Key
    ) -> tuple[Float[Array, "n 3"], Float[Array, "q 3"], Float[Array, " q"]]:
        """A cloud, places and their distances, positive inside, in published units and axes."""
        k_cloud, k_noise, k_places = jax.random.split(key, 3)
        points, normals = points.astype(jnp.float32), normals.astype(jnp.float32)
        cloud = to_published(jax.random.choice(k_cloud, points, (self.network.n_ctx,), replace=False))
        cloud = cloud + self.noise * jax.random.normal(k_noise, cloud.shape)
        places, truth = known_distances(points, normals, sdf, k_places, count=self.places, reach=self.reach)
        return cloud, to_published(places), -truth / SCALE
