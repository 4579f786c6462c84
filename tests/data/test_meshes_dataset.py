"""Folders of meshes and the procedural world as one kind of arrays: resumable, honest about what it leaves out."""

import numpy as np
import pytest
import trimesh

from jax3d.data.batches import shuffled
from jax3d.data.meshes import dataset, mesh_dataset, procedural_dataset
from jax3d.data.procedural import COLORS, HELD_OUT

SMALL = {"points": 64, "resolution": 16}
SHAPES = {
    "points": (64, 3),
    "colors": (64, 3),
    "normals": (64, 3),
    "sdf": (16, 16, 16),
    "scale": (),
    "centre": (3,),
    "rotation": (3, 3),
    "name": (),
    "caption": (),
    "brief": (),
}


@pytest.fixture
def folder(tmp_path):
    """Two good meshes and, below, one more."""
    (tmp_path / "meshes" / "more").mkdir(parents=True)
    trimesh.creation.box((1, 2, 3)).export(tmp_path / "meshes" / "tall_box.obj")
    trimesh.creation.icosphere(2).export(tmp_path / "meshes" / "ball.stl")
    trimesh.creation.cylinder(0.5, 2, sections=16).export(tmp_path / "meshes" / "more" / "Tube-2.glb")
    return tmp_path / "meshes"


@pytest.fixture
def load(folder, tmp_path):
    return lambda **options: mesh_dataset(folder, cache=tmp_path / "cache", **{**SMALL, **options})


def same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_arrays_names_and_captions(load):
    data = load(captions={"ball.stl": "a round ball"})
    assert {name: array.shape[1:] for name, array in data.items()} == SHAPES
    assert all(data[name].dtype == np.float32 for name in SHAPES if name not in ("name", "caption", "brief"))
    assert data["name"].tolist() == ["ball.stl", "more/Tube-2.glb", "tall_box.obj"]
    assert data["caption"].tolist() == ["a round ball", "Tube 2", "tall box"]
    assert data["brief"].tolist() == ["a round ball", "more", "tall box"]
    np.testing.assert_allclose(np.linalg.norm(data["points"], axis=-1).max(-1), 0.9, atol=0.1)
    np.testing.assert_allclose(np.linalg.norm(data["normals"], axis=-1), 1, atol=1e-5)
    file_points = data["points"][2] @ data["rotation"][2] / data["scale"][2] + data["centre"][2]
    np.testing.assert_allclose(np.abs(file_points / [0.5, 1, 1.5]).max(-1), 1, atol=1e-5)
    assert np.ptp(data["points"][1], axis=0).argmax() == 0  # a GLB's z is our x
    assert shuffled(data, 2, 0)(5)["sdf"].shape == (2, 16, 16, 16)


