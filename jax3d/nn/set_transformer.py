"""Denoisers of sets of points: permuting the points permutes the answer, as no position in the list is encoded, but for
whether it is among the first `seen`.

SetTransformer        every point attends to every point: cost ~ n^2 (survey; Point-E, arXiv:2212.08751); or to the
                      first `seen`: cost ~ n. At first near points attend to each other (nn/nearby)
LatentSetTransformer  a fixed number of learnt latents z reads the points x, works, and writes back: cost ~ n
                      (arXiv:2212.11972, RIN; arXiv:2404.03566, PointInfinity)

    round:   z <- z + attend(z, x);   z <- block(z) several times;   x <- x + attend(x, z)

Every residual branch f is modulated by the condition e (DiT's adaLN-zero, arXiv:2212.09748), one linear map of e for
all blocks plus a table of each block's own (arXiv:2310.00426):

    x + g f((1 + s) norm(x) + b),     (b, s, g) = table + W e,  at first 0

so that an untrained network is its input layer followed by its output layer, which is 0.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jax3d.math import encoding
from jax3d.nn import nearby
from jax3d.nn.condition import Condition
from jax3d.nn.layers import Dense, fan_in
from jax3d.nn.transformer import attend
from jax3d.types import Key

zeros = nn.initializers.zeros


class Block(nn.Module):
    """Attention to `context` (the tokens themselves by default) and a network of one hidden layer."""

    heads: int
    expansion: int = 4
    seen: int | None = None
    """How many tokens, the first, all of them attend to; None = all."""
    ask_init: nn.initializers.Initializer = fan_in
    """Of the kernels of q and k."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n c"], modulation: Float[Array, "b 6 c"], context: Float[Array, "b m d"] | None = None
    ) -> Float[Array, "b n c"]:
        width = x.shape[-1]
        table = self.param("modulation", zeros, (6, width))
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = jnp.split(modulation + table, 6, axis=-2)
        y = (1 + scale) * normalised(x) + shift
        context = y[:, : self.seen] if context is None else normalised(context)
        x = x + gate * attend(y, context, self.heads, ask_init=self.ask_init)
        y = (1 + scale_mlp) * normalised(x) + shift_mlp
        y = jax.nn.gelu(Dense(self.expansion * width, name="mlp.0")(y), approximate=True)
        return x + gate_mlp * Dense(width, name="mlp.2")(y)


class SetTransformer(nn.Module):
    """x [b, n, c], t [b], condition [b, d] -> [b, n, c]."""

    width: int = 256
    layers: int = 6
    heads: int = 8
    seen: int | None = None
    """Points that all attend to, the first of the set; None = all. The others are then drawn each by itself, given
    those: they add detail and no shape."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n c"], t: Float[Array, " b"], condition: Float[Array, "b d"]
    ) -> Float[Array, "b n c"]:
        e = Condition(self.width, name="embed")(t, condition)
        modulation = _modulation(e, self.width, "modulation")
        one = jnp.ones((*x.shape[:2], 1), x.dtype)
        h = Dense(self.width, use_bias=False, kernel_init=_entrance, name="points_in")(jnp.concatenate([one, x], -1))
        h = h + Dense(self.width, kernel_init=zeros, name="tell")(e)[:, None]
        for i in range(self.layers):
            ask = fan_in if i else _question
            h = Block(self.heads, seen=self.seen, ask_init=ask, name=f"blocks.{i}")(h, modulation)
        return Dense(x.shape[-1], kernel_init=zeros, name="points_out")(normalised(h))


class LatentSetTransformer(nn.Module):
    """x [b, n, c], t [b], condition [b, d] -> [b, n, c], in time and memory proportional to n."""

    width: int = 192
    """Of the latents."""
    latents: int = 128
    rounds: int = 3
    layers: int = 2
    """Blocks among the latents in a round, between reading and writing."""
    heads: int = 4
    point_width: int = 96
    frequencies: int = 4

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n c"], t: Float[Array, " b"], condition: Float[Array, "b d"]
    ) -> Float[Array, "b n c"]:
        e = Condition(self.width, name="embed")(t, condition)
        modulation = _modulation(e, self.width, "modulation")
        modulation_points = _modulation(e, self.point_width, "modulation_points")
        h = Dense(self.point_width, name="points_in")(_described(x, self.frequencies))
        z = self.param("latents", nn.initializers.normal(0.02), (self.latents, self.width))
        z = z + Dense(self.width, name="tell")(e)[:, None]
        for i in range(self.rounds):
            z = Block(self.heads, name=f"read.{i}")(z, modulation, h)
            for j in range(self.layers):
                z = Block(self.heads, name=f"blocks.{i}.{j}")(z, modulation)
            h = Block(self.heads, expansion=2, name=f"write.{i}")(h, modulation_points, z)
        return Dense(x.shape[-1], kernel_init=zeros, name="points_out")(normalised(h))


def normalised(x: Float[Array, "*lead c"]) -> Float[Array, "*lead c"]:
    """Mean 0 and variance 1 over the channels, in float32."""
    return jax.nn.standardize(x.astype(jnp.float32), axis=-1, epsilon=1e-6).astype(x.dtype)


def _described(x: Array, frequencies: int) -> Array:
    """A point's numbers, and sines of its position at 1, 2, 4 ... half-waves a unit."""
    if not frequencies:
        return x
    return jnp.concatenate([x[..., 3:], encoding.fourier(x[..., :3], frequencies)], axis=-1)


def _entrance(key: Key, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
    """Of points behind a 1: positions and then whatever else they have."""
    stretch = [nearby.POSITION] * 3 + [nearby.OTHER] * (shape[0] - 4)
    enter = nearby.entrance(key, stretch, shape[1])
    return jnp.concatenate([enter["bias"][None], enter["kernel"]]).astype(dtype)


def _question(key: Key, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
    """The same for q and for k."""
    return nearby.question(jax.random.key(0), nearby.SHARPNESS, shape[0]).astype(dtype)


def _modulation(e: Array, width: int, name: str) -> Array:
    return Dense(6 * width, kernel_init=zeros, name=name)(e).reshape(len(e), 6, width)
