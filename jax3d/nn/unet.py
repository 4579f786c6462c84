"""The denoising UNet of Stable Diffusion 1.x and 2.x, zero123 and MVDream (diffusers UNet2DConditionModel).

    e = time_embedding(code(t)) [+ class_embedding(labels)]
    down: resnets, each followed by a spatial transformer where the block is a CrossAttn one; stride 2 between blocks
    mid:  resnet, transformer, resnet
    up:   the same on the concatenation with the skips, last first; nearest-neighbour doubling between blocks

arXiv:2112.10752; zero123 has 8 input channels (arXiv:2303.11328); MVDream adds a camera [16] through class_embedding
and attends across the frames of a scene (arXiv:2308.16512). `attention_head_dim` is the *number* of heads.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Shaped

from jax3d.nn import config as published
from jax3d.nn.embedding import TimestepEmbedding, time_code
from jax3d.nn.layers import Conv, GroupNorm
from jax3d.nn.resnet import ResnetBlock, double
from jax3d.nn.transformer import SpatialTransformer

FIXED = {
    "_class_name": "UNet2DConditionModel",
    "act_fn": "silu",
    "addition_embed_type": None,
    "attention_type": "default",
    "center_input_sample": False,
    "class_embeddings_concat": False,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "cross_attention_norm": None,
    "downsample_padding": 1,
    "dual_cross_attention": False,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "mid_block_only_cross_attention": None,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "num_attention_heads": None,
    "num_class_embeds": None,
    "only_cross_attention": False,
    "resnet_out_scale_factor": 1.0,
    "resnet_skip_time_act": False,
    "resnet_time_scale_shift": "default",
    "reverse_transformer_layers_per_block": None,
    "time_cond_proj_dim": None,
    "time_embedding_act_fn": None,
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
    "timestep_post_act": None,
}
FREE = {  # written for other programs; no part of the forward pass here
    "_diffusers_version": "0.42.1",
    "addition_embed_type_num_heads": 64,
    "addition_time_embed_dim": None,
    "dropout": 0.0,
}


@dataclasses.dataclass(frozen=True)
class UNetConfig:
    """Published fields and defaults of UNet2DConditionModel's config.json."""

    sample_size: int | tuple[int, int] | None = None
    in_channels: int = 4
    out_channels: int = 4
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    down_block_types: tuple[str, ...] = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    up_block_types: tuple[str, ...] = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3
    layers_per_block: int | tuple[int, ...] = 2
    transformer_layers_per_block: int | tuple[int, ...] = 1
    attention_head_dim: int | tuple[int, ...] = 8
    cross_attention_dim: int | tuple[int, ...] = 1280  # one int is supported
    use_linear_projection: bool = False
    upcast_attention: bool = False  # softmax is float32 here whatever it says
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    flip_sin_to_cos: bool = True
    freq_shift: int | float = 0
    class_embed_type: str | None = None
    projection_class_embeddings_input_dim: int | None = None

    def __post_init__(self):
        for name, plain in (("down_block_types", "DownBlock2D"), ("up_block_types", "UpBlock2D")):
            for kind in getattr(self, name):
                published.require(UNetConfig, name, kind, ("CrossAttn" + plain, plain))
        published.require(UNetConfig, "class_embed_type", self.class_embed_type, (None, "projection"))
        blocks = len(self.block_out_channels)
        for name in ("down_block_types", "up_block_types"):
            published.require(UNetConfig, f"{name} (count)", len(getattr(self, name)), (blocks,))
        for name in ("layers_per_block", "transformer_layers_per_block", "attention_head_dim"):
            if not isinstance(getattr(self, name), int):
                published.require(UNetConfig, f"{name} (count)", len(getattr(self, name)), (blocks,))
        if not isinstance(self.cross_attention_dim, int):
            raise ValueError(
                f"UNetConfig.cross_attention_dim is {self.cross_attention_dim}, but only one int is supported"
            )
        if self.class_embed_type and not self.projection_class_embeddings_input_dim:
            raise ValueError("UNetConfig.class_embed_type 'projection' needs projection_class_embeddings_input_dim")
        self._check_divisions()

    def _check_divisions(self) -> None:
        for channels, heads in zip(self.block_out_channels, self.per_block("attention_head_dim"), strict=True):
            for name, n in (("norm_num_groups", self.norm_num_groups), ("attention_head_dim (heads)", heads)):
                if channels % n:
                    raise ValueError(f"UNetConfig.{name} is {n}, which must divide the block's {channels} channels")

    def per_block(self, name: str) -> tuple:
        """A field that may be given once for all blocks, as one value a block."""
        value = getattr(self, name)
        return value if isinstance(value, tuple) else (value,) * len(self.block_out_channels)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "UNetConfig":
        """From a published config.json; ValueError names the field that asks for another network."""
        return published.read(cls, data, FIXED)

    def to_json(self) -> dict[str, Any]:
        """The complete published config.json."""
        return published.write(self, {**FIXED, **FREE})


