"""The prior as a whole: parity of the SDS gradient, round trips through every layout, and what broken folders get."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jax3d.diffusion.denoiser import guide_batched
from jax3d.diffusion.distill import dreamfusion_weight, sds
from jax3d.diffusion.published import from_scheduler_config
from jax3d.io.weights import read_json, read_weights, write_json, write_weights
from jax3d.nn.clip import CLIPTextConfig
from jax3d.nn.unet import UNetConfig
from jax3d.nn.vae import VAEConfig
from jax3d.prior import convert
from jax3d.prior.folder import read_network, text_form, unet_form, vae_form
from jax3d.prior.stable_diffusion import StableDiffusion, load, save
from jax3d.prior.text_to_image import sample_images, sample_latents


def channels_last(x):
    return jnp.asarray(x).transpose(0, 2, 3, 1)


def worst(got, want):
    return float(np.abs(np.asarray(got) - np.asarray(want)).max() / np.abs(np.asarray(want)).max())


@pytest.fixture(scope="module")
def golden(shared):
    return shared / "golden" / "stable_diffusion"


@pytest.fixture(scope="module")
def folder(make_prior, tmp_path_factory):
    """A saved pipeline; tests copy it before they break it."""
    path = tmp_path_factory.mktemp("pipeline") / "model"
    save(make_prior(), path)
    return path


@pytest.mark.parametrize("prediction, name", [("epsilon", "unet_sd15"), ("v_prediction", "unet_sd21")])
def test_sds_gradient_of_the_image_is_pytorchs(golden, make_prior, prediction, name):
    """threestudio's rule (w = 1 - abar, batch order text, empty) from pixels to pixels, through VAE and UNet."""
    unet, unet_params = read_network(UNetConfig, unet_form, golden / name, "diffusion_pytorch_model", dict, jnp.float32)
    vae, vae_params = read_network(
        VAEConfig, vae_form, golden / "vae_old_names", "diffusion_pytorch_model", convert.published_vae, jnp.float32
    )
    scheduler = make_prior(prediction_type=prediction).scheduler
    published = from_scheduler_config(scheduler)
    params = {"unet": unet_params, "vae": vae_params}
    prior = StableDiffusion(unet, vae, CLIPTextConfig(), None, scheduler, published, params)
    io = np.load(golden / "sds" / "io.npz")
    eps, noise = channels_last(io["eps_vae"]), channels_last(io["noise"])
    sigma = prior.schedule.sigma(jnp.asarray(io["t"], jnp.float32))

    @jax.jit
    def loss(image, params):
        mean, std = prior.gaussian(params, image)
        latents = mean + std * eps
        denoise = guide_batched(prior.denoiser(params, jnp.asarray(io[f"{prediction}_cond"])), io["guidance_scale"])
        value, _ = sds(denoise, latents, sigma, noise, dreamfusion_weight(sigma))
        return value * len(image), latents

    (_, latents), gradient = jax.value_and_grad(loss, has_aux=True)(channels_last(io["image01"]), params)
    assert worst(latents, channels_last(io[f"{prediction}_latents"])) < 5e-6
    assert worst(gradient, channels_last(io[f"{prediction}_grad_image"])) < 1e-5


def test_old_and_new_spellings_are_the_same_model(golden):
    def read(name, cls, form, stem, names):
        return read_network(cls, form, golden / name, stem, names, jnp.float32)

    stem, vae = "diffusion_pytorch_model", (VAEConfig, vae_form, "diffusion_pytorch_model", convert.published_vae)
    (c1, new), (c2, old) = read("vae", *vae), read("vae_old_names", *vae)
    assert c1 == c2 and all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), new, old)))
    config, params = read("clip_text_sd21", CLIPTextConfig, text_form, "model", convert.published_text)
    tensors = read_weights(golden / "clip_text_sd21" / "model_v5.safetensors")
    assert len(jax.tree.leaves(params)) == len(convert.published_text(tensors)) == len(tensors)
    assert stem and config.num_hidden_layers == 3


