"""Published names and configs: full-size key lists, round trips, refusals."""

import gzip
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.nn.clip import CLIPConfig, CLIPText, CLIPTextConfig, CLIPVision, CLIPVisionConfig
from jax3d.nn.names import from_published, published_names
from jax3d.nn.unet import UNet, UNetConfig
from jax3d.nn.vae import VAE, VAEConfig

H14 = dict(hidden_act="gelu", intermediate_size=5120, hidden_size=1280, num_hidden_layers=32, num_attention_heads=16)
L14 = dict(intermediate_size=4096, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, projection_dim=768)
SD21 = dict(attention_head_dim=(5, 10, 20, 20), cross_attention_dim=1024, use_linear_projection=True)
MVDREAM = dict(SD21, class_embed_type="projection", projection_class_embeddings_input_dim=16)
FULL_VAE = dict(
    block_out_channels=(128, 256, 512, 512),
    layers_per_block=2,
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
)
TEXT = dict(max_position_embeddings=77)
FULL = {
    "unet_sd15": UNet(UNetConfig(cross_attention_dim=768)),
    "unet_sd21": UNet(UNetConfig(**SD21)),
    "unet_zero123": UNet(UNetConfig(in_channels=8, cross_attention_dim=768)),
    "unet_mvdream": UNet(UNetConfig(**MVDREAM)),
    "vae": VAE(VAEConfig(**FULL_VAE)),
    "clip_text_sd15": CLIPText(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12)),
    "clip_text_sd21": CLIPText(
        CLIPTextConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16)
    ),
    "clip_vision_L14": CLIPVision(CLIPVisionConfig(patch_size=14, with_projection=True, **L14)),
    "clip_vision_H14": CLIPVision(CLIPVisionConfig(patch_size=14, projection_dim=1024, with_projection=True, **H14)),
}


def example(model):
    """Inputs of the least size."""
    if isinstance(model, UNet):
        c = model.config
        labels = jnp.zeros((1, 16)) if c.class_embed_type else None
        return jnp.zeros((1, 8, 8, c.in_channels)), jnp.zeros(1), jnp.zeros((1, 1, c.cross_attention_dim)), labels
    if isinstance(model, VAE):
        return (jnp.zeros((1, 8, 8, 3)),)
    return (jnp.zeros((1, 77), int) if isinstance(model, CLIPText) else jnp.zeros((1, 224, 224, 3)),)


@pytest.mark.parametrize("name", FULL)
def test_full_size_names_and_shapes_are_the_published_ones(golden, kit, name):
    like = kit.shapes(FULL[name], *example(FULL[name]))
    got = {k: list(v.shape) for k, v in jax.eval_shape(published_names, like).items()}
    with gzip.open(golden / "keys" / f"{name}.json.gz") as file:
        wanted = json.load(file)
    assert got == wanted["tensors"]
    assert sum(np.prod(s, dtype=int) for s in got.values()) == wanted["params"]


@pytest.fixture(scope="module")
def params(tiny, kit):
    vae = VAE(VAEConfig.from_json(tiny.config.VAE))
    return tiny.weights(kit.shapes(vae, tiny.x["image"]), seed=2)


def test_names_round_trip_to_the_bit(params):
    flat = {k: np.asarray(v) for k, v in published_names(params).items()}
    again = from_published(flat, params)
    assert jax.tree.structure(again) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, again, params)
    assert flat["encoder.conv_in.weight"].shape == (8, 3, 3, 3)
    kernel = params["encoder"]["conv_in"]["kernel"]
    assert flat["encoder.conv_in.weight"][5, 2, 0, 1] == kernel[0, 1, 2, 5]


def test_reading_takes_the_dtype_asked_for(params):
    flat = {k: np.asarray(v, np.float16) for k, v in published_names(params).items()}
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16), params)
    assert {x.dtype for x in jax.tree.leaves(from_published(flat, like))} == {jnp.dtype(jnp.bfloat16)}


def test_missing_and_misshapen_tensors_are_named(params):
    flat = {k: np.asarray(v) for k, v in published_names(params).items()}
    name = "decoder.conv_in.weight"
    with pytest.raises(ValueError, match=rf"lack 1 of \d+ tensors \({name}\)"):
        from_published({k: v for k, v in flat.items() if k != name}, params)
    with pytest.raises(ValueError, match=rf"tensor {name} has shape \(3, 2\), but the config wants \(16, 4, 3, 3\)"):
        from_published(flat | {name: np.zeros((3, 2), np.float32)}, params)


