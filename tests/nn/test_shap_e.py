"""Shap-E's networks against the published PyTorch code, their published names and configs, and what they mean."""

import dataclasses
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from jax3d.math import linalg
from jax3d.math.pan import at_borders, seen_places
from jax3d.nn import shap_e_config as configs
from jax3d.nn.names import from_published, published_names
from jax3d.nn.point_e import Told, nothing
from jax3d.nn.shap_e import Decoder, LatentTransformer
from jax3d.nn.shap_e_config import DecoderConfig, LatentConfig, TransmitterConfig
from jax3d.nn.shap_e_encoder import Encoder, draw_shuffles, neighbours, shuffle_shapes
from jax3d.prior import openai
from tests.golden import openai_shap_e as golden

X = {k: jnp.asarray(v) for k, v in golden.inputs().items()}


@pytest.fixture(scope="module")
def outputs():
    """Of the published code."""
    return dict(np.load(golden.FILE))


def drawn(like, seed):
    """The weights that both sides draw."""
    wanted = {k: v.shape for k, v in jax.eval_shape(published_names, like).items()}
    return from_published(golden.random_weights(wanted, seed), like)


@pytest.fixture(scope="module")
def transmitter():
    """config and weights of the tiny transmitter."""
    config = TransmitterConfig.from_json(golden.TRANSMITTER)
    return config, drawn(openai.shapes(config), 1)


def test_a_tiny_latent_transformer_equals_the_published_code(outputs, kit):
    given, data = X, golden.TEXT
    inner = dataclasses.replace(LatentConfig.from_json(data).inner, vector_features=golden.FEATURES)
    module, told = LatentTransformer(LatentConfig(inner)), Told(vector=given["vector"])
    params = drawn(kit.shapes(module, given["x"], given["t"], told), 0)
    y = kit.compiled(lambda p, *args: module.apply({"params": p}, *args), params, given["x"], given["t"], told)
    assert kit.error(y, outputs["text"]) < 5e-6


def test_a_tiny_field_equals_the_published_code(outputs, transmitter, kit):
    config, params = transmitter
    module = Decoder(config.decoder)
    params = {"params": openai.decoder_of(params)}
    got, background = kit.compiled(lambda p, *args: module.apply(p, *args), params, X["latents"], X["places"])
    np.testing.assert_array_equal(background, params["params"]["renderer"]["void"]["background"])
    for name, density, color in (
        ("stf", "density", "color"),
        ("coarse", "density_coarse", "color_coarse"),
        ("fine", "density", "color_fine"),
    ):
        assert kit.error(got.distance[..., None], outputs[f"{name}_signed_distance"]) < 2e-5
        assert kit.error(getattr(got, density)[..., None], outputs[f"{name}_density"]) < 2e-5
        assert kit.error(getattr(got, color), outputs[f"{name}_channels"]) < 2e-5


def test_a_tiny_encoder_equals_the_published_code(outputs, transmitter, kit):
    (config, params), z = transmitter, X
    module, places = Encoder(config), jnp.asarray(outputs["pixel_places"])
    origins, *axes = jnp.moveaxis(z["frames"], 1, 0)
    camera = at_borders(linalg.pose(jnp.stack(axes, -1), origins)[None], 8)
    chex.assert_trees_all_close(seen_places(camera, z["depths"]), places, atol=2e-6)
    shuffles = z["shuffle_0"], z["shuffle_1"]
    assert tuple(x.shape for x in shuffles) == shuffle_shapes(config, 1)
    args = z["points"], z["pictures"], camera.position, places, z["alphas"] >= 0.999, shuffles
    got = kit.compiled(lambda p, *args: module.apply({"params": p}, *args), openai.encoder_of(params), *args)
    assert kit.error(got, outputs["latents"]) < 1e-5


