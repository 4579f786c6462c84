"""The image autoencoder of Stable Diffusion (diffusers AutoencoderKL; arXiv:2112.10752, section 3.1).

    encode: images in [-1, 1] -> mean and log-variance of a Gaussian over latents, log-variance clipped to [-30, 20]
    decode: latents, not scaled -> images; `scaling_factor` is in the config and the caller applies it

Every norm has eps 1e-6; stride-2 convolutions pad one row after and none before; the mid block attends with one head
of full width.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jax3d.nn import config as published
from jax3d.nn.layers import Conv, GroupNorm
from jax3d.nn.resnet import ResnetBlock, double
from jax3d.nn.transformer import attend

EPS = 1e-6
FIXED = {"_class_name": "AutoencoderKL", "act_fn": "silu"}
FREE = {"_diffusers_version": "0.42.1", "force_upcast": True, "latents_mean": None, "latents_std": None}


@dataclasses.dataclass(frozen=True)
class VAEConfig:
    """Published fields and defaults of AutoencoderKL's config.json."""

    in_channels: int = 3
    out_channels: int = 3
    down_block_types: tuple[str, ...] = ("DownEncoderBlock2D",)
    up_block_types: tuple[str, ...] = ("UpDecoderBlock2D",)
    block_out_channels: tuple[int, ...] = (64,)
    layers_per_block: int = 1
    latent_channels: int = 4
    norm_num_groups: int = 32
    sample_size: int | tuple[int, int] = 32
    scaling_factor: int | float = 0.18215
    shift_factor: int | float | None = None
    mid_block_add_attention: bool = True
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True

    def __post_init__(self):
        for name, kind in (("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")):
            published.require(VAEConfig, f"{name} (count)", len(getattr(self, name)), (len(self.block_out_channels),))
            for got in getattr(self, name):
                published.require(VAEConfig, name, got, (kind,))
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups:
                raise ValueError(
                    f"VAEConfig.norm_num_groups is {self.norm_num_groups}, "
                    f"which must divide the block's {channels} channels"
                )

    @property
    def factor(self) -> int:
        """Image pixels along one side of a latent pixel."""
        return 2 ** (len(self.block_out_channels) - 1)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "VAEConfig":
        """From a published config.json; ValueError names the field that asks for another network."""
        return published.read(cls, data, FIXED)

    def to_json(self) -> dict[str, Any]:
        """The complete published config.json."""
        return published.write(self, {**FIXED, **FREE})


class VAE(nn.Module):
    """Methods `encode`, `decode`; calling it reconstructs from the mean."""

    config: VAEConfig

    def setup(self):
        c = self.config
        self.encoder, self.decoder = Encoder(c), Decoder(c)
        if c.use_quant_conv:
            self.quant_conv = Conv(2 * c.latent_channels, 1, padding=(0, 0))
        if c.use_post_quant_conv:
            self.post_quant_conv = Conv(c.latent_channels, 1, padding=(0, 0))

    def encode(self, images: Float[Array, "b h w c"]) -> tuple[Float[Array, "b y x d"], Float[Array, "b y x d"]]:
        """Images in [-1, 1] -> (mean, logvar) of the latents."""
        moments = self.encoder(images)
        mean, logvar = jnp.split(self.quant_conv(moments) if self.config.use_quant_conv else moments, 2, -1)
        return mean, jnp.clip(logvar, -30.0, 20.0)

    def decode(self, latents: Float[Array, "b y x d"]) -> Float[Array, "b h w c"]:
        """Unscaled latents -> images, about [-1, 1]."""
        return self.decoder(self.post_quant_conv(latents) if self.config.use_post_quant_conv else latents)

    def __call__(self, images: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c2"]:
        return self.decode(self.encode(images)[0])


class Encoder(nn.Module):
    """Images -> 2 * latent_channels features at 1 / factor of the size."""

    config: VAEConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b y x d"]:
        c = self.config
        x = Conv(c.block_out_channels[0], name="conv_in")(x)
        for i, channels in enumerate(c.block_out_channels):
            for j in range(c.layers_per_block):
                x = ResnetBlock(channels, c.norm_num_groups, EPS, name=f"down_blocks.{i}.resnets.{j}")(x)
            if i + 1 < len(c.block_out_channels):
                x = Conv(channels, stride=2, padding=(0, 1), name=f"down_blocks.{i}.downsamplers.0.conv")(x)
        x = MidBlock(c, name="mid_block")(x)
        return head(c, 2 * c.latent_channels, x)


class Decoder(nn.Module):
    """Latents -> images."""

    config: VAEConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b y x d"]) -> Float[Array, "b h w c"]:
        c = self.config
        widths = c.block_out_channels[::-1]
        x = Conv(widths[0], name="conv_in")(x)
        x = MidBlock(c, name="mid_block")(x)
        for i, channels in enumerate(widths):
            for j in range(c.layers_per_block + 1):
                x = ResnetBlock(channels, c.norm_num_groups, EPS, name=f"up_blocks.{i}.resnets.{j}")(x)
            if i + 1 < len(widths):
                x = double(x, 2 * x.shape[1], 2 * x.shape[2])
                x = Conv(channels, name=f"up_blocks.{i}.upsamplers.0.conv")(x)
        return head(c, c.out_channels, x)


def head(c: VAEConfig, features: int, x: Array) -> Array:
    """The last norm and convolution; called inside the compact method that owns them."""
    x = jax.nn.silu(GroupNorm(c.norm_num_groups, EPS, name="conv_norm_out")(x))
    return Conv(features, name="conv_out")(x)


class MidBlock(nn.Module):
    """Resnet, self-attention with one head, resnet, at the lowest resolution."""

    config: VAEConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        c, channels = self.config, x.shape[-1]
        x = ResnetBlock(channels, c.norm_num_groups, EPS, name="resnets.0")(x)
        if c.mid_block_add_attention:
            x = SelfAttention(c.norm_num_groups, name="attentions.0")(x)
        return ResnetBlock(channels, c.norm_num_groups, EPS, name="resnets.1")(x)


class SelfAttention(nn.Module):
    """x + attention(group_norm(x)) over pixels, one head."""

    groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        y = GroupNorm(self.groups, EPS, name="group_norm")(x).reshape(x.shape[0], -1, x.shape[-1])
        return x + attend(y, y, heads=1, use_bias=True).reshape(x.shape)