@pytest.mark.parametrize("folder", ["unet_sd15", "unet_sd21", "unet_zero123", "unet_mvdream", "vae"])
def test_published_configs_round_trip(golden, folder):
    data = json.loads((golden / folder / "config.json").read_text())
    cls = VAEConfig if folder == "vae" else UNetConfig
    config = cls.from_json(data)
    assert config.to_json() == data
    assert hash(cls.from_json(config.to_json())) == hash(config)


@pytest.mark.parametrize("folder", ["clip_text_sd15", "clip_vision_gelu"])
def test_tower_configs_round_trip(golden, folder):
    data = json.loads((golden / folder / "config.json").read_text())
    config = (CLIPTextConfig if "text" in folder else CLIPVisionConfig).from_json(data)
    assert config.to_json().items() >= {k: v for k, v in data.items() if not k.endswith(("version", "dtype"))}.items()


def test_clip_config_round_trips(tiny):
    data = {"text_config": tiny.config.TEXT, "vision_config": tiny.config.VISION, "projection_dim": 6}
    config = CLIPConfig.from_json(data)
    assert CLIPConfig.from_json(config.to_json()) == config
    assert CLIPTextConfig.from_json(config.to_json()) == config.text_config


@pytest.mark.parametrize(
    "cls, data, message",
    [
        (UNetConfig, {"down_block_types": ["AttnDownBlock2D"] * 4}, "down_block_types is 'AttnDownBlock2D'"),
        (UNetConfig, {"act_fn": "gelu"}, "UNetConfig.act_fn is 'gelu', but only 'silu' is supported"),
        (UNetConfig, {"addition_embed_type": "text_time"}, "addition_embed_type is 'text_time'"),
        (UNetConfig, {"attention_head_dim": [5, 10]}, r"attention_head_dim \(count\) is 2, but only 4"),
        (UNetConfig, {"attention_head_dim": 7}, "is 7, which must divide the block's 320 channels"),
        (UNetConfig, {"class_embed_type": "timestep"}, "only None or 'projection'"),
        (UNetConfig, {"class_embed_type": "projection"}, "needs projection_class_embeddings_input_dim"),
        (UNetConfig, {"cross_attention_dim": [1, 2, 3, 4]}, "only one int"),
        (UNetConfig, {"mid_block_type": None}, "mid_block_type is None"),
        (VAEConfig, {"down_block_types": ["Conv"]}, "down_block_types is 'Conv'"),
        (VAEConfig, {"norm_num_groups": 48}, "norm_num_groups is 48"),
        (CLIPTextConfig, {"hidden_act": "relu"}, "'relu', but only 'quick_gelu' or 'gelu'"),
        (CLIPVisionConfig, {"num_attention_heads": 7}, "must divide hidden_size 768"),
        (CLIPVisionConfig, {"patch_size": 9}, "no multiple of patch_size 9"),
    ],
)
def test_what_is_not_supported_is_refused(cls, data, message):
    with pytest.raises(ValueError, match=message):
        cls.from_json(data)


def test_keys_of_no_consequence_are_passed_over():
    assert UNetConfig.from_json({"_name_or_path": "x", "some_new_field": 3}) == UNetConfig()


@pytest.mark.parametrize("mode", ["r", "c"])
def test_a_mapped_file_is_filled_in_and_can_be_read_again(tmp_path, mode):
    """Pages are given back after each tensor; what was changed in memory alone ("c") must stay."""
    stored = np.arange(2**16, dtype=np.float32)
    stored.tofile(tmp_path / "weights")
    mapped = np.memmap(tmp_path / "weights", np.float32, mode)
    if mode == "c":
        stored[:9] = mapped[:9] = -1
    flat = {"a.weight": np.asarray(mapped[: 2**15]).reshape(256, 128), "a.bias": np.asarray(mapped[2**15 :])}
    like = {"a": {"bias": jax.ShapeDtypeStruct((2**15,), jnp.float32)}}
    like["a"]["kernel"] = jax.ShapeDtypeStruct((128, 256), jnp.float32)
    params = from_published(flat, like)["a"]
    np.testing.assert_array_equal(params["kernel"].T.ravel(), stored[: 2**15])
    np.testing.assert_array_equal(params["bias"], stored[2**15 :])
    np.testing.assert_array_equal(mapped, stored)
