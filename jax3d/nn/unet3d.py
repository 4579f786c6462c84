"""The denoising UNet of volumes: the network of arXiv:2006.11239 on voxels, as SDFusion (arXiv:2212.04493) has it.

    e      = silu(W2 silu(W1 code(100 t)) + W3 c)                                       nn/condition
    block    y = x' + conv2(silu(norm(conv1(silu(norm(x)))) (1 + s) + b)),   [s, b] = W e,   x' = x or W x
    attend   y = x + W attention(q, k, v),   [q, k, v] = W norm(x),   voxels are the tokens
    down   level i: blocks of width m_i, each followed by `attend` on small grids; stride 2 between levels
    mid    block, attend, block
    up     the same on the concatenation with each block's output on the way down, last first; nearest doubling between

The scale and shift are arXiv:2105.05233's adaptive group norm. Each step starts as the identity and the network as 0,
for the last map of every block and of the network starts at 0.

With `patch` p the network works on the p^3 voxels of a patch as channels, [r, r, r, c] -> [r/p, r/p, r/p, p^3 c], and
its output is unfolded again: 1/p^3 of the work. The first and the last map are then of one patch each, not of 3^3.
Being linear they let only as many of the p^3 c numbers of a patch through as there are channels. With `local` channels
a map that is not goes beside them, from each patch x and the features h where it lies:

    out = conv_out(h) + W2 silu(W1 [h, x])
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jax3d.nn.condition import Condition
from jax3d.nn.layers import Conv, Dense, GroupNorm
from jax3d.nn.patches import fold, unfold
from jax3d.nn.transformer import Attend


class UNet3D(nn.Module):
    """x [b, r, r, r, c], t [b], condition [b, d] (d = 0: none) -> [b, r, r, r, c], 0 before training."""

    width: int = 64
    """Channels of the finest level."""
    multipliers: tuple[int, ...] = (1, 2, 3)
    """Channels of each level over `width`; each level has half the resolution of the one before."""
    blocks: int = 1
    """Blocks a level, down and up."""
    attention_from: int = 8
    """Levels of up to this resolution (after patching) attend among their voxels."""
    heads: int = 4
    patch: int = 1
    """Edge of the cubes of voxels that become channels."""
    local: int = 0
    """Channels of the map of each patch by itself; 0 = none. For patches of more numbers than `width`."""
    groups: int = 8

    @nn.compact
    def __call__(
        self, x: Float[Array, "b r r r c"], t: Float[Array, " b"], condition: Float[Array, "b d"]
    ) -> Float[Array, "b r r r c"]:
        self._check(x.shape[1])
        e = Condition(4 * self.width, name="condition")(t, condition)
        patches, own = fold(x, self.patch), {"size": 1, "padding": (0, 0)} if self.patch > 1 else {}
        h, skips = Conv(self.width, **own, name="conv_in")(patches), []
        for i, features in enumerate(self.widths):
            for j in range(self.blocks):
                h = self.step(f"down.{i}.{j}", features, h, e)
                skips.append(h)
            if i + 1 < len(self.widths):
                h = Conv(features, stride=2, name=f"down.{i}.half")(h)
        h = self.step("mid.0", features, h, e)
        h = Block(features, self.groups, name="mid.1")(h, e)
        for i, features in reversed(list(enumerate(self.widths))):
            for j in range(self.blocks):
                h = self.step(f"up.{i}.{j}", features, jnp.concatenate([h, skips.pop()], -1), e)
            if i:
                h = Conv(self.widths[i - 1], doubled=True, name=f"up.{i}.double")(h)
        h = jax.nn.silu(GroupNorm(self.groups, name="norm_out")(h))
        out = Conv(patches.shape[-1], **own, kernel_init=nn.initializers.zeros, name="conv_out")(h)
        if self.local:
            h = jax.nn.silu(Dense(self.local, name="local_in")(jnp.concatenate([h, patches], -1)))
            out = out + Dense(patches.shape[-1], kernel_init=nn.initializers.zeros, name="local_out")(h)
        return unfold(out, self.patch)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.width * m for m in self.multipliers)

    def step(self, name: str, features: int, x: Array, e: Array) -> Array:
        """A block, and attention where the grid is small."""
        x = Block(features, self.groups, name=name)(x, e)
        return Attend(self.heads, self.groups, name=f"{name}.attend")(x) if x.shape[1] <= self.attention_from else x

    def _check(self, resolution: int) -> None:
        multiple = self.patch * 2 ** (len(self.multipliers) - 1)
        if resolution % multiple:
            raise ValueError(
                f"UNet3D(patch={self.patch}) with {len(self.multipliers)} levels needs a resolution that is a multiple "
                f"of {multiple}, got {resolution}."
            )
        if any(width % n for width in self.widths for n in (self.groups, self.heads)):
            raise ValueError(
                f"UNet3D's groups and heads must divide the channels of every level, got groups={self.groups}, "
                f"heads={self.heads} and channels {self.widths}."
            )


class Block(nn.Module):
    """x [b, *space, c] and the embedding e [b, n] -> [b, *space, features]."""

    features: int
    groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"], e: Float[Array, "b n"]) -> Float[Array, "b *space d"]:
        h = Conv(self.features, name="conv1")(jax.nn.silu(GroupNorm(self.groups, name="norm1")(x)))
        modulation = Dense(2 * self.features, name="modulation")(e)
        scale, shift = jnp.split(jnp.expand_dims(modulation, range(1, x.ndim - 1)), 2, -1)
        h = jax.nn.silu(GroupNorm(self.groups, name="norm2")(h) * (1 + scale) + shift)
        h = Conv(self.features, kernel_init=nn.initializers.zeros, name="conv2")(h)
        return h + (x if x.shape[-1] == self.features else Dense(self.features, name="shortcut")(x))
