"""Published files of Point-E and Shap-E: round trips, and one sentence for each file that is not as it should be."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.io.weights import read_weights, write_weights
from jax3d.nn.point_e_config import PointEConfig, PointSDFConfig
from jax3d.nn.shap_e_config import DecoderConfig, LatentConfig, TransmitterConfig
from jax3d.prior import openai

GRID = PointEConfig(16, 1, 2, 8, 3, 6, grid_features=4)
UPSAMPLE = dataclasses.replace(GRID, cond_ctx=4, channel_scales=(2.0, 2.0, 0.5), channel_biases=(0.0, 0.0, -1.0))
CONFIGS = {
    "uncond": dataclasses.replace(GRID, grid_features=0),
    "vector": dataclasses.replace(GRID, grid_features=0, vector_features=6),
    "grid": GRID,
    "upsample": UPSAMPLE,
    "sdf": PointSDFConfig(16, 1, 2, 1, 2),
    "latents": LatentConfig(PointEConfig(16, 1, 2, 8, 4, 8, vector_features=6, use_pos_emb=True)),
    "decoder": DecoderConfig(4, 2),
    "transmitter": TransmitterConfig(DecoderConfig(4, 2), 16, 2, 2, 3, (3, 1), 8, 4, pointconv_hidden=(4, 16)),
}


def draw(config):
    """Parameters of a config, none of which is trivial."""
    random = np.random.RandomState(0)
    return jax.tree.map(lambda x: jnp.asarray(random.standard_normal(x.shape), jnp.float32), openai.shapes(config))


@pytest.mark.parametrize("name", CONFIGS)
def test_folders_round_trip_to_the_bit(tmp_path, name):
    params = draw(CONFIGS[name])
    openai.save(tmp_path, CONFIGS[name], params)
    config, again = openai.load(tmp_path)
    assert config == CONFIGS[name]
    assert jax.tree.structure(again) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, again, params)
    assert set(read_weights(tmp_path / "model.safetensors")) == set(openai.state(config, params))


def test_a_state_dict_has_the_buffers_of_the_published_class():
    flat = openai.state(UPSAMPLE, draw(UPSAMPLE))
    np.testing.assert_array_equal(flat["channel_scales"], np.float32([2, 2, 0.5]))
    np.testing.assert_array_equal(flat["channel_biases"], np.float32([0, 0, -1]))
    assert flat["backbone.resblocks.0.attn.c_qkv.weight"].shape == (48, 16)


def test_files_are_known_by_their_published_names(tmp_path, monkeypatch):
    monkeypatch.setitem(openai.PUBLISHED, "base_40m", GRID)
    params = draw(GRID)
    write_weights(tmp_path / "base_40m.safetensors", openai.state(GRID, params), jnp.float16)
    config, half = openai.load(tmp_path / "base_40m.safetensors", dtype=jnp.bfloat16)
    assert config == GRID
    assert {x.dtype for x in jax.tree.leaves(half)} == {jnp.dtype(jnp.bfloat16)}


def test_files_of_another_network_are_refused(tmp_path):
    def refused(tensors, config, message, name="other"):
        write_weights(tmp_path / f"{name}.safetensors", tensors)
        with pytest.raises(ValueError, match=message) as caught:
            openai.load(tmp_path / f"{name}.safetensors", config)
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)

    grid, sdf = (openai.state(CONFIGS[name], draw(CONFIGS[name])) for name in ("grid", "sdf"))
    refused(grid, None, r"is not named as a published network is \(base_40m_uncond, .*\): pass its config")
    refused(grid, CONFIGS["uncond"], r"has no place for 4 of its tensors \(clip_embed.0.bias, .* and 1 more\)")
    refused(grid, UPSAMPLE, r"lack 2 of 30 tensors \(cond_point_proj.bias, cond_point_proj.weight\)")
    refused(grid, dataclasses.replace(GRID, width=32), r"tensor \S+ has shape \(\d+.*\), but the config wants")
    refused(sdf, None, r"has no place for", name="base_40m")
    wrong = openai.state(dataclasses.replace(UPSAMPLE, channel_scales=(1.0, 1.0, 1.0)), draw(UPSAMPLE))
    refused(wrong, UPSAMPLE, r"channel_scales is \[1.0, 1.0, 1.0\], but the config says \[2.0, 2.0, 0.5\]")


def test_files_that_are_no_weights_are_refused(tmp_path):
    (tmp_path / "sdf.pt").write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    with pytest.raises(ValueError, match="is not a readable PyTorch file"):
        openai.load(tmp_path / "sdf.pt")
    assert not (tmp_path / "ran").exists()
    (tmp_path / "sdf.safetensors").write_bytes(b"12345")
    with pytest.raises(ValueError, match="is cut off"):
        openai.load(tmp_path / "sdf.safetensors")
    with pytest.raises(ValueError, match="does not exist"):
        openai.load(tmp_path / "base_300m.pt")


def test_the_published_transmitter_has_its_number_of_parameters():
    assert sum(x.size for x in jax.tree.leaves(openai.shapes(openai.PUBLISHED["transmitter"]))) == 443_991_776