def test_encode_and_decode(make_prior):
    prior = make_prior()
    image = jax.random.uniform(jax.random.key(0), (1, 16, 16, 3))
    encode, decode = jax.jit(prior.encode), jax.jit(prior.decode)
    mean, std = jax.jit(prior.gaussian)(prior.params, image)
    mode = encode(prior.params, image)
    assert mode.shape == (1, *prior.latent_shape) and prior.resolution == 16
    np.testing.assert_array_equal(mode, mean)
    keys = jax.random.split(jax.random.key(1), 400)
    drawn = np.concatenate([encode(prior.params, image, key) for key in keys])
    assert np.abs((drawn - mean).mean(0) / std).max() < 5 / 400**0.5  # five standard errors
    assert np.abs(drawn.std(0) / std - 1).max() < 5 / 800**0.5
    picture = decode(prior.params, mode)
    assert picture.shape == image.shape and picture.min() >= 0 and picture.max() <= 1
    with pytest.raises(ValueError, match=r"15 x 16, but its edges must be multiples of 2"):
        prior.encode(prior.params, image[:, :15])


def test_one_context_serves_all_examples(make_prior):
    prior = make_prior()
    text = prior.embed(["a red chair"])
    assert text.shape == (1, 8, 8)
    x, sigma = jax.random.normal(jax.random.key(0), (2, *prior.latent_shape)), jnp.array([0.3, 5.0])
    run = jax.jit(lambda params, context: prior.denoiser(params, context)(x, sigma))
    one, each = run(prior.params, text), run(prior.params, jnp.repeat(text, 2, 0))
    np.testing.assert_allclose(one, each, atol=1e-6)
    other = run(prior.params, prior.embed(["a green lamp"]))
    assert np.abs(one - other).max() > 1e-4  # the text matters


