"""Shap-E's encoder: points and views of an object to its latents (arXiv:2305.02463, app. A; names as published).

    h = ln_pre [set embedding of the points, learnt rows]
    h <- cross block(h, W octaves(points));  h <- cross block(h, patches of the views);  h <- blocks(h)
    latents = tanh(W ln_post(the learnt rows of h))

A pixel is described by octaves of its colour, of where its camera is and of the place that it sees; one that sees
nothing by a learnt vector. The set embedding is PointNet++'s (arXiv:1706.02413) around the first `data_ctx` points,
which should be spread out: the neighbours within a radius are convolved along their list, shuffled before each
convolution and for each channel by itself, so that the published encoder gives slightly other latents at every call.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from jax3d.math.encoding import octaves
from jax3d.nn.convolution import convolve
from jax3d.nn.layers import Conv, Dense, LayerNorm, fan_in
from jax3d.nn.perceiver import Blocks, CrossBlocks
from jax3d.nn.shap_e import PLACE
from jax3d.nn.shap_e_config import TransmitterConfig
from jax3d.types import Key

zeros = nn.initializers.zeros


class Encoder(nn.Module):
    """An object's points and views -> its latents [b, rows, d] in [-1, 1].

    points [b, n, 6]: positions in [-1, 1] and colours in [0, 1], the first ones spread out; any number from data_ctx.
    pictures [b, v, h, w, 3]: colours in [-1, 1]. places [b, v, h, w, 3]: what the pixels see. mask [b, v, h, w]:
    whether they see anything. origins [b, v, 3]: of the cameras. shuffles: uniform numbers of `shuffle_shapes`, or
    None for no shuffling.
    """

    config: TransmitterConfig

    @nn.compact
    def __call__(
        self,
        points: Float[Array, "b n 6"],
        pictures: Float[Array, "b v h w 3"],
        origins: Float[Array, "b v 3"],
        places: Float[Array, "b v h w 3"],
        mask: Bool[Array, "b v h w"],
        shuffles: tuple[Array, ...] | None = None,
    ) -> Float[Array, "b rows d"]:
        c, rows = self.config, self.config.decoder.rows
        check(c, points, pictures)
        described = Dense(c.width, name="input_proj")(octaves(points, PLACE))
        sets = SetEmbedding(c, name="point_conv")(points[..., :3], described, shuffles)
        learnt = self.param("output_tokens", nn.initializers.normal(1.0), (rows, c.width))
        learnt = jnp.broadcast_to(learnt, (len(points), *learnt.shape))
        h = LayerNorm(name="ln_pre")(jnp.concatenate([sets.astype(learnt.dtype), learnt], 1))
        pixels = jnp.broadcast_to(origins[..., None, None, :], places.shape)
        pixels = PixelEmbedding(c.width // 2, name="mv_pcl_embed")(pictures, pixels, places, mask)
        patches = Conv(c.width, c.patch_size, c.patch_size, (0, 0), name="patch_emb")(pixels)
        h = CrossBlocks(1, c.heads, name="encoder.0")(h, described)
        h = CrossBlocks(1, c.heads, name="encoder.1")(h, patches.reshape(len(points), -1, c.width))
        h = Blocks(c.layers - 1, c.heads, name="processor")(h)
        return jnp.tanh(Dense(c.decoder.d_latent, name="output_proj")(LayerNorm(name="ln_post")(h[:, -rows:])))


class PixelEmbedding(nn.Module):
    """Pixels [b, v, h, w, 3] of colour, camera and place -> [b v, h, w, features]."""

    features: int

    @nn.compact
    def __call__(self, colors: Array, origins: Array, places: Array, mask: Array) -> Float[Array, "n h w c"]:
        x = jnp.concatenate([octaves(part, PLACE) for part in (colors, origins, places)], -1)
        unknown = self.param("unk_token", nn.initializers.normal(0.01), (x.shape[-1],))
        x = jnp.where(mask[..., None], x, unknown)
        kernel = self.param("kernel", fan_in, (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", zeros, (self.features,))
        return convolve(x.reshape(-1, *x.shape[2:]).astype(kernel.dtype), kernel, 1, (1, 1)) + bias


class SetEmbedding(nn.Module):
    """Positions [b, n, 3] and what is said of the points [b, n, d] -> [b, data_ctx, c] around the first points."""

    config: TransmitterConfig

    @nn.compact
    def __call__(
        self, positions: Float[Array, "b n 3"], described: Float[Array, "b n d"], shuffles: tuple[Array, ...] | None
    ) -> Float[Array, "b m c"]:
        c = self.config
        centres = positions[:, : c.data_ctx]
        near = jax.vmap(lambda p, q: neighbours(p, q, c.pointconv_radius, c.pointconv_samples))(positions, centres)
        both = jnp.concatenate([positions, described], -1)
        x = jax.vmap(lambda values, index: values[index])(both, near)  # [b, m, samples, 3 + d]
        x = x.at[..., :3].add(-centres[:, :, None])
        for i, width in enumerate(c.pointconv_hidden):
            taps = c.pointconv_patch_size
            if shuffles is not None:
                order = jnp.argsort(shuffles[i], 1)[:, None]  # [b, 1, samples, channels]: one for all centres
                x = jnp.take_along_axis(x, jnp.broadcast_to(order, x.shape), 2)
            around = x.take(jnp.arange(-(taps // 2), x.shape[2] + taps // 2), 2, mode="wrap")
            kernel, bias = Taps(taps, width, name=f"mlp_convs.{i}")(x.shape[-1])
            flat = around.reshape(-1, around.shape[2], 1, x.shape[-1])
            y = convolve(flat, kernel, c.pointconv_stride, (0, 0)) + bias
            x = jax.nn.silu(y.reshape(*x.shape[:2], -1, width))
        return x.mean(2)


class Taps(nn.Module):
    """Kernel [taps, 1, in, features] and bias of a convolution along a list."""

    taps: int
    features: int

    @nn.compact
    def __call__(self, width: int) -> tuple[Float[Array, "t 1 i o"], Float[Array, " o"]]:
        kernel = self.param("kernel", fan_in, (self.taps, 1, width, self.features))
        return kernel, self.param("bias", zeros, (self.features,))


def neighbours(
    positions: Float[Array, "n 3"], centres: Float[Array, "m 3"], radius: float, count: int
) -> Int[Array, "m count"]:
    """For each centre the first `count` points within a radius, in the list's order; the first again where they end."""
    square = jnp.sum(centres**2, -1)[:, None] + jnp.sum(positions**2, -1) - 2 * centres @ positions.T
    n = len(positions)
    index = jnp.where(square <= radius**2, jnp.arange(n), n)
    index = -jax.lax.top_k(-index, min(count, n))[0]  # the smallest, in order
    index = jnp.pad(index, ((0, 0), (0, count - index.shape[1])), constant_values=n)
    return jnp.where(index < n, index, index[:, :1])


