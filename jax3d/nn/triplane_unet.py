"""The denoiser of triplanes: one U-Net of images over the three planes, which see each other.

    planes X [3, r, r, c]:   xy (x, y),   xz (x, z),   yz (y, z);   rows are the first letter, columns the second

All planes go through the same convolutions; a plane's own is its embedding p_k, added to that of time and condition e:

    h = conv1(silu(norm1(X_k))) + across(X)_k
    y = shortcut(X_k) + conv2(silu((1 + s) norm2(h) + b)),   (s, b) = W (e + p_k)

Place (x, y) of plane xy speaks of the column of space above it. That column meets plane xz in row x and plane yz in row
y, so it is told their means (the 3D-aware convolution of Rodin, arXiv 2212.06135, sec. 3.2; X after norm1 and silu):

    across(X)_xy (x, y) = A mean_z X_xz(x, z) + B mean_z X_yz(y, z)
    across(X)_xz (x, z) = A mean_y X_xy(x, y) + B mean_y X_yz(y, z)
    across(X)_yz (y, z) = A mean_x X_xy(x, y) + B mean_x X_xz(x, z)

That is a 1 x 1 convolution of X_k with both means broadcast and concatenated to its channels, the part of X_k itself
being in conv1 already; applied to lines, before they are broadcast, it costs r products where the other costs r^2.
The levels are nn/unet3d's, with attention among all places of all planes at the lowest alone, and so is its patch: the
network works on squares of p x p places as channels. NFD (arXiv 2211.16677) runs such a network on the planes as
channels of one image instead, as if their rows and columns were the same.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jax3d.math.planes import ACROSS, PLANES
from jax3d.nn import patches
from jax3d.nn.condition import Condition
from jax3d.nn.layers import Conv, Dense, GroupNorm
from jax3d.nn.resnet import double
from jax3d.nn.transformer import Attend


def fold(x: Float[Array, "b 3 *rest"]) -> Float[Array, "n *rest"]:
    """Planes into the batch, those of an example side by side: n = 3 b."""
    return x.reshape(-1, *x.shape[2:])


def unfold(x: Float[Array, "n *rest"]) -> Float[Array, "b 3 *rest"]:
    """The inverse of `fold`."""
    return x.reshape(-1, 3, *x.shape[1:])


def shared_lines(x: Float[Array, "b 3 r r c"]) -> tuple[Float[Array, "b 3 r c"], Float[Array, "b 3 r c"]]:
    """For a plane (p, q) what the others know of each p, and of each q: means over the axis that the plane lacks."""

    def line(lacking: int, along: int) -> Array:  # [b, r, c] of the plane that lacks one axis, along another
        plane = ACROSS.index(lacking)
        return x[:, plane].mean(2 - PLANES[plane].index(along))

    rows, columns = zip(*((line(q, p), line(p, q)) for p, q in PLANES), strict=True)
    return jnp.stack(rows, axis=1), jnp.stack(columns, axis=1)


class PlaneBlock(nn.Module):
    """Folded planes x [n, r, r, c] and embeddings e [n, m] -> [n, r, r, features]; at first the shortcut alone."""

    features: int
    groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "n r r c"], e: Float[Array, "n m"]) -> Float[Array, "n r r d"]:
        h = jax.nn.silu(GroupNorm(self.groups, name="norm1")(x))
        rows, columns = (fold(line) for line in shared_lines(unfold(h)))
        h = Conv(self.features, name="conv1")(h)
        h = h + Dense(self.features, use_bias=False, name="rows")(rows)[:, :, None]
        h = h + Dense(self.features, use_bias=False, name="columns")(columns)[:, None]
        scale, shift = jnp.split(Dense(2 * self.features, name="modulation")(e)[:, None, None], 2, axis=-1)
        h = jax.nn.silu(GroupNorm(self.groups, name="norm2")(h) * (1 + scale) + shift)
        h = Conv(self.features, kernel_init=nn.initializers.zeros, name="conv2")(h)
        if x.shape[-1] != self.features:
            x = Conv(self.features, size=1, padding=(0, 0), name="shortcut")(x)
        return x + h


class TriplaneUNet(nn.Module):
    """Planes x [b, 3, r, r, c], t [b], condition [b, d] (d = 0: none) -> [b, 3, r, r, c], 0 before training.

    A place has its own embedding for the attention, so weights are for the resolution they were initialised with.
    """

    width: int = 64
    """Channels of the finest level, over its multiplier."""
    multipliers: tuple[int, ...] = (1, 2, 3)
    """Channels of each level over `width`; each level has half the resolution of the one before, rounded up."""
    blocks: int = 1
    """Blocks a level, down and up."""
    heads: int = 4
    patch: int = 1
    """Edge of the squares of places that become channels."""
    groups: int = 8

    @nn.compact
    def __call__(
        self, x: Float[Array, "b 3 r r c"], t: Float[Array, " b"], condition: Float[Array, "b d"]
    ) -> Float[Array, "b 3 r r c"]:
        self._check(x.shape[2])
        e = Condition(4 * self.width, name="condition")(t, condition)
        e = fold(e[:, None] + self.param("planes", nn.initializers.normal(0.3), (3, e.shape[-1])))
        h, skips = Conv(self.widths[0], name="conv_in")(patches.fold(fold(x), self.patch)), []
        for i, features in enumerate(self.widths):
            for j in range(self.blocks):
                h = PlaneBlock(features, self.groups, name=f"down.{i}.{j}")(h, e)
                skips.append(h)
            if i + 1 < len(self.widths):
                h = Conv(features, stride=2, name=f"down.{i}.half")(h)
        h = PlaneBlock(features, self.groups, name="mid.0")(h, e)
        h = fold(Attend(self.heads, self.groups, positions=True, name="mid.attend")(unfold(h)))
        h = PlaneBlock(features, self.groups, name="mid.1")(h, e)
        for i, features in reversed(list(enumerate(self.widths))):
            for j in range(self.blocks):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = PlaneBlock(features, self.groups, name=f"up.{i}.{j}")(h, e)
            if i:
                h = Conv(self.widths[i - 1], name=f"up.{i}.double")(double(h, *skips[-1].shape[1:3]))
        h = jax.nn.silu(GroupNorm(self.groups, name="norm_out")(h))
        out = Conv(x.shape[-1] * self.patch**2, kernel_init=nn.initializers.zeros, name="conv_out")(h)
        return unfold(patches.unfold(out, self.patch))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.width * multiplier for multiplier in self.multipliers)

    def _check(self, resolution: int) -> None:
        if resolution % self.patch:
            raise ValueError(
                f"TriplaneUNet(patch={self.patch}) needs planes whose edge is a multiple of it, got {resolution}."
            )
        if any(width % n for width in self.widths for n in (self.groups, self.heads)):
            raise ValueError(
                f"TriplaneUNet's groups and heads must divide the channels of every level, got groups={self.groups}, "
                f"heads={self.heads} and channels {self.widths}; choose a width that is a multiple of both."
            )
