"""Shap-E's parts from training to files: written, begun again from, drawn from together, and meshes encoded."""

import dataclasses

import jax
import numpy as np
import pytest
import trimesh

import sample
from jax3d import encode, shap_e
from jax3d.data.captioned import Shapes
from jax3d.io.mesh import load_mesh
from jax3d.io.weights import read_json, read_weights
from jax3d.methods.denoising import Denoising
from jax3d.methods.shap_e import Autoencoding
from jax3d.nn.point_e_config import PointEConfig
from jax3d.nn.shap_e_config import DecoderConfig, LatentConfig, TransmitterConfig
from jax3d.prior.openai import decoder_of
from jax3d.prior.openai_denoiser import Run
from jax3d.prior.shap_e_folder import load, transmitter
from jax3d.shap_e import ShapE, write_shap_e
from jax3d.shap_e_training import ShapEPart, latents, shown
from jax3d.train.loop import TrainConfig, train

DECODER = DecoderConfig(d_latent=4, d_hidden=8, n_coarse_samples=4, n_fine_samples=4, grid_size=8)
NETWORK = TransmitterConfig(
    **{"decoder": DECODER, "width": 16, "layers": 2, "heads": 2, "data_ctx": 4, "inner_batch_size": (12, 1)},
    **{"image_size": 8, "patch_size": 4, "pointconv_hidden": (8, 16), "pointconv_samples": 8},
    **{"pointconv_patch_size": 4, "pointconv_stride": 2},
)
INNER = PointEConfig(16, 1, 2, DECODER.rows, 4, 8, use_pos_emb=True)
LATENTS = {"mean_type": "v", "schedule": "exp", "batch_size": 4}
METHODS = {
    "transmitter": Autoencoding(NETWORK, surface=1.0, rays=4, places=8, cells=4, batch_size=2),
    "text": Denoising(LatentConfig(dataclasses.replace(INNER, vector_features=64)), **LATENTS),
    "image": Denoising(LatentConfig(dataclasses.replace(INNER, grid_features=128)), **LATENTS),
}
QUICK = {"text": Run(2), "image": Run(2), "resolution": 8, "texture": None}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The configs of the three parts, trained for two steps into one folder."""
    folder = tmp_path_factory.mktemp("shap_e")
    shapes, steps = Shapes(count=4, points=32, resolution=8), TrainConfig(2, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made = {
            name: ShapEPart(name, method, steps, shapes, views=2, out=folder / "model")
            for name, method in METHODS.items()
        }
        for config in made.values():
            config.finish(train(config.task(), config.train, None), folder)
        assert len(list(folder.glob(".cache/views/*.npz"))) == 1  # for all three
        yield made


@pytest.fixture
def solid(monkeypatch):
    """Fields that have been trained for two steps have no inside: here all of them have one."""
    ball = 0.5 - np.linalg.norm(np.stack(np.meshgrid(*[np.linspace(-1, 1, 8)] * 3)), axis=0).astype(np.float32)
    monkeypatch.setattr(shap_e, "_distances", lambda *args: ball)


def test_the_folder_holds_networks_their_diffusion_and_the_name_of_their_reader(parts):
    folder = parts["text"].out
    assert read_json(folder / "model.json") == {"clip": "tiny-clip"}
    assert {path.name for path in folder.iterdir()} == {*METHODS, "model.json"}
    assert read_json(folder / "text" / "diffusion.json") == {"mean_type": "v", "schedule": "exp", "timesteps": 1024}
    assert load(folder, "image").denoiser.config == METHODS["image"].network
    assert load(folder, "text").decoder[0] == DECODER


def test_the_trained_parts_are_drawn_from_together(parts, tmp_path, solid):
    config = ShapE(str(parts["text"].out), **QUICK)
    write_shap_e(config, "a red chair", None, tmp_path, count=2)
    assert read_weights(tmp_path / "latents.safetensors")["latents"].shape == (2, DECODER.rows, 4)
    mesh = load_mesh(tmp_path / "0001.glb")
    assert mesh.colors is not None and np.abs(np.linalg.norm(mesh.vertices, axis=-1) - 0.5).max() < 0.1
    assert read_json(tmp_path / "metrics.json")["seconds"].keys() == {"load", "sample", "mesh", "write"}
    alone = tmp_path / "alone"
    write_shap_e(config, "a red chair", None, alone, export="nerf")
    first, only = (read_weights(folder / "latents.safetensors")["latents"][0] for folder in (tmp_path, alone))
    np.testing.assert_allclose(first, only, atol=1e-4)
    assert (alone / "turntable.mp4").is_file() and not (alone / "mesh.glb").exists()


def test_meshes_are_encoded_without_another_program(parts, tmp_path, solid):
    for name in ("box.obj", "ball.ply"):
        made = trimesh.creation.box() if name == "box.obj" else trimesh.creation.icosphere()
        made.export(tmp_path / name)
    files = tuple(tmp_path / name for name in ("box.obj", "ball.ply"))
    options = encode.Options(files, str(parts["text"].out), tmp_path / "out", resolution=8, texture=None)
    encode.write_encoded(options)
    figures = read_json(tmp_path / "out" / "metrics.json")
    assert figures.keys() == {"box", "ball"} and 0 < figures["ball"]["chamfer"] < 1.5
    latents = [read_weights(tmp_path / "out" / f"{name}.safetensors")["latents"] for name in figures]
    assert latents[0].shape == (DECODER.rows, 4) and np.abs(latents).max() < 1 and not np.allclose(*latents)
    assert (tmp_path / "out" / "box.glb").is_file() and (tmp_path / "out" / "preview.png").is_file()
    with pytest.raises(ValueError, match="names of the meshes"):
        encode.write_encoded(dataclasses.replace(options, meshes=(files[0], files[0])))


@pytest.mark.parametrize("name", METHODS)
def test_a_warm_start_takes_network_weights_and_diffusion_from_the_file(parts, name):
    other = Autoencoding(TransmitterConfig()) if name == "transmitter" else Denoising(LatentConfig())
    config = dataclasses.replace(parts[name], method=other, warm=str(parts[name].out / name))
    method, start = config.begun()
    assert method.network == METHODS[name].network
    if name != "transmitter":
        assert method.published == METHODS[name].published
    saved = read_weights(parts[name].out / name / "model.safetensors")
    assert sum(leaf.size for leaf in jax.tree.leaves(start)) == sum(array.size for array in saved.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out": "nowhere"}, "train it first: python train.py shap_e_encoder"),
        ({"encoder": "text"}, "another network than a transmitter"),
        ({"warm": "image"}, "another network than text"),
    ],
)
def test_a_mistake_is_one_sentence(parts, changes, message):
    folder = parts["text"].out
    changes = {name: folder / value if name == "out" else str(folder / value) for name, value in changes.items()}
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(parts["text"], **changes).task()


def test_the_command_checks_what_it_is_asked(parts, tmp_path):
    model = str(parts["text"].out)
    for argv, message in (
        (["--prompt", " "], "the prompt is empty"),
        (["--prompt", "a chair", "--export", "point_cloud"], "Shap-E makes a mesh or a nerf"),
        (["--prompt", "a chair", "--count", "0"], "--count must be 1 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            sample.main(["shap_e", "--model", model, "--out", str(tmp_path), *argv])


def test_the_bundled_encoder_gives_latents_that_stand_for_the_shape(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, params = transmitter("tiny-shap-e")
    data = shown(Shapes(count=4, points=2048, resolution=24, held_out=True).load(), config)
    shares = []
    for z, sdf in zip(latents(config, params, data), data["sdf"], strict=True):
        matrices = shap_e._matrices(config.decoder, decoder_of(params), z.astype(np.float32))
        inside = np.asarray(shap_e._distances(config.decoder, decoder_of(params), matrices, 24)) > 0
        shares.append((inside & (sdf < 0)).sum() / (inside | (sdf < 0)).sum())
    assert np.mean(shares) > 0.65, shares
