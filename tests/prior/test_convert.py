"""Renamings are bijections onto the published names: checked at full size, on names and shapes alone.

The original names are generated here from the original constructors (openaimodel.py, model.py of CompVis ldm;
transformer.py of open_clip), which know nothing of the published ones.
"""

import gzip
import json

import numpy as np
import pytest

from jax3d.prior import convert


class Shape:
    """Stands in for a full-size tensor: has its shape, can be sliced, holds nothing."""

    def __init__(self, *shape):
        self.shape, self.ndim = shape, len(shape)

    def __getitem__(self, index):
        return Shape(*np.broadcast_to(np.float32(0), self.shape)[index].shape)


@pytest.fixture(scope="module")
def published(shared):
    def read(name):
        path = shared / "golden" / "stable_diffusion" / "keys" / f"{name}.json.gz"
        return {k: tuple(v) for k, v in json.loads(gzip.open(path).read())["tensors"].items()}

    return read


def named(prefix, *shape):
    return {f"{prefix}.weight": shape, f"{prefix}.bias": shape[:1]}


def ldm_resnet(prefix, a, b):
    out = {**named(f"{prefix}.in_layers.0", a), **named(f"{prefix}.in_layers.2", b, a, 3, 3)}
    out |= {**named(f"{prefix}.emb_layers.1", b, 1280), **named(f"{prefix}.out_layers.0", b)}
    out |= named(f"{prefix}.out_layers.3", b, b, 3, 3)
    return out | (named(f"{prefix}.skip_connection", b, a, 1, 1) if a != b else {})


def ldm_transformer(prefix, c, context, linear):
    side = () if linear else (1, 1)
    out = {**named(f"{prefix}.norm", c), **named(f"{prefix}.proj_in", c, c, *side)}
    out |= named(f"{prefix}.proj_out", c, c, *side)
    block = f"{prefix}.transformer_blocks.0"
    for i, width in ((1, c), (2, context)):
        out |= {f"{block}.attn{i}.to_q.weight": (c, c), f"{block}.attn{i}.to_k.weight": (c, width)}
        out |= {f"{block}.attn{i}.to_v.weight": (c, width), **named(f"{block}.attn{i}.to_out.0", c, c)}
    for i in (1, 2, 3):
        out |= named(f"{block}.norm{i}", c)
    return out | named(f"{block}.ff.net.0.proj", 8 * c, c) | named(f"{block}.ff.net.2", c, 4 * c)


def ldm_unet(inputs=4, context=768, linear=False, camera=False):
    """UNetModel.__init__: model_channels 320, mult 1 2 4 4, two resnets a level, attention at the first three."""
    out = {**named("time_embed.0", 1280, 320), **named("time_embed.2", 1280, 1280)}
    if camera:
        out |= {**named("camera_embed.0", 1280, 16), **named("camera_embed.2", 1280, 1280)}
    out |= named("input_blocks.0.0", 320, inputs, 3, 3)
    widths, channels, c, n = [320], (320, 640, 1280, 1280), 320, 1
    for level, width in enumerate(channels):
        for _ in range(2):
            out |= ldm_resnet(f"input_blocks.{n}.0", c, width)
            if level < 3:
                out |= ldm_transformer(f"input_blocks.{n}.1", width, context, linear)
            c, n = width, n + 1
            widths.append(c)
        if level < 3:
            out |= named(f"input_blocks.{n}.0.op", c, c, 3, 3)
            n += 1
            widths.append(c)
    out |= ldm_resnet("middle_block.0", c, c) | ldm_transformer("middle_block.1", c, context, linear)
    out |= ldm_resnet("middle_block.2", c, c)
    n = 0
    for level, width in reversed(list(enumerate(channels))):
        for i in range(3):
            out |= ldm_resnet(f"output_blocks.{n}.0", c + widths.pop(), width)
            c, place = width, 1
            if level < 3:
                out |= ldm_transformer(f"output_blocks.{n}.1", c, context, linear)
                place = 2
            if level and i == 2:
                out |= named(f"output_blocks.{n}.{place}.conv", c, c, 3, 3)
            n += 1
    return out | named("out.0", c) | named("out.2", 4, 320, 3, 3)


def ldm_block(prefix, a, b):
    out = {**named(f"{prefix}.norm1", a), **named(f"{prefix}.conv1", b, a, 3, 3), **named(f"{prefix}.norm2", b)}
    out |= named(f"{prefix}.conv2", b, b, 3, 3)
    return out | (named(f"{prefix}.nin_shortcut", b, a, 1, 1) if a != b else {})


def ldm_vae():
    """Encoder and Decoder with ch 128, ch_mult 1 2 4 4, two blocks a level (three on the way up)."""
    widths = (128, 256, 512, 512)
    out = {**named("quant_conv", 8, 8, 1, 1), **named("post_quant_conv", 4, 4, 1, 1)}
    for side, ends in (("encoder", (3, 8)), ("decoder", (4, 3))):
        order = list(enumerate(widths)) if side == "encoder" else list(reversed(list(enumerate(widths))))
        c = order[0][1]
        out |= named(f"{side}.conv_in", c, ends[0], 3, 3)
        step, sample = ("down", "downsample") if side == "encoder" else ("up", "upsample")
        for level, width in order:
            for i in range(2 + (side == "decoder")):
                out |= ldm_block(f"{side}.{step}.{level}.block.{i}", c, width)
                c = width
            if level != order[-1][0]:
                out |= named(f"{side}.{step}.{level}.{sample}.conv", c, c, 3, 3)
        for i in (1, 2):
            out |= ldm_block(f"{side}.mid.block_{i}", 512, 512)
        out |= named(f"{side}.mid.attn_1.norm", 512)
        for p in ("q", "k", "v", "proj_out"):
            out |= named(f"{side}.mid.attn_1.{p}", 512, 512, 1, 1)
        out |= {**named(f"{side}.norm_out", c), **named(f"{side}.conv_out", ends[1], c, 3, 3)}
    return out