def test_it_resumes_and_makes_damaged_entries_again(load, tmp_path, monkeypatch):
    first = load()
    files = sorted((tmp_path / "cache").glob("*.npz"))
    assert len(files) == 3
    made = []
    convert = dataset.convert
    monkeypatch.setattr(dataset, "convert", lambda path, *rest: made.append(path.name) or convert(path, *rest))
    same(load(), first)
    assert made == []
    files[0].write_bytes(files[0].read_bytes()[:500])
    files[1].unlink()
    bits = bytearray(files[2].read_bytes())
    bits[len(bits) // 2] ^= 1
    files[2].write_bytes(bits)
    same(load(), first)
    assert len(made) == 3 and sorted((tmp_path / "cache").glob("*")) == files
    same(load(workers=1), first)
    assert len(made) == 3


def test_what_an_example_is_made_of_is_part_of_its_name(load, folder):
    first = load()
    assert np.any(load(seed=1)["points"] != first["points"])
    np.testing.assert_array_equal(load(truncation=0.2)["sdf"], np.clip(first["sdf"], -0.2, 0.2))
    np.testing.assert_allclose(load(inflate=0.05)["sdf"], first["sdf"] - 0.05, atol=1e-7)
    turned = load(up="y")
    np.testing.assert_allclose(turned["sdf"][2], np.transpose(first["sdf"][2], (2, 0, 1)), atol=1e-6)
    trimesh.creation.box((1, 2, 2)).export(folder / "tall_box.obj")
    changed = load()
    assert np.any(changed["sdf"][2] != first["sdf"][2])
    np.testing.assert_array_equal(changed["sdf"][:2], first["sdf"][:2])


def test_a_changed_material_is_seen(load, folder, capsys):
    obj = (folder / "tall_box.obj").read_text()
    (folder / "tall_box.obj").write_text("mtllib paint.mtl\nusemtl paint\n" + obj)
    assert np.all(load()["colors"] == 1)
    assert "tall_box.obj names files that its folder does not hold: paint.mtl" in capsys.readouterr().err
    for color in ("1 0 0", "0 0 1"):
        (folder / "paint.mtl").write_text(f"newmtl paint\nKd {color}\n")
        np.testing.assert_array_equal(load()["colors"][2], np.broadcast_to([*map(float, color.split())], (64, 3)))
    assert "paint.mtl" not in capsys.readouterr().err


def test_bad_files_are_named_with_the_reason_and_left_out(load, folder, capsys):
    trimesh.creation.icosphere(3).export(folder / "many.obj")
    (folder / "empty.obj").write_text("")
    (folder / "flat.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n")
    (folder / "sheet.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n")
    (folder / "nan.off").write_text("OFF\n3 1 0\n0 0 nan\n1 0 0\n0 1 0\n3 0 1 2\n")
    (folder / "scene.fbx").write_bytes(b"\0")
    (folder / "text.txt").write_text("no mesh, and not said to be one")
    assert len(load(max_faces=1000)["name"]) == 3
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if "left out" in line]
    for name, reason in {
        "many.obj": "1280 triangles, more than 1000",
        "empty.obj": "",
        "flat.off": "without any",
        "sheet.off": "open or thinner than a cell",
        "nan.off": "no numbers",
        "scene.fbx": "meshes are read from",
    }.items():
        assert sum(line.startswith(f"{name} is left out") and reason in line for line in lines) == 1, name
    assert len(lines) == 6
    assert "sheet.off" in load(inflate=0.1)["name"]


def test_an_error_of_any_kind_leaves_the_rest_standing(load, monkeypatch, capsys):
    convert = dataset.convert

    def stumble(path, *rest):
        if path.suffix == ".stl":
            raise MemoryError("too much")
        return convert(path, *rest)

    monkeypatch.setattr(dataset, "convert", stumble)
    assert load()["name"].tolist() == ["more/Tube-2.glb", "tall_box.obj"]
    assert "ball.stl is left out: MemoryError('too much')" in capsys.readouterr().err


def test_useless_folders_and_settings(load, folder, tmp_path):
    with pytest.raises(ValueError, match="holds no .obj"):
        mesh_dataset(tmp_path / "nowhere")
    for options in ({"points": 0}, {"truncation": 0.0}, {"truncation": np.nan}, {"inflate": -1.0}, {"resolution": 3}):
        with pytest.raises(ValueError, match="needs"):
            load(**options)
    with pytest.raises(ValueError, match="none of the 3 meshes.*can be used.*more than 3"):
        load(max_faces=3)


@pytest.mark.parametrize("held_out", [False, True])
def test_the_procedural_world_gives_the_same_arrays(held_out, tmp_path):
    def make(count, **options):
        return procedural_dataset(count, **SMALL, held_out=held_out, cache=tmp_path, **options)

    data = make(3)
    assert {name: array.shape[1:] for name, array in data.items()} == SHAPES
    assert [str(name)[-6:] for name in data["name"]] == ["000000", "000001", "000002"]
    for name, text, brief in zip(data["name"], data["caption"], data["brief"], strict=True):
        category = str(name).split("-")[0]
        assert any(brief == f"{article} {color} {category}" for article in ("a", "an") for color in COLORS)
        assert set(brief.split()[1:]) <= set(text.split())
        pairs = {(category, color) for color in COLORS if f"{color} {category}" in text}
        assert any((pair in HELD_OUT) == held_out for pair in pairs)
    for positions, values in zip(data["points"], data["sdf"], strict=True):
        nearest = np.round((positions + 1) * 7.5).astype(int)
        assert np.all(np.abs(values[tuple(nearest.T)]) <= np.sqrt(3) / 15 + 1e-3)  # distances change by at most the way
    next(tmp_path.rglob("*.npz")).write_bytes(b"broken")
    again = make(2, truncation=0.2)
    np.testing.assert_array_equal(again["sdf"], np.clip(data["sdf"][:2], -0.2, 0.2))
    np.testing.assert_array_equal(again["points"], data["points"][:2])
    with pytest.raises(ValueError, match="count and points >= 1"):
        make(0)
