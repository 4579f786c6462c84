"""Other spellings of Stable Diffusion's tensors -> the names of diffusers and transformers. Pure renamings.

The original single file (CompVis ldm, Stability-AI/stablediffusion) holds three networks under three prefixes:

    model.diffusion_model.*     UNet; with L resnets a level, input_blocks.{1 + b(L+1) + l} is level b, resnet l, and
                                l = L the downsampler; output_blocks.{b(L+1) + l} likewise; .0 resnet, .1 transformer
    first_stage_model.*         VAE; decoder levels count from the output, attention is 1x1 convolutions [C, C, 1, 1]
    cond_stage_model.*          SD1: transformer.text_model.* as published; SD2: model.* in open_clip's spelling, with
                                q, k, v fused into in_proj and one block more than is used

and perhaps `model_ema.*`, the UNet's moving average with the dots taken out of its names, and schedule buffers.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

Tensors = Mapping[str, Any]
UNET, EMA, VAE, TEXT1, TEXT2 = (
    "model.diffusion_model.",
    "model_ema.diffusion_model",
    "first_stage_model.",
    "cond_stage_model.transformer.",
    "cond_stage_model.model.",
)
RESNET = {
    **{"in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj"},
    **{"out_layers.0": "norm2", "out_layers.3": "conv2", "skip_connection": "conv_shortcut"},
}
UNET_ENDS = {
    **{"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2"},
    **{"camera_embed.0": "class_embedding.linear_1", "camera_embed.2": "class_embedding.linear_2"},
    **{"input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out"},
}
MIDDLE = ("mid_block.resnets.0", "mid_block.attentions.0", "mid_block.resnets.1")
VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OPEN_CLIP = {
    **{"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"},
    "attn.out_proj": "self_attn.out_proj",
}
OPEN_CLIP_ENDS = {
    "positional_embedding": "embeddings.position_embedding.weight",
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}


def is_single_file(tensors: Tensors) -> bool:
    """Whether these are the tensors of an original single file."""
    return any(name.startswith(UNET) for name in tensors)


def split_single_file(tensors: Tensors, use_ema: bool = True) -> dict[str, dict[str, Any]]:
    """The published tensors of "unet", "vae" and "text_encoder" of an original single file.

    With `use_ema` the UNet's moving average is taken where the file has one. Buffers and losses are left out.
    """
    unet = under(tensors, UNET)
    averages = {name: f"{EMA}{name.replace('.', '')}" for name in unet}
    if use_ema and all(average in tensors for average in averages.values()):
        unet = {name: tensors[average] for name, average in averages.items()}
    text = published_text(under(tensors, TEXT1)) or text_from_open_clip(under(tensors, TEXT2))
    return {"unet": unet_from_ldm(unet), "vae": vae_from_ldm(under(tensors, VAE)), "text_encoder": text}


def under(tensors: Tensors, prefix: str) -> dict[str, Any]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def unet_from_ldm(tensors: Tensors) -> dict[str, Any]:
    """A UNet in CompVis' names -> published names."""
    downsamplers = [int(name.split(".")[1]) for name in tensors if re.match(r"input_blocks\.\d+\.0\.op\.", name)]
    layers = min(downsamplers, default=3) - 1
    return _renamed(tensors, lambda name: unet_name(name, layers))


def unet_name(name: str, layers: int) -> str | None:
    """The published name of a CompVis UNet tensor, `layers` resnets a level on the way down; None for others."""
    module, _, leaf = name.rpartition(".")
    if module in UNET_ENDS:
        return f"{UNET_ENDS[module]}.{leaf}"
    room, index, *rest = name.split(".")
    if room == "middle_block":
        return _part(MIDDLE[int(index)], ".".join(rest))
    if room not in ("input_blocks", "output_blocks"):
        return None
    down = room == "input_blocks"
    block, layer = divmod(int(index) - down, layers + 1)
    side = f"{'down' if down else 'up'}_blocks.{block}"
    if rest[1] in ("op", "conv"):  # the resampling convolution
        return f"{side}.{'down' if down else 'up'}samplers.0.conv.{rest[-1]}"
    return _part(f"{side}.{('resnets', 'attentions')[int(rest[0])]}.{layer}", ".".join(rest[1:]))


