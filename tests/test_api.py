"""From a prompt to files, end to end with a tiny pipeline of random weights."""

import dataclasses
import functools
import json

import chex
import numpy as np
import pytest
import trimesh

import jax3d
from jax3d import api
from jax3d.io.image import read_image
from jax3d.io.mesh import load_mesh
from jax3d.io.splats import load_splats
from jax3d.methods.dreamfusion import DreamFusion
from jax3d.methods.dreamgaussian import Paint, Sketch
from jax3d.methods.magic3d import Refine
from jax3d.nn.field import Voxels
from jax3d.prior.guidance import Guidance
from jax3d.prior.stable_diffusion import save
from jax3d.prior.views import ViewWords
from jax3d.scene import gaussian_surface
from jax3d.scene.dmtet import DMTet
from jax3d.scene.gaussians import Gaussians
from jax3d.scene.nerf import NeRF
from jax3d.types import Mesh, Points


@pytest.fixture(scope="module")
def method(make_prior, tmp_path_factory):
    """Six steps of a tiny field, three at 8 and three at 16 pixels."""
    folder = tmp_path_factory.mktemp("model")
    save(make_prior(), folder)
    return DreamFusion(
        model=str(folder),
        scene=NeRF(field=Voxels(resolution=16), samples=12),
        guidance=Guidance(views=ViewWords()),
        stages=((0.0, 8), (0.5, 16)),
        batch_size=2,
        steps=6,
        export_resolution=32,
        texture=256,
    )


@pytest.fixture(scope="module")
def asset(method):
    return jax3d.generate("a red chair", method=method, progress=False)


def test_generate_returns_a_closed_coloured_mesh_and_writes_nothing(method, asset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []
    again = jax3d.generate(
        "a red chair", method=method, progress=False, callback=lambda *args: seen.append(args), callback_every=3
    )
    assert list(tmp_path.iterdir()) == []
    chex.assert_trees_all_equal(again.params, asset.params)  # the same seed, the same bits
    assert [step for step, _, _ in seen] == [3, 6] and seen[0][1].shape == (4, 64, 64, 3)
    assert len(asset.mesh.faces) > 20 and asset.mesh.colors.shape == asset.mesh.vertices.shape
    assert asset.metrics["steps"] == 6 and set(asset.metrics["seconds"]) == {"load", "optimise", "export"}


def test_a_run_resumes_from_its_folder_across_stages(method, asset, tmp_path):
    half = dataclasses.replace(method)
    with pytest.raises(RuntimeError, match="stop here"):
        jax3d.generate("a red chair", method=half, workdir=tmp_path, callback=_stop, callback_every=4, progress=False)
    resumed = jax3d.generate("a red chair", method=half, workdir=tmp_path, progress=False)
    chex.assert_trees_all_equal(resumed.params, asset.params)


def _stop(step, views, figures):
    raise RuntimeError("stop here")


def test_save_writes_what_the_readme_promises(asset, tmp_path):
    asset.save(tmp_path, frames=8, size=32)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"mesh.glb", "mesh.ply", "turntable.mp4", "preview.png", "metrics.json"} <= names
    assert json.loads((tmp_path / "metrics.json").read_text())["prompt"] == "a red chair"
    mesh = load_mesh(tmp_path / "mesh.glb")
    np.testing.assert_allclose(mesh.vertices, asset.mesh.vertices, atol=1e-5)


def test_other_exports(method, tmp_path):
    short = dataclasses.replace(method, steps=1, stages=((0.0, 8),))
    cloud = jax3d.generate("a red chair", method=short, export="point_cloud", progress=False)
    assert cloud.mesh is None and cloud.points.positions.shape == (16384, 3)
    field = jax3d.generate("a red chair", method=short, export="nerf", progress=False)
    field.save(tmp_path, frames=8, size=32)
    assert (tmp_path / "nerf.safetensors").stat().st_size > 16**3 * 4 * 4


@pytest.fixture(scope="module")
def magic(method):
    """Two steps of a field and four of its mesh."""
    fine = Refine(
        scene=DMTet(texture=method.scene.field, cells=8),
        guidance=method.guidance,
        stages=((0.0, 16),),
        batch_size=2,
        fit_steps=2,
        steps=4,
        texture=256,
    )
    return jax3d.Magic3D(dataclasses.replace(method, steps=2, stages=((0.0, 8),)), fine)


