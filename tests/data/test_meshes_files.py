"""Mesh files with their materials and textures, whole and broken, and what they may make us read."""

import json
import struct

import numpy as np
import pytest
import trimesh
from PIL import Image

from jax3d.data.meshes import read_surface
from jax3d.data.meshes.surface import Companions
from jax3d.io.mesh import save_mesh
from jax3d.types import Mesh

BALL = trimesh.creation.icosphere(1)
SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
PIXELS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], np.uint8)


@pytest.fixture
def textured(tmp_path):
    """A textured square beside an untextured triangle, in a folder below the test's own."""
    folder = tmp_path / "models"
    folder.mkdir()
    Image.fromarray(PIXELS).save(folder / "picture.png")
    (folder / "paint.mtl").write_text("newmtl a\nKd 0.2 0.4 0.6\nnewmtl b\nKd 1 1 1\nmap_Kd picture.png\n")
    faces = "usemtl b\nf 1/1 2/2 3/3 4/4\nusemtl a\nf 1/1 2/2 3/3\n"
    (folder / "square.obj").write_text(f"mtllib paint.mtl\n{SQUARE}{faces}")
    return folder / "square.obj"


def read(path):
    companions = Companions(path.parent)
    return read_surface(path, companions), companions.digests


def test_materials_and_textures_of_an_obj(textured):
    surface, digests = read(textured)
    assert set(digests) == {"paint.mtl", "picture.png"} and all(digests.values())
    assert sorted(surface.texture) == [-1, 0, 0] and len(surface.textures) == 1
    np.testing.assert_array_equal(surface.textures[0], PIXELS)
    plain, painted = surface.texture < 0, surface.texture == 0
    np.testing.assert_allclose(surface.colors[plain], np.broadcast_to([0.2, 0.4, 0.6], (1, 3, 3)), atol=1 / 255)
    corners = surface.vertices[surface.faces][painted]
    np.testing.assert_allclose(surface.uv[painted], corners[..., :2], atol=1e-6)


@pytest.mark.parametrize("suffix", [".obj", ".glb", ".ply", ".stl", ".off"])
def test_every_format_gives_the_same_triangles(suffix, tmp_path):
    path = tmp_path / f"ball{suffix.upper() if suffix == '.stl' else suffix}"
    BALL.export(path, file_type=suffix[1:])
    surface, _ = read(path)
    found = surface.vertices[surface.faces]
    assert found.shape == BALL.triangles.shape
    np.testing.assert_allclose(np.sort(found.mean(1), 0), np.sort(BALL.triangles_center, 0), atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(found).sum() / 6, BALL.volume, rtol=1e-5)
    assert np.all(surface.colors == 1)


@pytest.mark.parametrize("suffix", [".obj", ".glb", ".ply"])
def test_vertex_colours_come_back_dark_ones_too(suffix, tmp_path):
    colors = np.linspace(0.03, 0.97, len(BALL.vertices) * 3).reshape(-1, 3)
    save_mesh(
        Mesh(np.asarray(BALL.vertices, np.float32), np.asarray(BALL.faces, np.int32), colors), tmp_path / f"a{suffix}"
    )
    surface, _ = read(tmp_path / f"a{suffix}")
    turned = surface.vertices[..., [2, 0, 1]] if suffix == ".glb" else surface.vertices
    where = turned[surface.faces].reshape(-1, 3)
    nearest = np.linalg.norm(where[:, None] - BALL.vertices, axis=-1).argmin(-1)
    np.testing.assert_allclose(surface.colors.reshape(-1, 3), colors[nearest], atol=1 / 254)


def test_colours_of_faces_and_parts_that_are_moved_and_mirrored(tmp_path):
    painted = BALL.copy()
    painted.visual.face_colors = np.c_[np.arange(240).reshape(80, 3), np.full(80, 255)].astype(np.uint8)
    painted.export(tmp_path / "faces.ply")
    surface, _ = read(tmp_path / "faces.ply")
    np.testing.assert_allclose(surface.colors, np.repeat(np.arange(240).reshape(80, 1, 3) / 255, 3, axis=1), atol=1e-6)
    scene = trimesh.Scene(BALL)
    mirror = np.diag([-2.0, 2, 2, 1])
    mirror[:3, 3] = [5, 0, 0]
    scene.add_geometry(BALL, transform=mirror)
    scene.export(tmp_path / "scene.glb")
    surface, _ = read(tmp_path / "scene.glb")
    corners = surface.vertices[surface.faces]
    np.testing.assert_allclose(np.linalg.det(corners).sum() / 6, 9 * BALL.volume, rtol=1e-5)
    np.testing.assert_allclose([corners[..., 0].min(), corners[..., 0].max()], [-1, 7], atol=1e-5)