def _part(place: str, inner: str) -> str:
    """A tensor of a resnet (renamed) or of a transformer (which has its published names already)."""
    if ".resnets." not in place:
        return f"{place}.{inner}"
    module, _, leaf = inner.rpartition(".")
    return f"{place}.{RESNET[module]}.{leaf}"


def vae_from_ldm(tensors: Tensors) -> dict[str, Any]:
    """An autoencoder in CompVis' names -> published names; attention's 1x1 convolutions become matrices."""
    levels = 1 + max((int(m[1]) for name in tensors if (m := re.match(r"decoder\.up\.(\d+)\.", name))), default=0)
    renamed = _renamed(tensors, lambda name: vae_name(name, levels))
    return {name: _matrix(tensor) if ".attentions." in name else tensor for name, tensor in renamed.items()}


def vae_name(name: str, levels: int) -> str | None:
    """The published name of a CompVis autoencoder tensor; None for others (losses)."""
    if not name.startswith(("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")):
        return None
    name = re.sub(r"\.mid\.block_(\d)\.", lambda m: f".mid_block.resnets.{int(m[1]) - 1}.", name)
    name = re.sub(r"\.mid\.attn_1\.(\w+)\.", lambda m: f".mid_block.attentions.0.{VAE_ATTENTION[m[1]]}.", name)
    name = re.sub(r"\.up\.(\d+)\.", lambda m: f".up_blocks.{levels - 1 - int(m[1])}.", name)
    name = name.replace(".down.", ".down_blocks.").replace(".block.", ".resnets.")
    name = name.replace(".nin_shortcut.", ".conv_shortcut.").replace(".norm_out.", ".conv_norm_out.")
    return name.replace(".downsample.", ".downsamplers.0.").replace(".upsample.", ".upsamplers.0.")


def published_vae(tensors: Tensors) -> dict[str, Any]:
    """A diffusers VAE with attention in its old (query, key, value, proj_attn) or new names -> new names."""

    def name(old: str) -> str:
        return re.sub(
            r"(\.attentions\.0)\.(query|key|value|proj_attn)\.", lambda m: f"{m[1]}.{OLD_ATTENTION[m[2]]}.", old
        )

    return {new: _matrix(t) if ".attentions." in new else t for new, t in _renamed(tensors, name).items()}


def published_text(tensors: Tensors) -> dict[str, Any]:
    """A transformers text tower with or without `text_model.` -> with it; position_ids are left out."""

    def name(old: str) -> str | None:
        if old.endswith("position_ids"):
            return None
        return old if old.startswith(("text_model.", "text_projection.")) else f"text_model.{old}"

    return _renamed(tensors, name)


def text_from_open_clip(tensors: Tensors) -> dict[str, Any]:
    """open_clip's text tower -> published names, without its last block (SD2 reads the penultimate state)."""
    blocks = [int(name.split(".")[2]) for name in tensors if name.startswith("transformer.resblocks.")]
    out = {}
    for name, tensor in tensors.items():
        if name in OPEN_CLIP_ENDS:
            out[f"text_model.{OPEN_CLIP_ENDS[name]}"] = tensor
        elif name.startswith("transformer.resblocks."):
            _, _, block, inner = name.split(".", 3)
            if int(block) < max(blocks):
                layer = f"text_model.encoder.layers.{block}"
                out |= {f"{layer}.{k}": v for k, v in _open_clip_block(inner, tensor).items()}
    return out


def _open_clip_block(inner: str, tensor: Any) -> dict[str, Any]:
    if inner.startswith("attn.in_proj_"):
        leaf, width = inner.removeprefix("attn.in_proj_"), tensor.shape[0] // 3
        return {f"self_attn.{p}_proj.{leaf}": tensor[i * width : (i + 1) * width] for i, p in enumerate("qkv")}
    module, _, leaf = inner.rpartition(".")
    return {f"{OPEN_CLIP[module]}.{leaf}": tensor}


def _matrix(tensor: Any) -> Any:
    """A 1x1 convolution as a matrix; anything else as it is."""
    return tensor[:, :, 0, 0] if tensor.ndim == 4 else tensor


def _renamed(tensors: Tensors, rename: Callable[[str], str | None]) -> dict[str, Any]:
    return {new: tensor for name, tensor in tensors.items() if (new := rename(name)) is not None}