def shuffle_shapes(config: TransmitterConfig, batch: int) -> tuple[tuple[int, int, int], ...]:
    """Of the uniform numbers by whose order the neighbours are shuffled: (batch, neighbours, channels) each."""
    out, length, width = [], config.pointconv_samples, config.width + 3
    for hidden in config.pointconv_hidden:
        out.append((batch, length, width))
        padded = length + 2 * (config.pointconv_patch_size // 2)
        length, width = (padded - config.pointconv_patch_size) // config.pointconv_stride + 1, hidden
    return tuple(out)


def draw_shuffles(key: Key, config: TransmitterConfig, batch: int) -> tuple[Float[Array, "b n c"], ...]:
    """Uniform numbers for the published encoder's shuffling."""
    shapes = shuffle_shapes(config, batch)
    keys = jax.random.split(key, len(shapes))
    return tuple(jax.random.uniform(k, shape) for k, shape in zip(keys, shapes, strict=True))


def check(config: TransmitterConfig, points: Array, pictures: Array) -> None:
    """ValueError where there are too few points, or pictures that are not whole patches."""
    if points.shape[1] < config.data_ctx:
        raise ValueError(
            f"the encoder gathers around {config.data_ctx} points, but {points.shape[1]} are given: give more"
        )
    if pictures.shape[2] % config.patch_size or pictures.shape[3] % config.patch_size:
        raise ValueError(
            f"pictures are cut into patches of {config.patch_size} pixels, but they have {pictures.shape[2:4]}: "
            f"resize them to {config.image_size}"
        )