def test_a_glb_keeps_its_texture_and_names_one_that_lies_beside_it(tmp_path):
    visual = trimesh.visual.TextureVisuals(
        uv=[[0, 0], [1, 0], [1, 1], [0, 1]],
        material=trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(PIXELS)),
    )
    square = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]], visual=visual)
    square.export(tmp_path / "square.glb")
    surface, digests = read(tmp_path / "square.glb")
    np.testing.assert_array_equal(surface.textures[0], PIXELS)
    np.testing.assert_allclose(surface.uv, surface.vertices[surface.faces][..., :2], atol=1e-6)
    assert digests == {}
    outside = (tmp_path / "square.glb").read_bytes()
    length = struct.unpack("<I", outside[12:16])[0]
    tree = json.loads(outside[20 : 20 + length])
    tree["images"] = [{"uri": "beside.png"}]
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    rest = outside[20 + length :]
    header = b"glTF" + struct.pack("<II", 2, 20 + len(text) + len(rest)) + struct.pack("<I", len(text)) + b"JSON"
    (tmp_path / "square.glb").write_bytes(header + text + rest)
    Image.fromarray(PIXELS[::-1]).save(tmp_path / "beside.png")
    surface, digests = read(tmp_path / "square.glb")
    np.testing.assert_array_equal(surface.textures[0], PIXELS[::-1])
    assert list(digests) == ["beside.png"]


def test_a_missing_material_or_texture_is_told_and_the_shape_stays(textured):
    (textured.parent / "picture.png").unlink()
    surface, digests = read(textured)
    assert digests["picture.png"] == "" and digests["paint.mtl"] and len(surface.faces) == 3 and not surface.textures
    (textured.parent / "paint.mtl").unlink()
    surface, digests = read(textured)
    assert digests == {"paint.mtl": ""} and np.all(surface.colors == 1) and not surface.textures


@pytest.mark.parametrize("how", ["../secret", "absolute", "link", "in the texture", "windows"])
def test_nothing_outside_the_folder_is_read(how, textured, tmp_path):
    folder = textured.parent
    secret = tmp_path / "secret.mtl"
    secret.write_text("newmtl b\nKd 1 0 0\nmap_Kd picture.png\n")
    Image.fromarray(PIXELS).save(tmp_path / "secret.png")
    name = {"../secret": "../secret.mtl", "absolute": str(secret), "link": "link.mtl", "windows": "..\\secret.mtl"}
    if how == "link":
        (folder / "link.mtl").symlink_to(secret)
    if how == "in the texture":
        (folder / "paint.mtl").write_text("newmtl b\nKd 0 1 0\nmap_Kd ../secret.png\n")
    else:
        textured.write_text(textured.read_text().replace("paint.mtl", name[how]))
    surface, digests = read(textured)
    assert "" in digests.values() and not surface.textures
    assert not np.any(np.all(surface.colors == [1, 0, 0], axis=-1))


def test_the_artists_absolute_path_finds_the_file_in_the_folder(textured):
    textured.write_text(textured.read_text().replace("paint.mtl", "C:\\Users\\me\\paint.mtl"))
    surface, digests = read(textured)
    assert len(surface.textures) == 1 and all(digests.values())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("empty.obj", "", "holds no triangles|cannot be read"),
        ("empty.glb", "", "cannot be read"),
        ("empty.ply", "", "holds no triangles|cannot be read"),
        ("empty.stl", "", "holds no triangles|cannot be read"),
        ("empty.off", "", "holds no triangles|cannot be read"),
        ("points.obj", "v 0 0 0\nv 1 0 0\n", "holds no triangles"),
        ("nan.obj", "v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "no numbers|cannot be read"),
        ("infinite.off", "OFF\n3 1 0\n0 0 inf\n1 0 0\n0 1 0\n3 0 1 2\n", "no numbers"),
        ("beyond.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "without vertices|cannot be read"),
        ("text.ply", "this is no mesh", "cannot be read"),
        ("scene.fbx", "x", "meshes are read from"),
    ],
)
def test_broken_files_give_one_sentence(name, text, message, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_surface(tmp_path / name)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_limits(tmp_path):
    BALL.export(tmp_path / "ball.obj")
    with pytest.raises(ValueError, match="80 triangles, more than 79; decimate it or raise max_faces"):
        read_surface(tmp_path / "ball.obj", max_faces=79)
    with pytest.raises(ValueError, match="is not there"):
        read_surface(tmp_path / "other.obj")
