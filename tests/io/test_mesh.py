"""Mesh and point files: round trips, what an independent reader sees, and what bad input gets."""

import json
import struct

import numpy as np
import pytest
import trimesh

from jax3d.io.mesh import load_mesh, save_mesh
from jax3d.io.points import load_points, save_points
from jax3d.io.srgb import decode_srgb, encode_srgb
from jax3d.types import Mesh, Points

SUFFIXES = (".glb", ".ply", ".obj")


@pytest.fixture
def mesh() -> Mesh:
    """An ellipsoid off the origin, a different half-axis and offset along each axis, every colour another."""
    ball = trimesh.creation.icosphere(subdivisions=2)
    vertices = (ball.vertices * [0.9, 0.5, 0.3] + [0.05, -0.1, 0.4]).astype(np.float32)
    colors = np.random.default_rng(0).uniform(size=vertices.shape).astype(np.float32)
    colors[:20] *= 0.05  # dark tones, where 8 bits of linear light are too few
    return Mesh(vertices, np.asarray(ball.faces, np.int32), colors)


def volume(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, i]].astype(np.float64) for i in range(3))
    return float(np.sum(a * np.cross(b, c)) / 6)


def gltf_accessors(path) -> dict[str, tuple[dict, np.ndarray]]:
    """The attributes of the only primitive of a GLB, read by the letter of the glTF 2.0 specification."""
    data = path.read_bytes()
    magic, version, length, json_length, _ = struct.unpack("<4sIII4s", data[:20])
    assert (magic, version, length) == (b"glTF", 2, len(data))
    tree = json.loads(data[20 : 20 + json_length])
    binary = data[28 + json_length :]
    found = {}
    for name, index in tree["meshes"][0]["primitives"][0]["attributes"].items():
        accessor = tree["accessors"][index]
        assert accessor["componentType"] == 5126  # float32
        size = {"VEC2": 2, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        start = tree["bufferViews"][accessor["bufferView"]]["byteOffset"] + accessor.get("byteOffset", 0)
        values = np.frombuffer(binary, "<f4", size * accessor["count"], start).reshape(-1, size)
        found[name] = accessor, values
    return found


@pytest.fixture
def textured(mesh) -> Mesh:
    """The same with a texture of four colours and a normal map."""
    uv = np.random.default_rng(1).uniform(0.05, 0.95, (len(mesh.vertices), 2)).astype(np.float32)
    texture = np.zeros((8, 8, 3), np.float32)
    texture[:4, :4], texture[:4, 4:], texture[4:, 4:] = np.float32([51, 102, 153]) / 255, 1.0, 0.2
    normal_map = np.broadcast_to(np.float32([0.6, 0, 0.8]), (8, 8, 3))
    return mesh._replace(uv=uv, texture=texture, normal_map=normal_map)


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_a_texture_goes_with_the_mesh(textured, tmp_path, suffix):
    path = tmp_path / f"thing{suffix}"
    save_mesh(textured, path)
    (part,) = trimesh.load_scene(path, process=False).geometry.values()
    turned = part.vertices[:, [2, 0, 1]] if suffix == ".glb" else part.vertices
    corners = np.concatenate([turned, part.visual.uv], axis=-1)[part.faces]
    wanted = np.concatenate([textured.vertices, textured.uv], axis=-1)[textured.faces]
    np.testing.assert_allclose(corners, wanted, atol=1e-5)
    material = part.visual.material
    image = material.baseColorTexture if suffix == ".glb" else material.image
    np.testing.assert_array_equal(np.asarray(image)[..., :3], np.round(255 * textured.texture))
    colors = load_mesh(path).colors  # at the vertices
    assert len(np.unique(colors.round(3), axis=0)) == 4
    if suffix == ".obj":
        assert {file.name.split(".")[-1] for file in tmp_path.iterdir()} == {"obj", "mtl", "png"}
        assert all(file.name.startswith("thing") for file in tmp_path.iterdir())


def test_a_normal_map_comes_with_tangents(textured, tmp_path):
    save_mesh(textured, tmp_path / "mesh.glb")
    found = gltf_accessors(tmp_path / "mesh.glb")
    assert "COLOR_0" not in found  # it would be multiplied into the texture
    tangent, normal = found["TANGENT"][1], found["NORMAL"][1]
    assert np.abs(np.sum(tangent[:, :3] * normal, axis=-1)).max() < 1e-5 and set(tangent[:, 3]) <= {-1, 1}
    (part,) = trimesh.load_scene(tmp_path / "mesh.glb", process=False).geometry.values()
    np.testing.assert_allclose(np.asarray(part.visual.material.normalTexture)[0, 0, :3], [204, 128, 230], atol=1)
    assert (part.visual.material.metallicFactor, part.visual.material.roughnessFactor) == (0, 1)


def test_a_texture_needs_places_for_the_vertices(textured, tmp_path):
    with pytest.raises(ValueError, match=r"a texture needs uv \[162, 2\]"):
        save_mesh(textured._replace(uv=None), tmp_path / "mesh.glb")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(mesh, tmp_path, suffix):
    save_mesh(mesh, tmp_path / f"new/folder/mesh{suffix}")
    again = load_mesh(tmp_path / f"new/folder/mesh{suffix}")
    np.testing.assert_allclose(again.vertices, mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(again.faces, mesh.faces)
    np.testing.assert_allclose(again.colors, mesh.colors, atol=0.5 / 255 + 1e-5)
    gradient = (mesh.vertices - [0.05, -0.1, 0.4]) / np.square([0.9, 0.5, 0.3])  # of the ellipsoid's equation
    exact = gradient / np.linalg.norm(gradient, axis=-1, keepdims=True)
    assert np.sum(again.normals * exact, axis=-1).min() > np.cos(np.radians(12))
    assert volume(again) == pytest.approx(volume(mesh), rel=1e-5) and volume(again) > 0
    assert [entry.name for entry in (tmp_path / "new/folder").iterdir()] == [f"mesh{suffix}"]  # no temporary is left


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_given_normals_are_kept(mesh, tmp_path, suffix):
    tilted = np.random.default_rng(1).normal(size=mesh.vertices.shape)
    tilted /= np.linalg.norm(tilted, axis=-1, keepdims=True)
    save_mesh(mesh._replace(normals=tilted, colors=None), tmp_path / f"mesh{suffix}")
    again = load_mesh(tmp_path / f"mesh{suffix}")
    np.testing.assert_allclose(again.normals, tilted, atol=1e-6)
    assert again.colors is None


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_another_reader_sees_the_solid(mesh, tmp_path, suffix):
    save_mesh(mesh, tmp_path / f"mesh{suffix}")
    seen = trimesh.load(tmp_path / f"mesh{suffix}", force="mesh")
    assert seen.is_watertight and seen.volume == pytest.approx(volume(mesh), rel=1e-4)
    half_axes = [0.5, 0.3, 0.9] if suffix == ".glb" else [0.9, 0.5, 0.3]
    np.testing.assert_allclose(seen.extents, 2 * np.array(half_axes), rtol=1e-2)
    expected = decode_srgb(mesh.colors) if suffix == ".glb" else mesh.colors
    np.testing.assert_allclose(seen.visual.vertex_colors[:, :3] / 255, expected, atol=0.5 / 255 + 1e-5)


def test_gltf_is_y_up_faces_z_and_linear(mesh, tmp_path):
    save_mesh(mesh, tmp_path / "mesh.glb")
    attributes = gltf_accessors(tmp_path / "mesh.glb")
    front, left, up = mesh.vertices.T
    accessor, positions = attributes["POSITION"]
    np.testing.assert_array_equal(positions, np.stack([left, up, front], axis=-1))
    np.testing.assert_allclose(accessor["max"], positions.max(0))  # required by the specification
    np.testing.assert_allclose(attributes["COLOR_0"][1], decode_srgb(mesh.colors.astype(np.float64)), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(attributes["NORMAL"][1], axis=-1), 1, atol=1e-6)


def test_srgb_is_the_standard():
    np.testing.assert_allclose(decode_srgb(np.array([0.0, 0.5, 1.0])), [0, 0.21404114, 1], atol=1e-7)
    values = np.linspace(0, 1, 1001)
    np.testing.assert_allclose(encode_srgb(decode_srgb(values)), values, atol=1e-6)
    assert np.all(np.diff(decode_srgb(values)) > 0)


def test_unused_vertices_get_unit_normals(tmp_path):
    lone = Mesh(np.eye(4, 3, dtype=np.float32), np.array([[0, 1, 2]], np.int32))
    save_mesh(lone, tmp_path / "mesh.glb")
    np.testing.assert_allclose(np.linalg.norm(load_mesh(tmp_path / "mesh.glb").normals, axis=-1), 1, atol=1e-6)


def test_nodes_of_a_scene_are_placed_and_mirrors_mended(tmp_path):
    scene = trimesh.Scene()
    box = trimesh.creation.box(extents=[1, 2, 3])
    scene.add_geometry(box, transform=trimesh.transformations.translation_matrix([10, 0, 0]))
    scene.add_geometry(box, transform=np.diag([-1.0, 1, 1, 1]))
    scene.export(tmp_path / "scene.glb")
    read = load_mesh(tmp_path / "scene.glb")
    assert len(read.faces) == 24 and volume(read) == pytest.approx(12)
    np.testing.assert_allclose(read.vertices.min(0), [-1.5, -0.5, -1])  # (z, x, y) of the glTF frame
    np.testing.assert_allclose(read.vertices.max(0), [1.5, 10.5, 1])


def test_byte_and_short_colors_are_linear_light(mesh, tmp_path):
    trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=mesh.colors, process=False).export(tmp_path / "bytes.glb")
    filed = np.round(255 * mesh.colors.astype(np.float64)) / 255
    np.testing.assert_allclose(load_mesh(tmp_path / "bytes.glb").colors, encode_srgb(filed), atol=0.51 / 255)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truncated_file(mesh, tmp_path, suffix):
    path = tmp_path / f"mesh{suffix}"
    save_mesh(mesh, path)
    path.write_bytes(path.read_bytes()[: 2000 if suffix == ".obj" else path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"mesh\.\w+ (cannot be read|holds no triangles)"):
        load_mesh(path)


def test_bad_input(mesh, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "mesh.ply").write_text("")
    with pytest.raises(ValueError, match="choose a folder"):
        save_mesh(mesh, tmp_path / "file/mesh.glb")
    with pytest.raises(ValueError, match=r"written as .glb, .ply or .obj, not .step"):
        save_mesh(mesh, tmp_path / "mesh.step")
    with pytest.raises(ValueError, match="finite"):
        save_mesh(mesh._replace(vertices=mesh.vertices * np.nan), tmp_path / "mesh.glb")
    with pytest.raises(ValueError, match="faces must index 162 vertices"):
        save_mesh(mesh._replace(faces=mesh.faces + 1), tmp_path / "mesh.glb")
    with pytest.raises(ValueError, match="vertices .v, 3. and faces"):
        save_mesh(mesh._replace(faces=np.zeros((0, 3), np.int32)), tmp_path / "mesh.glb")
    with pytest.raises(ValueError, match="colors must be"):
        save_mesh(mesh._replace(colors=mesh.colors[1:]), tmp_path / "mesh.glb")
    with pytest.raises(ValueError, match="is not there"):
        load_mesh(tmp_path / "none.glb")
    with pytest.raises(ValueError, match="meshes are read from"):
        load_mesh(tmp_path / "file")
    with pytest.raises(ValueError, match="cannot be read as a .ply mesh"):
        load_mesh(tmp_path / "mesh.ply")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "mesh.ply"]


def test_a_failed_write_keeps_the_old_file(mesh, tmp_path, monkeypatch):
    save_mesh(mesh, tmp_path / "mesh.glb")
    before = (tmp_path / "mesh.glb").read_bytes()
    monkeypatch.setattr("pathlib.Path.write_bytes", lambda self, data: (_ for _ in ()).throw(OSError(28, "No space")))
    with pytest.raises(ValueError, match="No space"):
        save_mesh(mesh._replace(vertices=2 * mesh.vertices), tmp_path / "mesh.glb")
    assert (tmp_path / "mesh.glb").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_points_round_trip(mesh, tmp_path):
    positions = mesh.vertices
    normals = positions / np.linalg.norm(positions, axis=-1, keepdims=True)
    save_points(Points(positions, mesh.colors, normals), tmp_path / "points.ply")
    again = load_points(tmp_path / "points.ply")
    np.testing.assert_array_equal(again.positions, positions)
    np.testing.assert_array_equal(again.normals, normals)
    np.testing.assert_allclose(again.colors, mesh.colors, atol=0.5 / 255 + 1e-6)
    seen = trimesh.load(tmp_path / "points.ply")
    np.testing.assert_array_equal(seen.vertices.astype(np.float32), positions)
    save_points(Points(positions), tmp_path / "bare.ply")
    assert load_points(tmp_path / "bare.ply")[1:] == (None, None)
    with pytest.raises(ValueError, match="load_points"):
        load_mesh(tmp_path / "points.ply")


def test_points_from_ascii_and_bad_points(tmp_path):
    head = "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    (tmp_path / "ascii.ply").write_text(head + "1 2 3\n4 5 6\n")
    np.testing.assert_array_equal(load_points(tmp_path / "ascii.ply").positions, [[1, 2, 3], [4, 5, 6]])
    save_points(Points(np.zeros((9, 3), np.float32)), tmp_path / "cut.ply")
    (tmp_path / "cut.ply").write_bytes((tmp_path / "cut.ply").read_bytes()[:-20])
    for path in ("cut.ply", "none.ply"):
        with pytest.raises(ValueError, match=path):
            load_points(tmp_path / path)
    with pytest.raises(ValueError, match="written as .ply"):
        save_points(Points(np.zeros((9, 3), np.float32)), tmp_path / "points.obj")
    with pytest.raises(ValueError, match="finite"):
        save_points(Points(np.full((9, 3), np.nan, np.float32)), tmp_path / "points.ply")


def test_real_meshes_load(shared):
    table = [line.split("\t") for line in (shared / "data/MESHES.tsv").read_text().splitlines()]
    rows = [dict(zip(table[0], row, strict=False)) for row in table[1:]]
    rows = [row for row in rows if row["file"].startswith("meshes/general")]
    assert len(rows) > 20
    for row in rows:
        mesh = load_mesh(shared / "data" / row["file"])
        assert len(mesh.faces) == int(row["faces"]), row["file"]
        extents = np.sort(np.ptp(mesh.vertices, axis=0))
        np.testing.assert_allclose(extents, np.sort([float(row[f"extent_{a}"]) for a in "xyz"]), atol=6e-4)
        if row["volume"]:
            assert volume(mesh) == pytest.approx(float(row["volume"]), rel=1e-3), row["file"]