@pytest.fixture(scope="module")
def stored(shared):
    """name -> (published config, arrays, weights) of a tiny case."""
    folder = shared / "golden" / "native" / "shap_e_tiny"
    manifest = json.loads((folder / "manifest.json").read_text())

    def case(name, weights=None):
        arrays = {k: jnp.asarray(v) for k, v in np.load(folder / f"{name}.npz").items()}
        return manifest[weights or name].get("config"), arrays, load_file(folder / f"{weights or name}.safetensors")

    return case


def latents(config, x):
    return x.reshape(len(x), config.n_ctx, -1)


def example(config):
    inner = config.inner
    return jnp.zeros((1, inner.n_ctx, inner.input_channels)), jnp.zeros(1), nothing(inner, 1, 1)


@pytest.mark.parametrize("name", ["text300M", "image300M"])
def test_latent_transformers_equal_the_published_code(stored, kit, name):
    data, z, weights = stored(name)
    config = LatentConfig.from_json(data)
    module, x, t, told = (
        LatentTransformer(config),
        latents(config.inner, z["in_x"]),
        z["in_t"],
        nothing(config.inner, 2),
    )
    told = Told(vector=z["in_embeddings"]) if "text" in name else Told(grid=jnp.moveaxis(z["in_embeddings"], 1, -1))
    params = from_published(weights, kit.shapes(module, x, t, told))
    assert weights.keys() == published_names(params).keys()
    run = jax.jit(lambda params, told: module.apply({"params": params}, x, t, told))
    published = lambda y: jnp.concatenate([part.reshape(2, -1) for part in jnp.split(y, 2, -1)], -1)  # noqa: E731
    assert kit.error(published(run(params, told)), z["out_y"]) < 5e-6
    zeros = jax.tree.map(jnp.zeros_like, told)
    assert kit.error(published(run(params, zeros)), z["out_y_zero_cond"]) < 5e-6


def test_the_decoder_equals_the_published_code(stored, kit):
    data, z, weights = stored("decoder")
    config = DecoderConfig.from_json(data)
    module, x = Decoder(config), z["in_latent"].reshape(1, config.rows, -1)
    params = from_published(weights, kit.shapes(module, x, z["in_position"]))
    assert weights.keys() == published_names(params).keys()
    run = lambda method: jax.jit(lambda *args: module.apply({"params": params}, *args, method=method))  # noqa: E731
    matrices = run("matrices")(x)
    for i, matrix in enumerate(matrices):
        assert kit.error(matrix, z[f"out_param:nerstf.mlp.{i}.weight"]) < 5e-6
    blind = run("read")(matrices, z["in_position"])
    seen = run("read")(matrices, z["in_position"], z["in_direction"])
    for name, got, density, color in (
        ("stf", blind, "density", "color"),
        ("nerf_coarse", blind, "density_coarse", "color_coarse"),
        ("nerf_fine", blind, "density", "color_fine"),
        ("nerf_fine_dir", seen, "density", "color_fine"),
    ):
        assert kit.error(got.distance[..., None], z[f"out_{name}:signed_distance"]) < 2e-5
        assert kit.error(getattr(got, density)[..., None], z[f"out_{name}:density"]) < 2e-5
        assert kit.error(getattr(got, color), z[f"out_{name}:channels"]) < 2e-5


def test_the_encoder_equals_the_published_code_with_its_shuffling(stored, outputs, kit):
    """The places that its pixels see are given as published: octaves up to 2^14 make one rounding of them 1e-4."""
    data, z, weights = stored("encoder")
    config = TransmitterConfig.from_json(data)
    module, last = Encoder(config), lambda x: jnp.moveaxis(x, 2, -1)
    origins, *axes = jnp.moveaxis(z["in_cameras_origin_x_y_z"], 1, 0)
    camera = at_borders(linalg.pose(jnp.stack(axes, -1), origins)[None], 32)
    places = jnp.asarray(outputs["stored_places"])
    chex.assert_trees_all_close(seen_places(camera, z["in_depths"][:, :, 0]), places, atol=2e-6)
    mask = z["in_view_alphas"][:, :, 0] >= 0.999
    shuffles = tuple(jnp.moveaxis(z[f"in_draw_{i:03d}_rand"][..., 0], 1, -1) for i in range(2))
    args = jnp.moveaxis(z["in_points"], 1, -1), last(z["in_views"]), camera.position, places, mask, shuffles
    like = kit.shapes(module, *args)
    own = {k.removeprefix("encoder."): v for k, v in weights.items() if k.startswith("encoder.")}
    params = from_published(own, like)
    assert {k for k in own if not k.startswith("params_proj.")} == published_names(params).keys()
    got = jax.jit(lambda params: module.apply({"params": params}, *args))(params)
    assert kit.error(got.reshape(1, -1), z["out_bottleneck"]) < 1e-5


