"""The command line that judges a folder of shapes by another: formats, sampling, results, and refusals."""

import json
import sys

import numpy as np
import pytest
import trimesh

from jax3d import cli, evaluate
from jax3d.data import procedural
from jax3d.io.mesh import save_mesh
from jax3d.io.points import save_points
from jax3d.types import Mesh, Points

NOISE = 2 * 4 / 64
"""Chamfer distance of two samples of a unit sphere: 64 points lie 4 pi / 64 apart in area, 1 / (pi density) squared."""


def spheres(count: int, seed: int, radius: float = 1.0) -> np.ndarray:
    """Clouds [count, 64, 3] on spheres of about a radius."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(count, 64, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    return (directions * rng.uniform(0.9, 1.1, (count, 1, 1)) * radius).astype(np.float32)


def ball(size: float) -> Mesh:
    made = trimesh.creation.icosphere(subdivisions=2, radius=size)
    return Mesh(np.asarray(made.vertices, np.float32), np.asarray(made.faces, np.int32))


@pytest.fixture
def reference(tmp_path):
    (tmp_path / "reference").mkdir()
    np.savez(tmp_path / "reference/all.npz", points=spheres(24, 0))
    return tmp_path / "reference"


def judged(tmp_path, *argv) -> dict:
    evaluate.main([*map(str, argv), "--points", "64", "--out", str(tmp_path / "new/result.json")])
    return json.loads((tmp_path / "new/result.json").read_text())


def test_clouds_apart_and_brought_together(reference, tmp_path, capsys):
    for index, cloud in enumerate(spheres(24, 1, radius=10)):
        save_points(Points(cloud), tmp_path / f"generated/{index}.ply")
    apart = judged(tmp_path, tmp_path / "generated", reference, "--emd", "--emd-points", "32")
    assert apart["chamfer"]["1-nna"] == apart["emd"]["1-nna"] == 1
    assert apart["emd"]["mmd"] == pytest.approx(9, rel=0.1)  # of spheres with radii 10 and 1
    assert apart["counts"] == [24, 24] and apart["meshes"] == {} and apart["options"]["emd_points"] == 32
    table = capsys.readouterr().out
    assert "24 generated, 24 reference" in table and "emd" in table and "100.0%" in table
    together = judged(tmp_path, tmp_path / "generated", reference, "--normalize")
    assert together["chamfer"]["1-nna"] == pytest.approx(0.5, abs=0.2) and "emd" not in together
    assert together["chamfer"]["mmd"] < NOISE


def test_meshes_are_sampled_and_checked(reference, tmp_path, capsys):
    for suffix in (".glb", ".ply", ".obj"):
        save_mesh(ball(1.0), tmp_path / f"generated/run{suffix}/mesh{suffix}")
    holed = ball(1.1)
    save_mesh(holed._replace(faces=holed.faces[1:]), tmp_path / "generated/holed/mesh.ply")
    result = judged(tmp_path, tmp_path / "generated", reference, "--files", "*/mesh.*")
    assert result["counts"] == [4, 24]
    assert result["meshes"] == {"closed": 0.75, "oriented": 1.0, "of one component": 1.0, "valid": 0.75}
    assert result["chamfer"]["mmd"] < 1.2 * NOISE
    out, err = capsys.readouterr()
    assert "of 4 meshes: 75.0% closed" in out and "4 generated and 24 reference" in err
    assert judged(tmp_path, tmp_path / "generated", reference, "--files", "*/mesh.*") == result  # the seed is fixed


def test_normalized_boxes():
    low, high = (f(evaluate.normalized(spheres(3, 0) * [1, 2, 5] + 7), axis=1) for f in (np.min, np.max))
    np.testing.assert_allclose(low, -high, atol=1e-5)
    np.testing.assert_allclose(high.max(1), 1, rtol=1e-5)
    assert np.all(evaluate.normalized(np.ones((1, 4, 3))) == 0)


def test_mistakes_get_one_sentence(reference, tmp_path, monkeypatch, capsys):
    for name, arrays in (("few", {"points": spheres(2, 0)[:, :9]}), ("other", {"xyz": np.ones(3)})):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "a.npz", **arrays)
    (tmp_path / "flat").mkdir()
    np.savez(tmp_path / "flat/a.npz", points=np.ones((5, 2)))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/a.glb").write_bytes(b"glTF")
    (tmp_path / "empty").mkdir()
    cases = [
        (["nowhere", reference], "nowhere is no folder"),
        ([tmp_path / "empty", reference], "has 0"),
        ([tmp_path / "few", reference, "--points", "64"], "a.npz has 9"),
        ([tmp_path / "other", reference], "array `points`"),
        ([tmp_path / "flat", reference], "got [5, 2]"),
        ([tmp_path / "broken", reference], "a.glb"),
        ([reference, reference, "--points", "many"], "many"),
        ([reference], "two folders"),
        ([reference, reference, "--point", "64"], "--points"),
    ]
    monkeypatch.chdir(tmp_path)
    for argv, words in cases:
        monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, argv)])
        with pytest.raises(SystemExit) as stop:
            cli.run(evaluate.main)
        out, err = capsys.readouterr()
        assert (stop.value.code, out, err.count("\n")) == (2, "", 1) and err.startswith("error: "), err
        assert words in err, err
    assert not (tmp_path / "evaluation.json").exists()


def test_clip_knows_captions_from_their_shapes(reference, tmp_path, capsys):
    pairs = [("red", "chair"), ("blue", "car"), ("green", "tree"), ("yellow", "table")]
    captions = {}
    for k, (color, category) in enumerate(pairs):
        obj = procedural.build(procedural.Spec(category, color), np.random.default_rng(k))
        save_points(procedural.points(obj, 2048, np.random.default_rng(k)), tmp_path / f"made/{k}.ply")
        captions[f"{k}.ply"] = f"a {color} {category}"
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    result = judged(tmp_path, tmp_path / "made", tmp_path / "made", "--looks", "--captions", tmp_path / "captions.json")
    assert result["r_precision"] == 1 and result["frechet"] == pytest.approx(0, abs=1e-4)
    assert "R-Precision 100.0% of 4 captions" in capsys.readouterr().out
    turned = dict(zip(captions, [*list(captions.values())[1:], "a red chair"], strict=True))
    (tmp_path / "captions.json").write_text(json.dumps(turned))
    result = judged(tmp_path, tmp_path / "made", reference, "--looks", "--captions", tmp_path / "captions.json")
    assert result["r_precision"] == 0 and result["frechet"] > 0.1  # grey balls
    (tmp_path / "captions.json").write_text("{}")
    with pytest.raises(ValueError, match=r"none for 0.ply; add it"):
        judged(tmp_path, tmp_path / "made", tmp_path / "made", "--captions", tmp_path / "captions.json")
