"""CLIP's vectors and grid against OpenAI's code, which Point-E and Shap-E were trained with."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.io.weights import read_weights
from jax3d.nn.clip import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from jax3d.nn.names import from_published
from jax3d.prior import convert
from jax3d.prior.folder import clip_form, clip_module

ENDS = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    **{f"visual.ln_pre.{end}": f"vision_model.pre_layrnorm.{end}" for end in ("weight", "bias")},
    **{f"visual.ln_post.{end}": f"vision_model.post_layernorm.{end}" for end in ("weight", "bias")},
    "logit_scale": "logit_scale",
}


def published(tensors):
    """OpenAI's names -> those of transformers."""
    out = {ENDS[name]: tensor for name, tensor in tensors.items() if name in ENDS}
    out |= {f"text_model.{new}": tensors[name] for name, new in convert.OPEN_CLIP_ENDS.items()}
    out |= {
        "text_projection.weight": tensors["text_projection"].T,
        "visual_projection.weight": tensors["visual.proj"].T,
    }
    for side, tower in (("", "text_model"), ("visual.", "vision_model")):
        blocks = convert.under(tensors, f"{side}transformer.resblocks.")
        for name, tensor in blocks.items():
            block, inner = name.split(".", 1)
            layer = f"{tower}.encoder.layers.{block}"
            out |= {f"{layer}.{k}": v for k, v in convert._open_clip_block(inner, tensor).items()}
    return out


@pytest.fixture(scope="module")
def case(shared):
    """Stored arrays, config and parameters."""
    folder = shared / "golden" / "native" / "clip"
    d = json.loads((folder / "clip_tiny.json").read_text())["dims"]
    tower = {"projection_dim": d["embed_dim"], "hidden_act": "quick_gelu"}
    text = CLIPTextConfig(
        vocab_size=d["vocab_size"],
        hidden_size=d["transformer_width"],
        intermediate_size=4 * d["transformer_width"],
        num_hidden_layers=d["transformer_layers"],
        num_attention_heads=d["transformer_heads"],
        **tower,
    )
    vision = CLIPVisionConfig(
        hidden_size=d["vision_width"],
        intermediate_size=4 * d["vision_width"],
        num_hidden_layers=d["vision_layers"],
        num_attention_heads=d["vision_width"] // 64,
        image_size=d["image_resolution"],
        patch_size=d["vision_patch_size"],
        **tower,
    )
    config = CLIPConfig(text, vision, d["embed_dim"])
    tensors = published(read_weights(folder / "clip_tiny.safetensors"))
    return dict(np.load(folder / "clip_tiny.npz")), config, from_published(tensors, clip_form(config))


@pytest.mark.parametrize(
    "method, given, wanted",
    [
        ("image_features", "out_pixels", "out_image_vec"),
        ("image_grid", "out_pixels", "out_grid"),
        ("text_features", "out_tokens", "out_text_vec"),
    ],
)
def test_features_equal_the_published_code(case, method, given, wanted):
    z, config, params = case
    x, y = (np.moveaxis(z[name], 1, -1) if z[name].ndim > 2 else z[name] for name in (given, wanted))
    run = jax.jit(lambda params, x: clip_module(config).apply({"params": params}, x, method=method))
    got = run(params, jnp.asarray(x))
    assert got.shape == y.shape
    assert np.abs(got - y).max() / np.abs(y).max() < 2e-5
