"""Original single files: a published model of tiny width is spelt the original way and must come back as it was."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.io.weights import write_weights
from jax3d.nn.clip import CLIPTextConfig
from jax3d.nn.names import published_names
from jax3d.nn.unet import UNetConfig
from jax3d.nn.vae import VAEConfig
from jax3d.prior import convert
from jax3d.prior.folder import text_form, unet_form, vae_form
from jax3d.prior.stable_diffusion import load

LAYERS, LEVELS = 1, 2


def inverse(rename, names):
    """The original spelling of each published name, searched among all that the original constructors can make."""
    table = {rename(name): name for name in names}
    return lambda name: table[name]


def original_names():
    ends = ("weight", "bias")
    resnet = [f"{m}.{e}" for m in convert.RESNET for e in ends]
    block = [f"transformer_blocks.0.{m}" for m in ("norm1", "norm2", "norm3", "ff.net.0.proj", "ff.net.2")]
    block += [f"transformer_blocks.0.attn{i}.{p}" for i in (1, 2) for p in ("to_q", "to_k", "to_v", "to_out.0")]
    inner = {0: resnet, 1: [f"{m}.{e}" for m in ("norm", "proj_in", "proj_out", *block) for e in ends]}
    names = [f"{m}.{e}" for m in convert.UNET_ENDS for e in ends]
    names += [f"middle_block.{i}.{n}" for i in range(3) for n in inner[i % 2]]
    for i in range(LEVELS * (LAYERS + 1) + 1):
        names += [
            f"{s}_blocks.{i + (s == 'input')}.{j}.{n}" for s in ("input", "output") for j in (0, 1) for n in inner[j]
        ]
        names += [f"input_blocks.{i}.0.op.{e}" for e in ends] if i and i % (LAYERS + 1) == 0 else []
        names += [f"output_blocks.{i}.{j}.conv.{e}" for j in (1, 2) for e in ends]
    return names


def to_ldm_vae(name):
    name = re.sub(r"up_blocks\.(\d)", lambda m: f"up.{LEVELS - 1 - int(m[1])}", name)
    for new, old in (
        *(("mid_block.resnets.0", "mid.block_1"), ("mid_block.resnets.1", "mid.block_2")),
        *(
            ("mid_block.attentions.0.group_norm", "mid.attn_1.norm"),
            ("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out"),
        ),
        *((f"mid_block.attentions.0.to_{p}", f"mid.attn_1.{p}") for p in "qkv"),
        *(("down_blocks", "down"), ("resnets", "block"), ("conv_shortcut", "nin_shortcut")),
        *(("conv_norm_out", "norm_out"), ("downsamplers.0", "downsample"), ("upsamplers.0", "upsample")),
    ):
        name = name.replace(new, old)
    return name


def to_open_clip(tensors):
    out = {}
    for name, t in tensors.items():
        if match := re.match(r"text_model\.encoder\.layers\.(\d+)\.self_attn\.q_proj\.(\w+)", name):
            parts = [tensors[name.replace("q_proj", f"{p}_proj")] for p in "qkv"]
            out[f"transformer.resblocks.{match[1]}.attn.in_proj_{match[2]}"] = np.concatenate(parts)
        elif not re.search(r"[kv]_proj", name):
            old = name.removeprefix("text_model.").replace("encoder.layers", "transformer.resblocks")
            for theirs, ours in {**convert.OPEN_CLIP, **convert.OPEN_CLIP_ENDS}.items():
                old = old.replace(ours, theirs)
            out[old] = t
    last = max(int(name.split(".")[2]) for name in out if "resblocks" in name)
    extra = {
        k.replace(f"resblocks.{last}", f"resblocks.{last + 1}"): v for k, v in out.items() if f"blocks.{last}." in k
    }
    return out | extra | {"text_projection": np.ones((3, 3), np.float32), "logit_scale": np.float32([1])}


@pytest.fixture(scope="module", params=[1, 2])
def original(request, random_params):
    """(version, tensors of a single file, the published parameters in it)."""
    second = request.param == 2
    width = 64
    unet = UNetConfig(
        **{"sample_size": 64, "block_out_channels": (64, 64), "layers_per_block": LAYERS},
        **{
            "cross_attention_dim": width,
            "attention_head_dim": (1, 1) if second else 8,
            "use_linear_projection": second,
        },
        **{"down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D")},
        **{"up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")},
    )
    vae = VAEConfig(
        **{"block_out_channels": (32, 32), "down_block_types": ("DownEncoderBlock2D",) * LEVELS, "sample_size": 512},
        **{"up_block_types": ("UpDecoderBlock2D",) * LEVELS},
    )
    text = CLIPTextConfig(
        **{"hidden_size": width, "intermediate_size": 128, "projection_dim": 512 if second else width},
        **{"num_hidden_layers": 2, "num_attention_heads": 1, "hidden_act": "gelu" if second else "quick_gelu"},
    )
    forms = {"unet": unet_form(unet), "vae": vae_form(vae), "text_encoder": text_form(text)}
    params = {name: random_params(form, i) for i, (name, form) in enumerate(forms.items())}
    flat = {name: {k: np.array(v) for k, v in published_names(p).items()} for name, p in params.items()}
    spell = inverse(lambda name: convert.unet_name(name, LAYERS), original_names())
    tensors = {f"model.diffusion_model.{spell(k)}": v for k, v in flat["unet"].items()}
    for name, t in flat["vae"].items():
        tensors[f"first_stage_model.{to_ldm_vae(name)}"] = t[:, :, None, None] if ".to_" in name and t.ndim == 2 else t
    if second:
        tensors |= {f"cond_stage_model.model.{k}": v for k, v in to_open_clip(flat["text_encoder"]).items()}
    else:
        tensors |= {f"cond_stage_model.transformer.{k}": v for k, v in flat["text_encoder"].items()}
    return request.param, tensors | {"betas": np.ones(1000, np.float32)}, params, (unet, vae, text)


def test_a_single_file_loads(original, tmp_path):
    version, tensors, params, configs = original
    path = tmp_path / f"v{version}_512-model.safetensors"
    write_weights(path, tensors)
    prior = load(path)
    assert (prior.unet, prior.vae) == configs[:2] and prior.resolution == 64 * LEVELS
    assert (prior.text.hidden_act, prior.text.num_hidden_layers) == (configs[2].hidden_act, 2)
    assert jax.tree.structure(prior.params) == jax.tree.structure(params)
    for got, want in zip(jax.tree.leaves(prior.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(got, want)
    assert prior.tokenizer.pad_token == ("!" if version == 2 else "<|endoftext|>")
    assert prior.scheduler["prediction_type"] == "epsilon" and prior.schedule.last == 999


def test_what_the_second_version_predicts(original, tmp_path):
    version, tensors, *_ = original
    path = tmp_path / "model.safetensors"
    write_weights(path, tensors)
    if version == 1:
        assert load(path, jnp.float16).scheduler["prediction_type"] == "epsilon"
    else:
        with pytest.raises(ValueError, match="noise or v"):
            load(path)
        prior = load(path, prediction_type="v_prediction")
        assert prior.scheduler["prediction_type"] == "v_prediction" and prior.latent_shape[0] == 96


def test_a_damaged_single_file_is_named(original, tmp_path):
    _, tensors, *_ = original
    path = tmp_path / "512.safetensors"
    gone = "first_stage_model.decoder.mid.attn_1.norm.bias"
    write_weights(path, {k: v for k, v in tensors.items() if k != gone})
    with pytest.raises(ValueError, match=r"512.safetensors.*decoder.mid_block.attentions.0.group_norm.bias"):
        load(path)
    write_weights(path, tensors | {"model.diffusion_model.input_blocks.strange": np.ones(1, np.float32)})
    with pytest.raises(ValueError, match="512.safetensors is no Stable Diffusion file of a known form"):
        load(path)
