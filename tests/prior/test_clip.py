"""CLIP folders: round trip, preprocessing against Pillow, features against the towers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jax3d.io.weights import write_json
from jax3d.nn.clip import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from jax3d.prior.clip import CLIPScore, load, save
from jax3d.prior.folder import clip_form


@pytest.fixture(scope="module")
def score(make_prior, random_params):
    tokenizer = make_prior().tokenizer
    size = len(tokenizer.get_vocab())
    text = CLIPTextConfig(
        **{"vocab_size": size, "hidden_size": 16, "intermediate_size": 32, "projection_dim": 12},
        **{"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 8},
        **{"bos_token_id": size - 2, "eos_token_id": size - 1, "pad_token_id": size - 1},
    )
    vision = CLIPVisionConfig(
        **{"hidden_size": 16, "intermediate_size": 32, "projection_dim": 12, "num_hidden_layers": 2},
        **{"num_attention_heads": 2, "image_size": 16, "patch_size": 8},
    )
    config = CLIPConfig(text, vision, 12)
    return CLIPScore(config, tokenizer, random_params(clip_form(config), 5), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def test_round_trip(score, tmp_path):
    save(score, tmp_path / "clip")
    back = load(tmp_path / "clip")
    assert (back.config, back.mean, back.std) == (score.config, score.mean, score.std)
    images = jax.random.uniform(jax.random.key(0), (3, 20, 20, 3))
    prompts = ["a red chair", "a green lamp"]
    np.testing.assert_array_equal(
        back.similarity(back.params, images, prompts), score.similarity(score.params, images, prompts)
    )
    half = load(tmp_path / "clip", jnp.float16)
    assert half.params["text_projection"]["kernel"].dtype == jnp.float16


def test_features_are_unit_and_similarity_is_their_cosine(score):
    images = jax.random.uniform(jax.random.key(1), (2, 16, 16, 3))
    text, image = (
        score.text_features(score.params, ["a red chair", "a table", "a lamp"]),
        score.image_features(score.params, images),
    )
    for features in (text, image):
        np.testing.assert_allclose(np.linalg.norm(features, axis=-1), 1, atol=1e-6)
    similarity = score.similarity(score.params, images, ["a red chair", "a table", "a lamp"])
    np.testing.assert_allclose(similarity, np.asarray(image) @ np.asarray(text).T, atol=1e-6)


@pytest.mark.parametrize("size", [(40, 40), (30, 47), (47, 30), (10, 10)])
def test_preprocessing_is_pillows(score, size):
    """Bicubic to the shorter edge and a centre crop, as transformers' processor does with Pillow, in floats."""
    image = np.random.default_rng(0).uniform(size=(*size, 3)).astype(np.float32)
    edge = min(size)
    to = (size[1] * 16 // edge, size[0] * 16 // edge)
    planes = [np.asarray(Image.fromarray(image[..., c]).resize(to, Image.Resampling.BICUBIC)) for c in range(3)]
    want = np.stack(planes, -1)
    top, left = (want.shape[0] - 16) // 2, (want.shape[1] - 16) // 2
    want = (want[top : top + 16, left : left + 16].clip(0, 1) - np.array(score.mean)) / np.array(score.std)
    got = score.preprocess(jnp.asarray(image)[None])[0]
    np.testing.assert_allclose(got, want, atol=2e-5)


def test_the_gradient_reaches_the_image(score):
    image = jax.random.uniform(jax.random.key(2), (1, 24, 24, 3))
    text = score.text_features(score.params, ["a red chair"])
    gradient = jax.grad(lambda x: jnp.sum(score.image_features(score.params, x) * text))(image)
    assert np.isfinite(gradient).all() and (np.abs(gradient) > 0).mean() > 0.9


def test_errors(score, tmp_path):
    with pytest.raises(ValueError, match="is no CLIP folder"):
        load(tmp_path)
    save(score, tmp_path / "clip")
    write_json(tmp_path / "clip" / "config.json", {**score.config.to_json(), "projection_dim": 13})
    with pytest.raises(ValueError, match=r"model.safetensors: tensor \w+_projection.weight has shape \(12, 16\)"):
        load(tmp_path / "clip")