def test_samples_follow_the_scheduler_file(make_prior):
    """Each picture has its own numbers, and guidance 1 leaves the empty prompt out."""
    prior = make_prior()
    both = sample_images(prior, prior.params, ["a red chair", "a table"], jax.random.key(0), 2)
    again = sample_images(prior, prior.params, ["a red chair", "a lamp"], jax.random.key(0), 2)
    assert both.shape == (2, 16, 16, 3)
    np.testing.assert_allclose(both[0], again[0], atol=1e-6)
    assert np.abs(both[1] - again[1]).max() > 1e-5
    text, latents = prior.embed(["a red chair", "a lamp"]), jnp.ones((1, *prior.latent_shape))
    runs = [
        sample_latents(prior, prior.params, text[:1], prior.embed([p]), latents, steps=2, scale=1.0)
        for p in ("", "a table")
    ]
    np.testing.assert_allclose(*runs, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_saved_and_loaded_is_the_same_prior(make_prior, tmp_path, dtype):
    prior = make_prior(prediction_type="v_prediction")
    save(prior, tmp_path / "model", dtype)
    back = load(tmp_path / "model")
    for field in ("unet", "vae", "text", "scheduler"):
        assert getattr(back, field) == getattr(prior, field)
    assert back.published.border is prior.published.border
    rounded = jax.tree.map(lambda leaf: np.asarray(leaf).astype(dtype).astype(np.float32), prior.params)
    for a, b in zip(jax.tree.leaves(back.params), jax.tree.leaves(rounded), strict=True):
        np.testing.assert_array_equal(a, b)
    ids = [p.tokenizer(["a red chair and more"])["input_ids"] for p in (prior, back)]
    assert ids[0] == ids[1]


def test_weights_are_loaded_in_the_wanted_dtype(folder):
    assert {leaf.dtype.name for leaf in jax.tree.leaves(load(folder, jnp.bfloat16).params)} == {"bfloat16"}


def test_saving_what_was_loaded_gives_the_same_bytes(folder, tmp_path):
    save(load(folder), tmp_path / "again")
    files = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file())
    for file in files:
        assert (folder / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file


@pytest.mark.parametrize("variant", ["fp16", "sharded", "old spellings", "extra tensors"])
def test_published_variants_load(make_prior, folder, tmp_path, variant):
    path = shutil.copytree(folder, tmp_path / "model")
    unet, vae, text = (path / p for p in ("unet", "vae", "text_encoder"))
    stem = "diffusion_pytorch_model"
    if variant == "fp16":
        write_weights(unet / f"{stem}.fp16.safetensors", read_weights(unet / f"{stem}.safetensors"), np.float16)
        (unet / f"{stem}.safetensors").unlink()
    elif variant == "sharded":
        tensors = read_weights(unet / f"{stem}.safetensors")
        places = {name: f"part-{i % 3}.safetensors" for i, name in enumerate(tensors)}
        for place in set(places.values()):
            write_weights(unet / place, {n: t for n, t in tensors.items() if places[n] == place})
        write_json(unet / f"{stem}.safetensors.index.json", {"weight_map": places})
        (unet / f"{stem}.safetensors").unlink()
    elif variant == "old spellings":
        old = {new: old for old, new in convert.OLD_ATTENTION.items()}
        tensors = read_weights(vae / f"{stem}.safetensors")
        for new, name in old.items():
            tensors = {k.replace(f"attentions.0.{new}.", f"attentions.0.{name}."): v for k, v in tensors.items()}
        assert "encoder.mid_block.attentions.0.proj_attn.weight" in tensors
        write_weights(vae / f"{stem}.safetensors", tensors)
        flat = {k.removeprefix("text_model."): v for k, v in read_weights(text / "model.safetensors").items()}
        write_weights(text / "model.safetensors", flat)
    else:
        tensors = dict(read_weights(text / "model.safetensors"))
        write_weights(text / "model.safetensors", tensors | {"text_model.embeddings.position_ids": np.arange(8)[None]})
    tolerance = 1e-3 if variant == "fp16" else 0
    for a, b in zip(jax.tree.leaves(load(path).params), jax.tree.leaves(make_prior().params), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def broken(folder, tmp_path, damage) -> str:
    path = shutil.copytree(folder, tmp_path / "model")
    damage(path)
    with pytest.raises(ValueError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


def edit_json(name, **fields):
    return lambda path: write_json(path / name, read_json(path / name) | fields)


def edit_tensors(name, change):
    def damage(path):
        tensors = dict(read_weights(path / name))
        change(tensors)
        write_weights(path / name, {k: np.array(v) for k, v in tensors.items()})

    return damage


UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda p: (p / "model_index.json").unlink(), ["no Stable Diffusion pipeline", "model_index.json"]),
        (lambda p: shutil.rmtree(p / "vae"), ["no Stable Diffusion pipeline", "vae"]),
        (lambda p: (p / UNET).unlink(), ["unet", "diffusion_pytorch_model.safetensors"]),
        (lambda p: (p / UNET).write_bytes((p / UNET).read_bytes()[:-100]), [UNET, "cut off", "tensor"]),
        (lambda p: (p / UNET).write_bytes(b""), [UNET, "cut off"]),
        (edit_tensors(UNET, lambda t: t.pop("conv_in.bias")), [UNET, "conv_in.bias"]),
        (
            edit_tensors(UNET, lambda t: t.update({"conv_in.bias": np.zeros(9, np.float32)})),
            [UNET, "conv_in.bias", "9"],
        ),
        (edit_json("unet/config.json", act_fn="relu"), ["unet/config.json", "act_fn", "relu"]),
        (edit_json("unet/config.json", block_out_channels=[8, "x"]), ["unet/config.json"]),
        (edit_json("unet/config.json", cross_attention_dim=16), ["unet"]),
        (lambda p: (p / "vae" / "config.json").write_text("{"), ["vae/config.json", "JSON"]),
        (edit_json("scheduler/scheduler_config.json", prediction_type="flow"), ["prediction_type", "flow", "epsilon"]),
        (edit_json("scheduler/scheduler_config.json", _class_name="Magic"), ["Magic", "DDIMScheduler"]),
        (edit_json("scheduler/scheduler_config.json", beta_schedule="x"), ["beta_schedule", "scaled_linear"]),
        (lambda p: (p / "tokenizer" / "merges.txt").unlink(), ["merges.txt"]),
    ],
)
def test_broken_folders_are_named(folder, tmp_path, damage, words):
    message = broken(folder, tmp_path, damage)
    assert all(word in message for word in words), message


def test_what_is_no_pipeline(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no Stable Diffusion pipeline: it has no model_index.json"):
        load(tmp_path / "empty")
    write_weights(tmp_path / "other.safetensors", {"w": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match="no Stable Diffusion file"):
        load(tmp_path / "other.safetensors")


def test_parts_of_different_models_are_refused(make_prior, tmp_path):
    prior = make_prior()
    wide = dataclasses.replace(prior, text=dataclasses.replace(prior.text, vocab_size=100))
    save(wide, tmp_path / "model")  # the weights still have all the rows: the loader sees the config first
    with pytest.raises(ValueError, match="token_embedding"):
        load(tmp_path / "model")


def test_index_names_what_diffusers_wants(folder):
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionPipeline" and index["safety_checker"] == [None, None]
    for part in ("unet", "vae"):
        assert (folder / part / "diffusion_pytorch_model.safetensors").is_file()
        assert read_json(folder / part / "config.json")["_class_name"] == index[part][1]
    assert read_json(folder / "text_encoder" / "config.json")["architectures"] == [index["text_encoder"][1]]