def test_magic3d_refines_the_field_as_a_mesh_and_resumes_there(magic, tmp_path):

    def interrupt(step, views, figures):
        if step == 4:  # the second of the mesh
            raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        jax3d.generate(
            "a red chair", method=magic, workdir=tmp_path, callback=interrupt, callback_every=2, progress=False
        )
    seen = []
    note = lambda step, views, figures: seen.append(step)  # noqa: E731
    whole = jax3d.generate(
        "a red chair", method=magic, workdir=tmp_path, callback=note, callback_every=1, progress=False
    )
    assert 4 <= seen[0] <= seen[-1] == 6  # what was done is not done again
    assert (tmp_path / "surface" / "checkpoints" / "2").is_dir()  # the fit to the field
    assert whole.metrics["steps"] == 6 and list(whole.metrics["seconds"]) == ["load", "optimise", "refine", "export"]
    assert whole.mesh.texture is not None and whole.before.scene == magic.coarse.scene
    whole.save(tmp_path / "asset", frames=8, size=32)
    assert read_image(tmp_path / "asset" / "preview.png").shape[:2] == (3 * 32, 4 * 32)  # the field's row, and two
    with pytest.raises(ValueError, match="must be coarse.scene.field"):
        dataclasses.replace(magic, coarse=jax3d.DreamFusion())
    late = dataclasses.replace(magic, fine=dataclasses.replace(magic.fine, stages=((0.5, 16),)))
    with pytest.raises(ValueError, match="stages must begin at 0"):
        jax3d.generate("a red chair", method=late)
    with pytest.raises(ValueError, match="ends with a mesh"):
        jax3d.generate("a red chair", method=magic, export="nerf")


def test_ctrl_c_while_the_surface_is_fitted_ends_the_run_with_that_surface(magic, monkeypatch):
    whole = api.train

    def interrupted(task, config, *args, **named):
        """Of the fit, the only part without pictures on the way, one step of two."""
        steps = config.steps if config.callback_every else 1
        return whole(task, dataclasses.replace(config, steps=steps), *args, **named)

    monkeypatch.setattr(api, "train", interrupted)
    asset = jax3d.generate("a red chair", method=magic, progress=False)
    assert asset.metrics["steps"] == 2 + 1 and asset.before is not None and len(asset.mesh.faces) > 10


def test_dreamgaussian_paints_the_mesh_of_its_gaussians_and_resumes_there(method, tmp_path, monkeypatch):
    monkeypatch.setattr(gaussian_surface, "VIEWS", 4)
    monkeypatch.setattr(gaussian_surface, "SIZE", 32)
    some = {"guidance": method.guidance, "stages": ((0.0, 16),), "batch_size": 2, "steps": 2}
    scene = Gaussians(count=500, capacity=600, opacity=0.8)
    paint = Paint(**some, resolution=32, max_faces=400, texture=64, sample_steps=1)
    dream = jax3d.DreamGaussian(Sketch(model=method.model, scene=scene, **some), paint)
    run = functools.partial(jax3d.generate, "a red chair", method=dream, workdir=tmp_path, progress=False)

    def interrupt(step, views, figures):
        if step == 3:  # the first of the texture
            raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        run(callback=interrupt, callback_every=1)
    seen = []
    whole = run(callback=lambda step, views, figures: seen.append(step), callback_every=1)
    assert seen[-1] == 4 and seen[0] >= 3 and whole.metrics["steps"] == 4
    assert whole.mesh.texture.shape == (64, 64, 3) and 20 < len(whole.mesh.faces) <= 400
    whole.save(tmp_path / "asset", frames=8, size=32)
    assert 0 < len(load_splats(tmp_path / "asset" / "splats.ply").positions) <= 600


def test_gaussians_begin_with_a_shape(method):
    rng = np.random.default_rng(0)
    cloud = Points(rng.uniform(-0.3, 0.3, (50, 3)).astype(np.float32), rng.uniform(size=(50, 3)).astype(np.float32))
    sketch = Sketch(model=method.model, scene=Gaussians(count=20, capacity=30))
    begun = api._begin(sketch, cloud, 0)
    assert int(begun["alive"].sum()) == 20
    assert all(any((cloud.positions == place).all(1)) for place in np.asarray(begun["positions"][:20]))
    ball = trimesh.creation.icosphere(1, 0.4)
    begun = api._begin(sketch, Mesh(ball.vertices.astype(np.float32), ball.faces.astype(np.int32)), 0)
    assert np.linalg.norm(begun["positions"][:20], axis=1).max() <= 0.4001
    with pytest.raises(ValueError, match="only DreamGaussian"):
        jax3d.generate("a red chair", method=method, start=cloud)


def test_an_unknown_word_warns_with_the_vocabulary(method, capsys):
    short = dataclasses.replace(method, steps=1, stages=((0.0, 8),))
    jax3d.generate("a red dragon", method=short, progress=False)
    said = capsys.readouterr().out
    assert "'dragon'" in said and "chair" in said and "--model" in said


def test_what_no_method_can_begin_with():
    with pytest.raises(ValueError, match="the prompt is empty"):
        jax3d.generate()
    with pytest.raises(ValueError, match="text only; describe cat.png"):
        jax3d.generate("a cat", image="cat.png")


def test_an_empty_field_stops_with_a_diagnosis(method):
    empty = NeRF(field=Voxels(resolution=8, bias=_nothing), samples=4)
    with pytest.raises(ValueError, match="the scene is empty at step .*density"):
        jax3d.generate("a red chair", method=dataclasses.replace(method, scene=empty), callback_every=1, progress=False)


def _nothing(points):
    return 0 * points[..., 0] - 30


def test_estimate_counts_parameters_without_running(method):
    said = jax3d.estimate("a red chair", method=method)
    assert f"{16**3 * 4:,} optimised" in said and "GiB" in said and "6 steps" in said