class UNet(nn.Module):
    """sample [b, h, w, c], t [b] (fractions allowed), context [b, n, d] -> [b, h, w, out_channels].

    With `frames` > 1 the batch is [scenes * frames], frames of a scene side by side.
    """

    config: UNetConfig

    @nn.compact
    def __call__(
        self,
        sample: Float[Array, "b h w c"],
        t: Shaped[Array, " b"],
        context: Float[Array, "b n d"],
        class_labels: Float[Array, "b m"] | None = None,
        frames: int = 1,
    ) -> Float[Array, "b h w c2"]:
        c = self.config
        e = self.embed_time(t, class_labels)
        x = Conv(c.block_out_channels[0], name="conv_in")(sample)
        context = context.astype(x.dtype)
        x, skips = self.down(x, e, context, frames)
        x = self.resnet("mid_block.resnets.0", -1)(x, e)
        x = self.transformer("mid_block.attentions.0", -1)(x, context, frames)
        x = self.resnet("mid_block.resnets.1", -1)(x, e)
        x = self.up(x, skips, e, context, frames)
        x = jax.nn.silu(GroupNorm(c.norm_num_groups, c.norm_eps, name="conv_norm_out")(x))
        return Conv(c.out_channels, kernel_init=nn.initializers.zeros, name="conv_out")(x)

    def embed_time(self, t: Array, class_labels: Array | None) -> Array:
        """The embedding [b, 4 c0] that every resnet sees."""
        c = self.config
        width = c.block_out_channels[0]
        e = TimestepEmbedding(4 * width, name="time_embedding")(time_code(t, width, c.flip_sin_to_cos, c.freq_shift))
        if (class_labels is None) != (c.class_embed_type is None):
            raise ValueError(
                f"class_labels must be given exactly when class_embed_type is set, which is {c.class_embed_type!r}"
            )
        if class_labels is not None:
            e = e + TimestepEmbedding(4 * width, name="class_embedding")(class_labels)
        return e

    def resnet(self, name: str, block: int) -> ResnetBlock:
        c = self.config
        return ResnetBlock(c.block_out_channels[block], c.norm_num_groups, c.norm_eps, zero=True, name=name)

    def transformer(self, name: str, block: int) -> SpatialTransformer:
        c = self.config
        heads, layers = (c.per_block(n)[block] for n in ("attention_head_dim", "transformer_layers_per_block"))
        return SpatialTransformer(heads, c.norm_num_groups, c.use_linear_projection, layers, name=name)

    def down(self, x: Array, e: Array, context: Array, frames: int) -> tuple[Array, list[Array]]:
        c, skips = self.config, [x]
        for i, kind in enumerate(c.down_block_types):
            for j in range(c.per_block("layers_per_block")[i]):
                x = self.resnet(f"down_blocks.{i}.resnets.{j}", i)(x, e)
                if kind == "CrossAttnDownBlock2D":
                    x = self.transformer(f"down_blocks.{i}.attentions.{j}", i)(x, context, frames)
                skips.append(x)
            if i + 1 < len(c.down_block_types):
                x = Conv(c.block_out_channels[i], stride=2, name=f"down_blocks.{i}.downsamplers.0.conv")(x)
                skips.append(x)
        return x, skips

    def up(self, x: Array, skips: list[Array], e: Array, context: Array, frames: int) -> Array:
        c = self.config
        for i, kind in enumerate(c.up_block_types):
            block = len(c.block_out_channels) - 1 - i
            for j in range(c.per_block("layers_per_block")[block] + 1):
                x = self.resnet(f"up_blocks.{i}.resnets.{j}", block)(jnp.concatenate([x, skips.pop()], -1), e)
                if kind == "CrossAttnUpBlock2D":
                    x = self.transformer(f"up_blocks.{i}.attentions.{j}", block)(x, context, frames)
            if block:
                height, width = skips[-1].shape[1:3]
                x = Conv(c.block_out_channels[block], name=f"up_blocks.{i}.upsamplers.0.conv")(double(x, height, width))
        return x
