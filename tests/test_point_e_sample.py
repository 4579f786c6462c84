"""Point-E as a command: folders of networks are found, told words or pictures, drawn from, and refused where wrong."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sample
from jax3d import cli
from jax3d.data.meshes import procedural_dataset
from jax3d.diffusion.openai import POINT_E_UPSAMPLE
from jax3d.io.image import write_image
from jax3d.io.mesh import load_mesh
from jax3d.io.points import load_points
from jax3d.io.weights import read_json, write_json
from jax3d.math.grid import nodes
from jax3d.nn.point_e_config import CHANNEL_BIASES, CHANNEL_SCALES, PointEConfig, PointSDFConfig
from jax3d.point_e import PointE, draw, write_point_e
from jax3d.prior import openai
from jax3d.prior import point_e_folder as prior
from jax3d.prior.openai_denoiser import Run
from jax3d.prior.openai_folder import ABOUT, DIFFUSION
from jax3d.scene.point_e import mesh_of, points_of, to_published
from jax3d.types import Mesh
from tests.priors import published_folders

VECTOR = PointEConfig(16, 1, 2, n_ctx=12, vector_features=64)
NAMED = {
    "base_40m_uncond": PointEConfig(16, 1, 2, n_ctx=12),
    "base_40m_textvec": VECTOR,
    "base_40m": PointEConfig(16, 1, 2, n_ctx=12, grid_features=128),
    "upsample_40m": PointEConfig(
        16,
        1,
        2,
        n_ctx=8,
        grid_features=128,
        cond_ctx=12,
        channel_scales=CHANNEL_SCALES,
        channel_biases=CHANNEL_BIASES,
    ),
    "sdf": PointSDFConfig(16, 1, 2, 1, 2, n_ctx=16),
}
QUICK = PointE(clip="tiny-clip", coarse=Run(2, 3.0, 120.0, 3.0), fine=Run(2), resolution=12)


def network(config, seed):
    """Parameters of about the size of trained ones; distances that are half of them negative."""
    random = np.random.default_rng(seed)
    params = jax.tree.map(lambda x: jnp.asarray(0.3 * random.normal(size=x.shape), jnp.float32), openai.shapes(config))
    if isinstance(config, PointSDFConfig):
        cloud, places = (jnp.asarray(random.uniform(-0.5, 0.5, (1, n, 3)), jnp.float32) for n in (16, 500))
        middle = jnp.median(openai.module(config).apply({"params": params}, cloud, places))
        params["output_proj"]["bias"] -= middle
    return params


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with published_folders(tmp_path_factory, NAMED, network) as make:
        yield make


@pytest.fixture(scope="module")
def text(folder):
    return dataclasses.replace(QUICK, model=str(folder("base_40m_textvec", "upsample_40m", "sdf")))


def test_a_prompt_becomes_points_a_mesh_and_pictures(text, tmp_path):
    write_point_e(text, "a red chair", None, tmp_path, seed=1)
    cloud, mesh = load_points(tmp_path / "points.ply"), load_mesh(tmp_path / "mesh.glb")
    assert cloud.positions.shape == (20, 3) and len(mesh.faces) > 0
    apart = np.abs(mesh.colors[:, None] - cloud.colors[None]).max(-1).min(1)
    assert apart.max() < 0.02  # each vertex has the colour of a point
    assert np.abs(mesh.vertices).max() <= 1.02 + 1e-5
    figures = read_json(tmp_path / "metrics.json")
    assert figures["points"] == 20 and figures["faces"] == [len(mesh.faces)] and figures["prompt"] == "a red chair"
    assert (tmp_path / "preview.png").is_file() and (tmp_path / "turntable.mp4").is_file()


def test_a_picture_is_told_as_a_grid_to_both_networks(folder, tmp_path):
    config = dataclasses.replace(QUICK, model=str(folder("base_40m", "upsample_40m")))
    write_image(np.random.default_rng(0).uniform(size=(40, 50, 4)), tmp_path / "seen.png")
    with pytest.raises(ValueError, match="holds no network of distances"):
        write_point_e(config, None, tmp_path / "seen.png", tmp_path)
    write_point_e(config, None, tmp_path / "seen.png", tmp_path, count=2, export="point_cloud")
    assert [len(load_points(tmp_path / f"{k:04d}.ply").positions) for k in range(2)] == [20, 20]
    model = prior.load(config.model, None, "tiny-clip")
    white, black = (draw(config, model, None, np.full((9, 9, 3), grey), count=1, seed=0) for grey in (1.0, 0.0))
    assert np.abs(white[:, :12] - black[:, :12]).max() > 1e-3 < np.abs(white[:, 12:] - black[:, 12:]).max()
    with pytest.raises(ValueError, match="told pictures alone; give --image"):
        draw(config, model, "a red chair", None, count=1, seed=0)


def test_shapes_do_not_depend_on_how_many_are_drawn_and_keep_the_coarse_points(text):
    model = prior.load(text.model, None, "tiny-clip")
    five = draw(text, model, "a red chair", None, count=5, seed=3)
    np.testing.assert_allclose(five[:2], draw(text, model, "a red chair", None, count=2, seed=3), rtol=1e-3, atol=1e-3)
    coarse = dataclasses.replace(model, upsampler=None)
    np.testing.assert_allclose(five[:2, :12], draw(text, coarse, "a red chair", None, count=2, seed=3), rtol=1e-3)


def test_words_count_and_told_nothing_there_is_no_guidance(text):
    model = prior.load(text.model, None, "tiny-clip")
    more = dataclasses.replace(text, coarse=dataclasses.replace(text.coarse, guidance=9.0))
    red, blue = (draw(text, model, f"a {color} chair", None, count=1, seed=0) for color in ("red", "blue"))
    assert np.abs(red - blue).max() > 1e-3
    assert np.abs(red - draw(more, model, "a red chair", None, count=1, seed=0)).max() > 1e-3
    np.testing.assert_array_equal(*(draw(c, model, None, None, count=1, seed=0) for c in (text, more)))


def test_folders_of_our_own_bring_their_diffusion_and_their_reader(tmp_path):
    for name, config in (("base", VECTOR), ("upsample", NAMED["upsample_40m"])):
        openai.save(tmp_path / name, config, network(config, 0))
    write_json(tmp_path / "base" / DIFFUSION, {**POINT_E_UPSAMPLE, "mean_type": "v"})
    with pytest.raises(ValueError, match="could not be taken from the Hub|is told CLIP's vector of 64 features"):
        prior.load(tmp_path)
    write_json(tmp_path / ABOUT, {"clip": "tiny-clip"})
    model = prior.load(tmp_path)
    assert model.base.diffusion.border.__name__ == "from_v" and model.upsampler.diffusion.border.__name__ == "from_eps"
    assert model.base.diffusion.schedule.sigmas[-1] != model.upsampler.diffusion.schedule.sigmas[0]
    assert model.clip.config.projection_dim == 64 and model.sdf is None


def test_published_clouds_come_into_our_world():
    front, left, up = np.eye(3)
    theirs = np.float32([[0, -0.5, 0], [0.5, 0, 0], [0, 0, 0.5]])
    np.testing.assert_allclose(to_published(np.stack([front, left, up])), theirs)
    cloud = points_of(np.concatenate([theirs, np.full((3, 3), 510.0)], 1))
    np.testing.assert_allclose(cloud.positions, np.eye(3))
    assert cloud.colors.max() == 1
    mesh = mesh_of(Mesh(theirs, np.array([[0, 1, 2]]), None, 2 * theirs))
    np.testing.assert_allclose(mesh.vertices, np.eye(3))
    np.testing.assert_allclose(mesh.normals, np.eye(3))


@pytest.mark.parametrize(
    "names, fields, asked, words",
    [
        ((), {}, {}, "holds no base network .*base_40m_textvec.*train.py point_e_base.*--model"),
        (("base_40m", "base_40m_textvec"), {}, {}, r"several .* \(base_40m_textvec, base_40m\).*--base NAME"),
        (("base_40m",), {"base": "base_1b"}, {}, "holds no network base_1b"),
        (("base_40m_uncond",), {}, {"prompt": "a chair"}, "told nothing; leave the prompt"),
        ((), {}, {"prompt": "a", "image": Path("b.png")}, "give one of --prompt and --image"),
        ((), {}, {"prompt": " "}, "prompt is empty"),
        ((), {}, {"count": 0}, "--count must be 1 or more"),
        ((), {}, {"export": "nerf"}, "a mesh or a point_cloud"),
        ((), {"resolution": 1}, {}, "--resolution must be 2 or more"),
        ((), {}, {"image": Path("no.png")}, "no.png is not there"),
        (("base_40m_textvec",), {"clip": "tiny-sd"}, {}, "is no CLIP folder"),
        ((), {"model": "tiny-point-f"}, {}, "'tiny-point-f' is no path here.*train one.*or give --model FOLDER"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_sentence(names, fields, asked, words, folder, tmp_path):
    asked = {"prompt": None, "image": None, "export": "point_cloud"} | asked
    with pytest.raises(ValueError, match=words) as caught:
        write_point_e(dataclasses.replace(QUICK, **{"model": str(folder(*names)), **fields}), out=tmp_path, **asked)
    assert "\n" not in str(caught.value)


def test_the_command_writes_where_it_says(text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    quick = ["--coarse.steps", "1", "--fine.steps", "1", "--clip", "tiny-clip", "--export", "point_cloud"]
    sample.main(["point_e", "--prompt", "a red chair", "--model", text.model, *quick])
    folder = tmp_path / "outputs" / "a-red-chair-0"
    assert {path.name for path in folder.iterdir()} == {
        *("points.ply", "preview.png", "turntable.mp4", "metrics.json", "run.json")
    }
    sample.main(["point_e", "--prompt", "a red chair", "--model", text.model, "--clip", "tiny-clip", "--dry-run"])
    assert "parameters of" in capsys.readouterr().out
    assert cli.load_config("point_e_published")[0].coarse == Run(64, 3.0, 120.0, 3.0)


def test_the_bundled_regressor_finds_the_solid_that_a_cloud_lies_on(tmp_path):
    data = procedural_dataset(4, points=2048, resolution=24, held_out=True, cache=tmp_path)
    model = prior.load("tiny-point-e")
    assert model.base.config.n_ctx + model.upsampler.config.n_ctx == 2048
    places, shares = to_published(jnp.asarray(nodes(24).reshape(-1, 3))), []
    for points, sdf in zip(data["points"], data["sdf"], strict=True):
        inside, truth = np.asarray(model.distance(to_published(points))(places)) > 0, sdf.ravel() < 0
        shares.append((inside & truth).sum() / (inside | truth).sum())
    assert np.mean(shares) > 0.7, shares  # thin parts come out rather too thick
