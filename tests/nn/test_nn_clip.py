"""CLIP's towers against PyTorch transformers, and what causal and pooled mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.nn.clip import CLIP, CLIPConfig, CLIPText, CLIPTextConfig, CLIPVision, CLIPVisionConfig, end_of_text
from jax3d.nn.names import from_published


def test_tiny_clip_equals_transformers(tiny, kit):
    config = CLIPConfig.from_json(
        {"text_config": tiny.config.TEXT, "vision_config": tiny.config.VISION, "projection_dim": 6}
    )
    clip, x = CLIP(config.text_config, config.vision_config, config.projection_dim), tiny.x
    params = {"params": tiny.weights(kit.shapes(clip, x["ids"], x["pixels"]), seed=3)}
    for got, name in (
        (clip.apply(params, x["ids"], method="text_features"), "text_features"),
        (clip.apply(params, x["pixels"], method="image_features"), "image_features"),
        (clip.apply(params, x["ids"], x["pixels"]), "logits"),
    ):
        assert kit.error(got, tiny.out[name]) < 5e-6, name


@pytest.mark.parametrize("name", ["clip_text_sd15", "clip_text_sd21"])
def test_text_tower_equals_transformers(golden, kit, name):
    case = kit.stored(golden / name, "model")
    z, tower = case.arrays, CLIPText(CLIPTextConfig.from_json(case.config))
    ids = jnp.asarray(z["input_ids"])
    params = {"params": from_published(case.weights, kit.shapes(tower, ids))}
    (hidden, pooled), state = tower.apply(params, ids, capture_intermediates=True, mutable=["intermediates"])
    assert kit.error(hidden, z["last_hidden_state"]) < 5e-6
    assert kit.error(pooled, z["pooler_output"]) < 5e-6
    layers = state["intermediates"]["text_model"]
    for i, wanted in enumerate(z["hidden_states"][1:]):
        assert kit.error(layers[f"encoder.layers.{i}"]["__call__"][0], wanted) < 5e-6


@pytest.mark.parametrize("name", ["clip_vision_gelu", "clip_vision_quick_gelu"])
def test_vision_tower_equals_transformers(golden, kit, name):
    case = kit.stored(golden / name, "model")
    z, tower = case.arrays, CLIPVision(CLIPVisionConfig.from_json(case.config))
    pixels = kit.last(z["pixel_values"])
    params = {"params": from_published(case.weights, kit.shapes(tower, pixels))}

    def run(pixels):
        hidden, _, embeds = tower.apply(params, pixels)
        return jnp.sum(embeds * z["g"]), (hidden, embeds)

    grad, (hidden, embeds) = kit.compiled(jax.grad(run, has_aux=True), pixels)
    assert kit.error(hidden, z["last_hidden_state"]) < 5e-6
    assert kit.error(embeds, z["image_embeds"]) < 5e-6
    assert kit.error(grad, kit.last(z["grad_pixel_values"])) < 1e-5


def test_text_is_causal(tiny, kit):
    tower = CLIPText(CLIPTextConfig.from_json(tiny.config.TEXT))
    ids = tiny.x["ids"][1:]
    params = tower.init(jax.random.key(0), ids)
    before, _ = tower.apply(params, ids)
    after, _ = tower.apply(params, ids.at[0, 5].set(11))
    np.testing.assert_array_equal(before[0, :5], after[0, :5])
    assert (np.abs(before[0, 5:] - after[0, 5:]).max(-1) > 1e-6).all()


def test_summary_is_read_at_the_first_end_token_or_at_the_largest_id():
    ids = jnp.array([[5, 7, 7, 9], [7, 1, 9, 2]])
    assert end_of_text(ids, 7).tolist() == [1, 0]
    assert end_of_text(ids, 2).tolist() == [3, 2]


def test_wrong_sizes_say_so(tiny):
    text, vision = CLIPTextConfig.from_json(tiny.config.TEXT), CLIPVisionConfig.from_json(tiny.config.VISION)
    with pytest.raises(ValueError, match="10 tokens are given, but the text tower takes 9"):
        jax.eval_shape(lambda: CLIPText(text).init(jax.random.key(0), jnp.zeros((1, 10), int)))
    with pytest.raises(ValueError, match="vision tower takes 12 x 12"):
        jax.eval_shape(lambda: CLIPVision(vision).init(jax.random.key(0), jnp.zeros((1, 16, 16, 3))))
