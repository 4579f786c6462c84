"""Point-E's parts from training to files: each is written, begun again from, and all are drawn from together."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d import told as told_of
from jax3d.data.captioned import Shapes
from jax3d.io.points import load_points
from jax3d.io.weights import read_json
from jax3d.methods.denoising import Denoising
from jax3d.methods.point_e_sdf import Distances
from jax3d.nn.point_e_config import CHANNEL_BIASES, CHANNEL_SCALES, PointEConfig, PointSDFConfig
from jax3d.point_e import PointE, write_point_e
from jax3d.point_e_training import PointEPart
from jax3d.prior import clip, openai
from jax3d.prior.openai_denoiser import Run
from jax3d.told import pictures, vectors
from jax3d.train.loop import TrainConfig, train

SCALES = {"channel_scales": CHANNEL_SCALES, "channel_biases": CHANNEL_BIASES}
METHODS = {
    "base": Denoising(PointEConfig(16, 1, 2, n_ctx=12, vector_features=64), mean_type="v", batch_size=4),
    "upsample": Denoising(
        PointEConfig(16, 1, 2, n_ctx=20, grid_features=128, cond_ctx=12, **SCALES),
        schedule="linear",
        batch_size=4,
        drawn=6,
    ),
    "sdf": Distances(PointSDFConfig(16, 1, 2, 1, 2, n_ctx=16), places=8, batch_size=4),
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The configs of the three parts, trained for two steps into one folder."""
    folder = tmp_path_factory.mktemp("point_e")
    shapes, steps = Shapes(count=4, points=32, resolution=8), TrainConfig(2, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made = {
            name: PointEPart(name, method, steps, shapes, views=2, out=folder / "model")
            for name, method in METHODS.items()
        }
        for config in made.values():
            config.finish(train(config.task(), config.train, None), folder)
        assert len(list(folder.glob(".cache/pictures/points-*.npz"))) == 1  # for both denoisers
        yield made


def test_the_folder_holds_networks_their_diffusion_and_the_name_of_their_reader(parts):
    folder = parts["base"].out
    assert read_json(folder / "model.json") == {"clip": "tiny-clip"}
    assert {path.name for path in folder.iterdir()} == {*METHODS, "model.json"}
    assert read_json(folder / "base" / "diffusion.json")["mean_type"] == "v"
    assert read_json(folder / "upsample" / "diffusion.json")["schedule"] == "linear"
    assert openai.load(folder / "sdf")[0] == METHODS["sdf"].network and (folder.parent / "samples.png").is_file()


def test_the_trained_parts_are_drawn_from_together(parts, tmp_path):
    config = PointE(str(parts["base"].out), coarse=Run(2), fine=Run(2))
    write_point_e(config, "a red chair", None, tmp_path, export="point_cloud")
    assert len(load_points(tmp_path / "points.ply").positions) == 32
    assert read_json(tmp_path / "metrics.json")["seconds"].keys() == {"load", "sample", "mesh", "write"}


@pytest.mark.parametrize("name", METHODS)
def test_a_warm_start_takes_network_weights_and_diffusion_from_the_file(parts, name):
    other = Distances(PointSDFConfig()) if name == "sdf" else Denoising(PointEConfig(), batch_size=4)
    config = dataclasses.replace(parts[name], method=other, warm=str(parts[name].out / name))
    method, start = config.begun()
    assert method.network == METHODS[name].network
    if name != "sdf":
        assert method.published == METHODS[name].published
    again = dataclasses.replace(config, method=dataclasses.replace(other, batch_size=4)).task().init(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, again, start)


@pytest.mark.parametrize(
    "part, fields, words",
    [
        ("base", {"warm": "sdf"}, "is another network than base"),
        ("base", {"warm": "upsample"}, "is another network than base"),
        ("upsample", {"warm": "base"}, "is another network than upsample"),
        ("base", {"method": Denoising(PointEConfig(16, 1, 2, vector_features=64))}, "needs 1024 points.*points 1024"),
        ("base", {"method": Denoising(PointEConfig(16, 1, 2, 4, vector_features=768))}, "vector of 768 .* gives 64"),
        ("sdf", {"method": Distances(PointSDFConfig(16, 1, 2, 1, 2))}, "needs 4096 points of a shape, got 32"),
        ("base", {"warm": "nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_sentence(part, fields, words, parts):
    if "warm" in fields:
        fields = {"warm": str(parts["base"].out / fields["warm"])}
    with pytest.raises(ValueError, match=words) as caught:
        dataclasses.replace(parts[part], **fields).task()
    assert "\n" not in str(caught.value)


def test_pictures_show_the_points_and_their_vectors_stand_beside_those_of_captions(parts, monkeypatch):
    data = parts["base"].shapes.load()
    seen = pictures(data, 2, 64)
    assert seen.shape == (4, 2, 64, 64, 3) and seen.dtype == np.uint8
    assert np.all(seen[:, :, 0, 0] == 255) and np.all(seen.min((2, 3, 4)) < 200)
    monkeypatch.setattr(told_of, "picture", None)  # they come from the disk
    np.testing.assert_array_equal(pictures(data, 2, 64), seen)
    reader = clip.load("tiny-clip")
    told = vectors(reader, data, seen).astype(np.float32)
    assert told.shape == (4, 4, 64)
    np.testing.assert_allclose(np.linalg.norm(told, axis=-1), 1, atol=2e-3)
    np.testing.assert_allclose(told[1, 1], reader.text_features(reader.params, [str(data["brief"][1])])[0], atol=1e-3)
    np.testing.assert_allclose(
        told[2, 3], reader.image_features(reader.params, jnp.asarray(seen[2, 1:]) / 255)[0], atol=1e-3
    )