FULL = {
    "text300M": (LatentTransformer(configs.TEXT300M), example(configs.TEXT300M)),
    "image300M": (LatentTransformer(configs.IMAGE300M), example(configs.IMAGE300M)),
    "decoder": (Decoder(configs.DECODER), (jnp.zeros((1, 1024, 1024)), jnp.zeros((1, 1, 3)))),
}


@pytest.mark.parametrize("name", FULL)
def test_full_size_names_and_shapes_are_the_published_ones(shared, kit, name):
    wanted = json.loads((shared / "golden" / "native" / "keys" / f"{name}.json").read_text())
    module, args = FULL[name]
    got = {k: list(v.shape) for k, v in jax.eval_shape(published_names, kit.shapes(module, *args)).items()}
    assert got == wanted["keys"]
    assert sum(np.prod(s, dtype=int) for s in got.values()) == wanted["n_params"]
    assert type(module.config).from_json(wanted["config"]) == module.config
    assert module.config.to_json() == wanted["config"]


def test_neighbours_are_the_first_within_the_radius():
    positions = jax.random.uniform(jax.random.key(0), (30, 3))
    near = np.asarray(neighbours(positions, positions[:7], 0.5, 6))
    distance = np.linalg.norm(positions[:7, None] - positions, axis=-1)
    for i, row in enumerate(near):
        within = np.flatnonzero(distance[i] <= 0.5)[:6]
        np.testing.assert_array_equal(row, np.append(within, np.repeat(within[0], 6 - len(within))))


def test_the_numbers_for_shuffling_fit(transmitter):
    shuffles = draw_shuffles(jax.random.key(0), transmitter[0], 2)
    assert tuple(x.shape for x in shuffles) == shuffle_shapes(transmitter[0], 2)
    assert all(float(x.min()) >= 0 and float(x.max()) < 1 for x in shuffles)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: DecoderConfig(insert_direction_at=2), "of the 4 first layers from latents, and the direction enters"),
        (lambda: DecoderConfig.from_json({"name": "VectorDecoder"}), "DecoderConfig.name is 'VectorDecoder'"),
        (lambda: LatentConfig.from_json({"name": "Perceiver"}), "LatentConfig.name is 'Perceiver'"),
        (lambda: TransmitterConfig.from_json({"name": "ChannelsDecoder"}), "TransmitterConfig.name is 'Channels"),
    ],
)
def test_configs_that_are_not_built_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_encoder_refuses_few_points_and_parts_of_patches(transmitter):
    (config, _), z = transmitter, X
    mask, places = z["alphas"] >= 0.999, jnp.zeros((1, 2, 8, 8, 3))
    args = z["pictures"], jnp.zeros((1, 2, 3)), places, mask
    with pytest.raises(ValueError, match="gathers around 4 points, but 3 are given"):
        jax.eval_shape(Encoder(config).init, jax.random.key(0), z["points"][:, :3], *args)
    odd = dataclasses.replace(config, patch_size=3)
    with pytest.raises(ValueError, match=r"patches of 3 pixels, but they have \(8, 8\)"):
        jax.eval_shape(Encoder(odd).init, jax.random.key(0), z["points"], *args)