def open_clip_text():
    out = {"positional_embedding": (77, 1024), "token_embedding.weight": (49408, 1024), **named("ln_final", 1024)}
    out |= {"text_projection": (1024, 1024), "logit_scale": ()}
    for i in range(24):
        block = f"transformer.resblocks.{i}"
        out |= {f"{block}.attn.in_proj_weight": (3072, 1024), f"{block}.attn.in_proj_bias": (3072,)}
        out |= {**named(f"{block}.attn.out_proj", 1024, 1024), **named(f"{block}.mlp.c_fc", 4096, 1024)}
        out |= {**named(f"{block}.mlp.c_proj", 1024, 4096), **named(f"{block}.ln_1", 1024)}
        out |= named(f"{block}.ln_2", 1024)
    return out


def stand_ins(shapes):
    return {name: Shape(*shape) for name, shape in shapes.items()}


def shapes_of(tensors):
    return {name: tensor.shape for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    "name, form",
    [
        ("unet_sd15", {}),
        ("unet_sd21", {"context": 1024, "linear": True}),
        ("unet_zero123", {"inputs": 8}),
        ("unet_mvdream", {"context": 1024, "linear": True, "camera": True}),
    ],
)
def test_unet_names_are_a_bijection(published, name, form):
    original = ldm_unet(**form)
    assert len({convert.unet_name(n, 2) for n in original}) == len(original)
    assert shapes_of(convert.unet_from_ldm(stand_ins(original))) == published(name)


def test_vae_names_are_a_bijection(published):
    original = ldm_vae() | {"loss.logvar": ()}
    assert shapes_of(convert.vae_from_ldm(stand_ins(original))) == published("vae")


def test_single_files(published):
    vae = {f"first_stage_model.{k}": v for k, v in ldm_vae().items()}
    buffers = {"betas": (1000,), "alphas_cumprod": (1000,), "model_ema.decay": (), "model_ema.num_updates": ()}
    sd1 = {f"model.diffusion_model.{k}": v for k, v in ldm_unet().items()}
    sd1 |= {f"cond_stage_model.transformer.{k}": v for k, v in published("clip_text_sd15").items()}
    sd1["cond_stage_model.transformer.text_model.embeddings.position_ids"] = (1, 77)
    parts = convert.split_single_file(stand_ins(sd1 | vae | buffers))
    for part, name in (("unet", "unet_sd15"), ("vae", "vae"), ("text_encoder", "clip_text_sd15")):
        assert shapes_of(parts[part]) == published(name)
    sd2 = {f"model.diffusion_model.{k}": v for k, v in ldm_unet(context=1024, linear=True).items()}
    sd2 |= {f"cond_stage_model.model.{k}": v for k, v in open_clip_text().items()}
    parts = convert.split_single_file(stand_ins(sd2 | vae | buffers))
    for part, name in (("unet", "unet_sd21"), ("vae", "vae"), ("text_encoder", "clip_text_sd21")):
        assert shapes_of(parts[part]) == published(name)


def test_moving_average():
    raw = {"model.diffusion_model.input_blocks.0.0.weight": 1, "model.diffusion_model.input_blocks.3.0.op.bias": 2}
    ema = {"model_ema.diffusion_modelinput_blocks00weight": 3, "model_ema.diffusion_modelinput_blocks30opbias": 4}
    down = "down_blocks.0.downsamplers.0.conv.bias"
    take = lambda tensors, **kwargs: convert.split_single_file(tensors, **kwargs)["unet"]  # noqa: E731
    assert take(raw | ema) == {"conv_in.weight": 3, down: 4}
    assert take(raw | ema, use_ema=False) == {"conv_in.weight": 1, down: 2}
    assert take(raw) == {"conv_in.weight": 1, down: 2}


def test_fused_projections_are_cut_in_the_right_places():
    fused = np.arange(12.0).reshape(6, 2)
    tensors = {"transformer.resblocks.0.attn.in_proj_weight": fused, "transformer.resblocks.1.ln_1.bias": fused}
    got = convert.text_from_open_clip(tensors)
    assert len(got) == 3  # block 1 is the last one, which is not used
    for i, p in enumerate("qkv"):
        np.testing.assert_array_equal(
            got[f"text_model.encoder.layers.0.self_attn.{p}_proj.weight"], fused[2 * i : 2 * i + 2]
        )


def test_spellings_of_published_folders():
    old = {"encoder.mid_block.attentions.0.query.weight": np.ones((2, 2, 1, 1)), "encoder.conv_in.bias": np.ones(3)}
    got = convert.published_vae(old)
    assert shapes_of(got) == {"encoder.mid_block.attentions.0.to_q.weight": (2, 2), "encoder.conv_in.bias": (3,)}
    assert convert.published_vae(got) == got
    text = {"embeddings.position_ids": 0, "final_layer_norm.bias": 1, "text_model.final_layer_norm.weight": 2}
    text["text_projection.weight"] = 3
    assert convert.published_text(text) == {
        **{"text_model.final_layer_norm.bias": 1, "text_model.final_layer_norm.weight": 2},
        "text_projection.weight": 3,
    }
