"""The configs of an original single file (SD1, SD2), which holds tensors only: read off the shapes.

    channels   first sizes of the convolutions, level by level          text    SD1: CLIP-L, SD2: open_clip H without
    heads      SD1: 8 everywhere; SD2 (matrix projections): width / 64          its last block (quick_gelu, gelu)

What shapes cannot say is whether an SD2 network predicts the noise or v: the published names of the files do
(v2-1_512-ema-pruned, 512-base-ema: noise; v2-1_768-ema-pruned, 768-v-ema: v).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jax3d.nn.clip import CLIPTextConfig
from jax3d.nn.unet import UNetConfig
from jax3d.nn.vae import VAEConfig

Tensors = Mapping[str, Any]
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def unet_config(tensors: Tensors, size: int) -> UNetConfig:
    """The UNet that these published tensors belong to; `size` = latent pixels along an edge."""
    channels = widths(tensors, "down_blocks.{}.resnets.0.conv1.weight")
    attends = [f"down_blocks.{i}.attentions.0.norm.weight" in tensors for i in range(len(channels))]
    linear = tensors["mid_block.attentions.0.proj_in.weight"].ndim == 2
    down = tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends)
    up = tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends))
    return UNetConfig(
        sample_size=size,
        in_channels=tensors["conv_in.weight"].shape[1],
        out_channels=tensors["conv_out.weight"].shape[0],
        block_out_channels=channels,
        down_block_types=down,
        up_block_types=up,
        layers_per_block=count(tensors, r"down_blocks\.0\.resnets\.(\d+)\."),
        attention_head_dim=tuple(c // 64 for c in channels) if linear else 8,
        cross_attention_dim=tensors["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"].shape[1],
        use_linear_projection=linear,
    )


def vae_config(tensors: Tensors, size: int) -> VAEConfig:
    """The autoencoder that these published tensors belong to; `size` = pixels along an edge."""
    channels = widths(tensors, "encoder.down_blocks.{}.resnets.0.conv1.weight")
    return VAEConfig(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=count(tensors, r"encoder\.down_blocks\.0\.resnets\.(\d+)\."),
        latent_channels=tensors["post_quant_conv.weight"].shape[0],
        sample_size=size,
    )


def text_config(tensors: Tensors, open_clip: bool) -> CLIPTextConfig:
    """The text tower that these published tensors belong to."""
    entries, width = tensors["text_model.embeddings.token_embedding.weight"].shape
    return CLIPTextConfig(
        vocab_size=entries,
        hidden_size=width,
        intermediate_size=tensors["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        projection_dim=512 if open_clip else width,
        num_hidden_layers=count(tensors, r"text_model\.encoder\.layers\.(\d+)\."),
        num_attention_heads=width // 64,
        max_position_embeddings=tensors["text_model.embeddings.position_embedding.weight"].shape[0],
        hidden_act="gelu" if open_clip else "quick_gelu",
    )


def prediction_type(path: Path, second: bool) -> str:
    """What the network predicts: noise for SD1; for SD2 as the published file's name says, else ValueError."""
    if not second or "512" in path.name:
        return "epsilon"
    if "768" in path.name:
        return "v_prediction"
    raise ValueError(
        f"{path} does not say whether its network predicts the noise or v: "
        "put 512 (noise) or 768 (v) into its name, or pass prediction_type."
    )


def widths(tensors: Tensors, pattern: str) -> tuple[int, ...]:
    """Output channels of the named convolution, level by level."""
    out = []
    while (name := pattern.format(len(out))) in tensors:
        out.append(tensors[name].shape[0])
    return tuple(out)


def count(tensors: Tensors, pattern: str) -> int:
    """One more than the largest number that stands in the names."""
    return 1 + max(int(m[1]) for name in tensors if (m := re.match(pattern, name)))
