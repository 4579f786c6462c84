"""3D-native models from training to files: a folder is written, loaded, drawn from, and refused where it is wrong."""

import dataclasses

import chex
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from jax3d.codec.points import PointCloud
from jax3d.codec.triplane import Triplanes
from jax3d.data.captioned import Shapes
from jax3d.io.mesh import save_mesh
from jax3d.io.points import load_points
from jax3d.io.weights import read_json
from jax3d.math.camera import orbit
from jax3d.methods.native import Native
from jax3d.native import NativeModel, half_of, load_model, prepared, write_shapes
from jax3d.nn.set_transformer import SetTransformer
from jax3d.preview import picture
from jax3d.train.loop import TrainConfig, train
from jax3d.types import Mesh


def box():
    """Vertices and outward faces of a cube."""
    solid = trimesh.creation.box()
    return np.float32(solid.vertices), np.int32(solid.faces)


SMALL = NativeModel(
    method=Native(
        codec=PointCloud(24), network=SetTransformer(width=16, layers=1, heads=2), batch_size=4, sample_steps=2
    ),
    model="",
    shapes=Shapes(count=4, points=32, resolution=8),
    train=TrainConfig(steps=2, progress=False),
)


def trained(told, folder):
    """A config whose model has been trained for two steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        config = dataclasses.replace(SMALL, told=told, model=str(folder / "model"))
        config.finish(train(config.task(), config.train, None), folder)
    assert (folder / "samples.png").is_file()
    return config


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return trained("text", tmp_path_factory.mktemp("text"))


def test_a_codec_is_learned_once_and_again_where_its_cache_is_damaged(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    codec = Triplanes(resolution=8, channels=2, width=4, learn=4, learn_steps=2, steps=2, points=16, block=2, nodes=8)
    config = dataclasses.replace(SMALL, method=dataclasses.replace(SMALL.method, codec=codec))
    _, params, planes = prepared(config)
    (path,) = tmp_path.glob(".cache/codecs/*")
    for damage in (False, True):
        prepared.cache_clear()
        path.write_bytes(path.read_bytes()[: -1 if damage else None])
        _, again, same = prepared(config)
        chex.assert_trees_all_equal(again, params)
        np.testing.assert_array_equal(same, planes)
        assert (str(path.relative_to(tmp_path)) in capsys.readouterr().err) == damage


def test_a_trained_model_is_drawn_from(config, tmp_path):
    write_shapes(config, "a red chair", tmp_path, count=3, seed=1)
    clouds = [load_points(tmp_path / f"{k:04d}.ply") for k in range(3)]
    assert all(len(cloud.positions) == 24 and cloud.colors is not None for cloud in clouds)
    assert np.abs(clouds[0].positions - clouds[1].positions).max() > 1e-3
    assert read_json(tmp_path / "metrics.json")["count"] == 3 and (tmp_path / "preview.png").is_file()


def test_shapes_do_not_depend_on_how_many_are_drawn(config):
    model = load_model(config)
    np.testing.assert_allclose(model.arrays([None] * 3, seed=5)[0], model.arrays([None], seed=5)[0], atol=1e-4)


def test_without_a_prompt_it_makes_one_of_the_shapes_it_heard_of(config):
    model = load_model(config)
    count = len(model.heard)
    rows = np.asarray(model.conditions([None] * (count + 1), seed=0))
    which = [int(np.isclose(model.heard, row, atol=1e-6).all(1).argmax()) for row in rows]
    np.testing.assert_allclose(rows, model.heard[which], atol=1e-6)
    assert len({tuple(row) for row in rows[:count].round(4)}) == len({tuple(row) for row in model.heard.round(4)})
    assert np.abs(rows).max() > 0.1 and np.all(rows[-1] == rows[0])
    deaf = dataclasses.replace(model, heard=model.heard[:0])
    for silent in (model.conditions([None]), deaf.conditions([None], seed=0)):
        chex.assert_trees_all_equal(silent, jnp.zeros((1, model.reader.size)))


def test_interpolation_goes_from_one_shape_to_another(config):
    model = load_model(config)
    prompts = ["a red chair", None, None, None, None]
    between = model.arrays(prompts, seed=3, between=True)
    steps = np.abs(np.diff(between, axis=0)).mean((1, 2))
    assert 0 < steps.max() < 0.6 * np.abs(between[-1] - between[0]).mean()  # no jumps, and on the way
    np.testing.assert_array_equal(model.arrays(prompts, seed=3, between=True), between)
    apart = np.abs(np.diff(model.arrays(prompts, seed=3), axis=0)).mean((1, 2))
    assert steps.max() < 0.6 * apart.min()  # as far as drawn one by one


def test_half_of_a_mesh_is_kept(config, tmp_path):
    save_mesh(Mesh(*box()), tmp_path / "box.ply")
    x0, mask = half_of(config, tmp_path / "box.ply", "-x")
    kept = x0[mask[:, 0] == 1]
    assert 8 < len(kept) < 16 and np.all(kept[:, 0] < 0)
    assert 3 < mask[:12].sum() < 9  # spread over the cloud
    found = load_model(config).arrays([None], known=(x0, mask))[0]
    np.testing.assert_allclose(found[mask[:, 0] == 1], kept, atol=1e-5)
    with pytest.raises(ValueError, match="is not there"):
        half_of(config, tmp_path / "no.ply", "-x")


@pytest.mark.parametrize(
    "told, word, refusal",
    [("class", "unicorn", "no class 'unicorn'.*known: "), ("nothing", "a chair", "no conditions")],
)
def test_a_model_is_told_classes_or_nothing(told, word, refusal, tmp_path):
    model = load_model(trained(told, tmp_path))
    with pytest.raises(ValueError, match=refusal):
        model.conditions([word])
    known = read_json(tmp_path / "model" / "model.json")["classes"][0]
    prompts = [known if told == "class" else None, None]
    assert np.isfinite(model.arrays(prompts)).all() and model.conditions(prompts).shape[1] == model.reader.size


def test_folders_that_are_no_model_of_the_config_are_refused(config, tmp_path):
    with pytest.raises(ValueError, match="holds no model.safetensors"):
        load_model(config, tmp_path)
    wider = dataclasses.replace(config.method, network=SetTransformer(width=32, layers=1, heads=2))
    with pytest.raises(ValueError, match="is of another model: .* has the shape"):
        load_model(dataclasses.replace(config, method=wider))
    with pytest.raises(ValueError, match="--count must be 1 or more"):
        write_shapes(config, None, tmp_path, count=0, seed=0)


def test_a_mesh_is_shown_where_it_is():
    triangle = np.array([[0.0, -0.5, -0.5], [0.0, 0.5, -0.5], [0.0, 0.0, 0.5]], np.float32)
    mesh = Mesh(triangle, np.array([[0, 1, 2]], np.int32), np.tile(np.float32([1, 0, 0]), (3, 1)))
    shown = picture(mesh, orbit(0.0, 0.0, 3.0, np.deg2rad(40.0)), 32)
    assert shown[16, 16, 0] > 0.5 > shown[16, 16, 1] and np.all(shown[0, 0] == 1)
