"""A template around points: it takes their place, their shape and their colours; and the program around it."""

import dataclasses
import sys

import jax
import numpy as np
import pytest

import train
from jax3d import cli
from jax3d.io.mesh import load_mesh
from jax3d.io.points import save_points
from jax3d.math.ramp import ramp
from jax3d.methods.wrap import Wrap
from jax3d.nn.field import Voxels
from jax3d.scene.template import Template
from jax3d.train.loop import TrainConfig
from jax3d.train.loop import train as run
from jax3d.types import Points

AXES = np.array([0.8, 0.4, 0.5])


@pytest.fixture(scope="module")
def cloud() -> Points:
    """An ellipsoid, red where x > 0 and blue elsewhere."""
    way = np.random.default_rng(0).normal(size=(4000, 3))
    positions = (AXES * way / np.linalg.norm(way, axis=-1, keepdims=True)).astype(np.float32)
    return Points(positions, np.where(positions[:, :1] > 0, [1.0, 0, 0], [0, 0, 1.0]).astype(np.float32))


def test_a_ball_becomes_the_ellipsoid_with_its_colours(cloud):
    scene = Template(Voxels(resolution=8), subdivisions=2)
    method = Wrap(scene, points=512, steps=60, shape_rate=ramp(0.05, 0.005), texture_rate=ramp(0.1, 0.02))
    state = run(method.task(cloud), TrainConfig(steps=60, progress=False), devices=jax.devices()[:1])
    mesh = scene.export(method.whole(state.params))
    size = np.linalg.norm(mesh.vertices / AXES, axis=-1)
    assert np.abs(size - 1).mean() < 0.08  # the ball's is 0.33
    clear = np.abs(mesh.vertices[:, 0]) > 0.2
    red = mesh.colors[:, 0] > mesh.colors[:, 2]
    assert np.mean(red[clear] == (mesh.vertices[clear, 0] > 0)) > 0.95
    even = scene.remeshed(method.whole(state.params), 0.1)  # more triangles, from where the first ended
    slow = dataclasses.replace(method, shape_rate=ramp(0.005))
    state = run(slow.task(cloud, even), TrainConfig(steps=5, progress=False), devices=jax.devices()[:1])
    assert state.params["shape"].shape == even["shape"].shape and len(even["shape"]) > 1.5 * len(mesh.vertices)
    finer = scene.export(state.params | {"fixed": even["fixed"]})
    assert np.abs(np.linalg.norm(finer.vertices / AXES, axis=-1) - 1).mean() < np.abs(size - 1).mean()


def test_the_program_puts_the_mesh_where_the_points_are(cloud, tmp_path):
    where = np.array([100.0, -20.0, 7.0], np.float32)
    save_points(cloud._replace(positions=10 * cloud.positions + where), tmp_path / "scan.ply")
    small = ["--method.steps", "3", "--method.points", "64", "--method.scene.subdivisions", "1"]
    train.main(["wrap", "--data", str(tmp_path / "scan.ply"), "--workdir", str(tmp_path / "run"), *small])
    mesh = load_mesh(tmp_path / "run" / "mesh.glb")
    np.testing.assert_allclose(mesh.vertices.mean(0), where, atol=0.6)
    assert 4 < np.ptp(mesh.vertices, axis=0).min() and np.ptp(mesh.vertices, axis=0).max() < 20


@pytest.mark.parametrize(
    "positions, words",
    [(None, "give it with --data"), ([[1, 2, 3]] * 4, "more than one place"), ([[np.inf, 0, 0], [0, 0, 0]], "finite")],
)
def test_a_file_of_no_use_gets_one_sentence(positions, words, capsys, monkeypatch, tmp_path):
    given = []
    if positions is not None:
        header = f"ply\nformat ascii 1.0\nelement vertex {len(positions)}\n"
        header += "property float x\nproperty float y\nproperty float z\nend_header\n"
        (tmp_path / "bad.ply").write_text(header + "\n".join(" ".join(map(str, row)) for row in positions) + "\n")
        given = ["--data", str(tmp_path / "bad.ply")]
    monkeypatch.setattr(sys, "argv", ["train.py", "wrap", *given])
    with pytest.raises(SystemExit):
        cli.run(train.main)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and words in said, said
