"""Shap-E as a command: published files are found, told words or pictures, drawn from, and refused where wrong."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d import cli
from jax3d.data.procedural import CATEGORIES, COLORS, HELD_OUT, named
from jax3d.io.image import read_image, write_image
from jax3d.io.mesh import load_mesh
from jax3d.looks import looks
from jax3d.nn.point_e_config import PointEConfig
from jax3d.nn.shap_e_config import DecoderConfig, LatentConfig
from jax3d.prior import clip, openai
from jax3d.prior.openai_denoiser import Run
from jax3d.prior.shap_e_folder import load, transmitter
from jax3d.shap_e import ShapE, mesh_of, write_shap_e
from tests.priors import published_folders

DECODER = DecoderConfig(d_latent=4, d_hidden=8, n_coarse_samples=4, n_fine_samples=4)
INNER = PointEConfig(16, 1, 2, DECODER.rows, 4, 8, use_pos_emb=True)
NAMED = {
    "text_cond": LatentConfig(dataclasses.replace(INNER, vector_features=64)),
    "image_cond": LatentConfig(dataclasses.replace(INNER, grid_features=128)),
    "vector_decoder": DECODER,
}
QUICK = ShapE(clip="tiny-clip", text=Run(2), image=Run(2), resolution=12, texture=None)


def network(config, seed):
    """Parameters of about the size of trained ones; half of a field is inside."""
    random = np.random.default_rng(seed)
    params = jax.tree.map(lambda x: jnp.asarray(0.3 * random.normal(size=x.shape), jnp.float32), openai.shapes(config))
    if isinstance(config, DecoderConfig):
        latents, places = (jnp.asarray(random.uniform(-1, 1, shape)) for shape in ((1, config.rows, 4), (1, 500, 3)))
        said = openai.module(config).apply({"params": params}, latents, places)[0].distance
        bias = params["renderer"]["nerstf"]["mlp.6"]["bias"]
        params["renderer"]["nerstf"]["mlp.6"]["bias"] = bias.at[0].add(-jnp.arctanh(jnp.median(said)))
    return params


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with published_folders(tmp_path_factory, NAMED, network) as make:
        yield make


@pytest.fixture(scope="module")
def words(folder):
    """A model that is told words alone."""
    return dataclasses.replace(QUICK, model=str(folder("text_cond", "vector_decoder")))


def test_words_become_a_coloured_mesh_where_their_field_is_zero(words, tmp_path):
    write_shap_e(words, "a red chair", None, tmp_path, seed=1)
    mesh = load_mesh(tmp_path / "mesh.glb")
    assert len(mesh.faces) > 20 and np.abs(mesh.vertices).max() < 1.19 and mesh.colors.std() > 0
    assert read_image(tmp_path / "preview.png").ndim == 3 and (tmp_path / "turntable.mp4").stat().st_size > 0


def test_a_picture_is_told_to_the_network_of_pictures_or_as_a_vector_to_that_of_words(words, folder, tmp_path):
    write_image(np.full((64, 64, 3), 0.5, np.float32), tmp_path / "seen.png")
    both = dataclasses.replace(words, model=str(folder("text_cond", "image_cond", "vector_decoder")))
    assert load(both.model, "image", "tiny-clip").denoiser.config == NAMED["image_cond"]
    assert load(words.model, "image", "tiny-clip").denoiser.config == NAMED["text_cond"]
    for config in (words, both):
        write_shap_e(config, None, tmp_path / "seen.png", tmp_path / Path(config.model).name, export="nerf")


def test_a_stretched_surface_is_nearer_to_the_centre(words):
    config, params = load(words.model, "text", "tiny-clip").decoder
    latents = np.random.default_rng(0).uniform(-1, 1, (config.rows, 4)).astype(np.float32)
    plain, stretched = (mesh_of(config, params, latents, resolution=12, stretched=s) for s in (False, True))
    np.testing.assert_allclose(stretched.vertices, plain.vertices * 11 / 13, atol=1e-5)
    np.testing.assert_array_equal(stretched.faces, plain.faces)


@pytest.mark.parametrize(
    ("names", "fields", "asked", "sentence"),
    [
        ((), {}, {}, "holds no text or text_cond .*train.py shap_e_encoder.*--model"),
        (("text_cond",), {}, {}, "holds no vector_decoder or transmitter"),
        ((), {}, {"prompt": "a", "image": Path("b.png")}, "Shap-E is told a prompt or a picture"),
        ((), {}, {"image": Path("no.png")}, "no.png is not there"),
        ((), {}, {"export": "point_cloud"}, "a mesh or a nerf"),
        (("text_cond", "vector_decoder"), {"clip": "tiny-sd"}, {}, "is no CLIP folder"),
        ((), {"model": "tiny-shap-f"}, {}, "'tiny-shap-f' is no path here.*train one.*or give --model FOLDER"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_sentence(names, fields, asked, sentence, folder, tmp_path):
    asked = {"prompt": None, "image": None} | asked
    with pytest.raises(ValueError, match=sentence) as caught:
        write_shap_e(dataclasses.replace(QUICK, **{"model": str(folder(*names)), **fields}), out=tmp_path, **asked)
    assert "\n" not in str(caught.value)


def test_files_of_other_networks_and_code_are_refused(folder, tmp_path):
    (tmp_path / "transmitter.pt").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ValueError, match=r"transmitter\.pt"):
        transmitter(tmp_path)
    wrong = folder("text_cond", "vector_decoder")
    (wrong / "text_cond.safetensors").rename(wrong / "image_cond.safetensors")
    with pytest.raises(ValueError, match="image_cond.safetensors: .*give the file of the network that is meant"):
        load(wrong, "image")


def test_the_published_runs():
    config = cli.load_config("shap_e_published")[0]
    assert (config.text, config.image, config.stretched) == (Run(64, 15.0), Run(64, 3.0), True)


def test_the_bundled_model_makes_what_captions_say_that_no_training_had():
    asked = [("yellow", "mushroom"), ("red", "tree")]
    assert {(category, color) for color, category in asked} <= set(HELD_OUT)
    model, judge = load("tiny-shap-e", "text"), clip.load("tiny-clip")
    latents = model.latents([named(*pair) for pair in asked], None, jax.random.split(jax.random.key(0), 2), Run(12))
    solids = [mesh_of(*model.decoder, z, resolution=40) for z in np.asarray(latents)]
    pairs = [(color, category) for category in CATEGORIES for color in COLORS]
    texts = np.asarray(judge.text_features(judge.params, [named(*pair) for pair in pairs]))
    assert [pairs[row] for row in np.argmax(looks(judge, solids) @ texts.T, axis=1)] == asked
