"""Posed pictures: one set of known cameras written in each format's own axes comes back as the same cameras.

The cameras are stated by the directions that they see to the right, down and forward, and what they see is worked out
from these alone.
"""

import dataclasses
import json
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from jax3d.data.posed_images import load
from jax3d.math import camera as cameras

COUNT, WIDTH, HEIGHT = 10, 24, 18
TARGET = np.array([0.3, -0.2, 0.5])
PLAIN = {"fx": 30.0, "fy": 30.0, "cx": 12.0, "cy": 9.0}
SKEWED = {"fx": 30.0, "fy": 27.0, "cx": 13.5, "cy": 8.0}
POINTS = TARGET + np.random.default_rng(1).uniform(-0.8, 0.8, (7, 3))
NAMES = [f"{k:02d}.png" for k in np.random.default_rng(2).permutation(COUNT)]
project = jax.jit(cameras.project)


def known() -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Right, down, forward and position of cameras around the target, tilted to both sides, above and below it."""
    found = []
    for k in range(COUNT):
        angle, tilt = 0.5 * k, 0.2 * (-1) ** k
        position = TARGET + 4 * np.array([np.cos(angle), np.sin(angle), 0.15 * k - 0.4])
        forward = (TARGET - position) / np.linalg.norm(TARGET - position)
        level = np.cross(forward, [0, 0, 1]) / np.linalg.norm(np.cross(forward, [0, 0, 1]))
        down = np.cos(tilt) * np.cross(forward, level) + np.sin(tilt) * level
        found.append((np.cross(down, forward), down, forward, position))
    return found


KNOWN = known()


def seen(k: int, lens: dict) -> np.ndarray:
    """u, v and depth of the points in picture k."""
    right, down, forward, position = KNOWN[k]
    rows = []
    for point in POINTS:
        x, y, z = (np.dot(axis, point - position) for axis in (right, down, forward))
        rows.append([(lens["fx"] * x / z + lens["cx"]) / WIDTH, (lens["fy"] * y / z + lens["cy"]) / HEIGHT, z])
    return np.array(rows)


def write_pictures(folder: Path, factor: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(NAMES):
        Image.new("RGB", (WIDTH // factor, HEIGHT // factor), (20 * k, 7, factor)).save(folder / name)


def opengl(k: int) -> list:
    right, down, forward, position = KNOWN[k]
    return np.vstack([np.stack([right, -down, -forward, position], 1), [0, 0, 0, 1]]).tolist()


def write_nerf(folder: Path, lens: dict = PLAIN) -> None:
    write_pictures(folder / "train")
    angle = 2 * np.arctan(WIDTH / 2 / lens["fx"])
    frames = [{"file_path": f"./train/{NAMES[k][:-4]}", "transform_matrix": opengl(k)} for k in range(COUNT)]
    for split, part in {"train": frames[:6], "val": frames[6:7], "test": frames[7:]}.items():
        text = json.dumps({"camera_angle_x": angle, "frames": part})
        (folder / f"transforms_{split}.json").write_text(text)


def write_ngp(folder: Path, lens: dict = SKEWED, **more) -> None:
    write_pictures(folder / "images")
    frames = [{"file_path": f"images\\{NAMES[k]}", "transform_matrix": opengl(k)} for k in range(COUNT)]
    top = {"fl_x": lens["fx"], "fl_y": lens["fy"], "cx": 1.0, "cy": lens["cy"], "w": float(WIDTH), "h": HEIGHT}
    for frame in frames:
        frame["cx"] = lens["cx"]  # a frame's own number goes before the file's
    (folder / "transforms.json").write_text(json.dumps({**top, "frames": frames, **more}))


def write_llff(folder: Path, lens: dict = PLAIN) -> np.ndarray:
    write_pictures(folder / "images")
    rows = np.empty((COUNT, 17))
    for row, k in enumerate(np.argsort(NAMES)):
        right, down, forward, position = KNOWN[k]
        matrix = np.stack([down, right, -forward, position, [HEIGHT, WIDTH, lens["fx"]]], axis=1)
        rows[row] = [*matrix.ravel(), 2 + 0.1 * k, 9 + k]
    np.save(folder / "poses_bounds.npy", rows)
    return rows


def write_colmap(folder: Path, lens: dict = SKEWED, place: str = "sparse/0", model: str = "PINHOLE") -> None:
    write_pictures(folder / "images")
    (folder / place).mkdir(parents=True, exist_ok=True)
    numbers = " ".join(str(value) for value in lens.values())
    cameras = ["# comment", f"3 {model} {WIDTH} {HEIGHT} {numbers}", "7 SIMPLE_PINHOLE 24 18 9 9 9"]
    images = ["# comment"]
    for k, (right, down, forward, position) in enumerate(KNOWN):
        rotation = np.stack([right, down, forward])
        x, y, z, w = Rotation.from_matrix(rotation).as_quat()
        pose = " ".join(f"{value:.12f}" for value in (w, x, y, z, *(-rotation @ position)))
        images += [f"{k + 5} {pose} 3 {NAMES[k]}", "3.5 4.5 -1 7.0 8.0 4" if k % 2 else ""]
    points = [f"{k} {x} {y} {z} 255 0 0 0.5 1 2" for k, (x, y, z) in enumerate(POINTS)]
    for name, lines in {"cameras": cameras, "images": images, "points3D": points}.items():
        (folder / place / f"{name}.txt").write_text("\n".join(lines) + "\n")


WRITERS = {
    "nerf": (write_nerf, PLAIN, False),
    "ngp": (write_ngp, SKEWED, False),
    "llff": (write_llff, PLAIN, True),
    "colmap": (write_colmap, SKEWED, True),
}


def assert_known(data, lens: dict) -> None:
    """Each picture has its own colour, and its camera sees the points where, and as far, as the known one does."""
    uv, depth = project(data.camera, jnp.asarray(data.similarity.to_ours(POINTS), jnp.float32)[None])
    for row, name in enumerate(data.names):
        k = NAMES.index(Path(name).name)
        np.testing.assert_array_equal(data.rgba[row, 0, 0], [20 * k, 7, 1, 255])
        truth = seen(k, lens)
        np.testing.assert_allclose(uv[row], truth[:, :2], atol=2e-5)
        np.testing.assert_allclose(depth[row], data.similarity.scale * truth[:, 2], rtol=1e-5)


@pytest.mark.parametrize("kind", WRITERS)
def test_known_cameras_come_back(kind, tmp_path):
    write, lens, unbounded = WRITERS[kind]
    write(tmp_path)
    data = load(tmp_path, "all")
    assert data.rgba.shape == (COUNT, HEIGHT, WIDTH, 4) and data.rgba.dtype == np.uint8
    assert data.unbounded == unbounded and len(set(data.names)) == COUNT
    assert_known(data, lens)
    np.testing.assert_allclose(data.similarity.to_file(data.similarity.to_ours(POINTS)), POINTS, atol=1e-12)
    rotation = np.asarray(data.camera.world_from_camera[:, :3, :3])
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-5)
    larger = load(tmp_path, "all", scene_scale=3.0)
    assert_known(larger, lens)
    np.testing.assert_allclose(
        larger.camera.position / 3, data.camera.position / data.similarity.scale, atol=1e-5
    )  # the same point stays at the origin


def test_worlds(tmp_path):
    write_nerf(tmp_path / "nerf")
    np.testing.assert_allclose(load(tmp_path / "nerf").similarity.to_ours(POINTS), 0.66 * POINTS, atol=1e-12)
    write_ngp(tmp_path / "ngp", scale=0.25, offset=[0.5, 0.75, 0.25], aabb_scale=4)
    data = load(tmp_path / "ngp")
    np.testing.assert_allclose(data.similarity.to_ours(POINTS), 0.5 * POINTS + [0, 0.5, -0.5], atol=1e-12)
    assert data.unbounded
    write_ngp(tmp_path / "ngp", aabb=[[-1, 0, 0], [3, 2, 2]])
    box = load(tmp_path / "ngp").similarity.to_ours(np.array([[-1.0, 0, 0], [3, 2, 2]]))
    np.testing.assert_allclose(box, [[-1, -0.5, -0.5], [1, 0.5, 0.5]], atol=1e-12)


def test_world_of_llff(tmp_path):
    """NeRF's loader: the mean camera is the origin and looks along -x, upright; the nearest depth becomes 4/3."""
    rows = write_llff(tmp_path)
    data = load(tmp_path, "all")
    pose = np.asarray(data.camera.world_from_camera)
    np.testing.assert_allclose(pose[:, :3, 3].mean(0), 0, atol=1e-5)
    forward, up = pose[:, :3, 2].sum(0), -pose[:, :3, 1].sum(0)
    np.testing.assert_allclose(forward / np.linalg.norm(forward), [-1, 0, 0], atol=1e-5)
    np.testing.assert_allclose(up[1], 0, atol=1e-5)
    assert up[2] > 0
    np.testing.assert_allclose(data.bounds, rows[:, 15:] / (0.75 * 2), rtol=1e-6)
    np.testing.assert_array_equal(load(tmp_path, "test").bounds, data.bounds[::8])


def test_world_of_colmap(tmp_path):
    """Up is z, the first picture is the front, the origin is what they look at, and 1 is how far they stand from it."""
    write_colmap(tmp_path)
    data = load(tmp_path, "all")
    pose = np.asarray(data.camera.world_from_camera)
    up = -pose[:, :3, 1].sum(0)
    np.testing.assert_allclose(up / np.linalg.norm(up), [0, 0, 1], atol=1e-5)
    np.testing.assert_allclose(data.similarity.to_ours(TARGET), 0, atol=5e-3)
    assert pose[0, 0, 3] > 0 and abs(pose[0, 1, 3]) < 5e-3
    np.testing.assert_allclose(np.linalg.norm(pose[:, :3, 3], axis=-1).mean(), 1, atol=1e-5)
    far = [f"{k} {50 * x} {50 * y} {50 * z} 0 0 0" for k, (x, y, z) in enumerate(POINTS)]
    (tmp_path / "sparse/0/points3D.txt").write_text("\n".join(far))
    room = load(tmp_path, "all").similarity  # a room around the cameras: its nearest points are at 1
    nearest = np.linalg.norm(room.to_ours(50 * POINTS), axis=-1).min()
    np.testing.assert_allclose(nearest, 1, atol=0.1)


def test_colmap_models_and_places(tmp_path):
    f = {"f": 30.0, "cx": 13.5, "cy": 8.0}
    lenses = {
        "SIMPLE_PINHOLE": f,
        "SIMPLE_RADIAL": {**f, "k1": 0.0},
        "RADIAL": {**f, "k1": 0.0, "k2": 0.0},
        "OPENCV": {**SKEWED, "k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0},
    }
    places = ("sparse", "colmap_text", ".", "sparse/0")
    for (model, lens), place in zip(lenses.items(), places, strict=True):
        write_colmap(tmp_path / model, lens, place, model)
        assert_known(load(tmp_path / model, "all"), {"fx": 30.0, "fy": 30.0, **lens})


def test_splits(tmp_path):
    write_nerf(tmp_path / "nerf")
    parts = {split: load(tmp_path / "nerf", split).names for split in ("train", "val", "test")}
    assert [len(part) for part in parts.values()] == [6, 1, 3]
    assert sum(parts.values(), ()) == load(tmp_path / "nerf", "all").names == tuple(f"train/{name}" for name in NAMES)
    for kind in ("ngp", "llff", "colmap"):
        WRITERS[kind][0](tmp_path / kind)
        names = sorted(f"images/{name}" for name in NAMES)
        assert load(tmp_path / kind, "all").names == tuple(names)
        assert load(tmp_path / kind, "test").names == load(tmp_path / kind, "val").names == (names[0], names[8])
        assert load(tmp_path / kind).names == tuple(names[1:8] + names[9:])


def test_shrunk_folders(tmp_path):
    """images_2/ serves for downscale 2; without it (or its names) pictures are averaged. Cameras do not change."""
    for kind, lens in (("llff", PLAIN), ("colmap", SKEWED)):
        WRITERS[kind][0](tmp_path / kind)
        averaged = load(tmp_path / kind, "all", downscale=2)
        assert averaged.rgba.shape[1:3] == (HEIGHT // 2, WIDTH // 2)
        assert_known(averaged, lens)
        write_pictures(tmp_path / kind / "images_2", 2)
        shrunk = load(tmp_path / kind, "all", downscale=2)
        assert (shrunk.rgba[..., 2] == 2).all() and shrunk.names[0] == "images_2/00.png"
        np.testing.assert_array_equal(shrunk.camera.focal, averaged.camera.focal)
    (tmp_path / "colmap/images_2" / NAMES[0]).unlink()
    assert load(tmp_path / "colmap", "all", downscale=2).names[0] == "images/00.png"


def test_missing_pictures_of_real_captures_are_left_out(tmp_path):
    for kind in ("ngp", "colmap"):
        WRITERS[kind][0](tmp_path / kind)
        whole = load(tmp_path / kind, "all").similarity
        for name in NAMES[:3]:
            (tmp_path / kind / "images" / name).unlink()
        with pytest.warns(UserWarning, match="3 of 10 pictures are missing"):
            data = load(tmp_path / kind, "all")
        assert len(data.names) == 7
        np.testing.assert_array_equal(data.similarity.to_ours(POINTS), whole.to_ours(POINTS))


def edit(path: Path, change) -> None:
    top = json.loads(path.read_text())
    change(top)
    path.write_text(json.dumps(top))


def scaled(top):
    top["frames"][2]["transform_matrix"] = (1.1 * np.array(top["frames"][2]["transform_matrix"])).tolist()


def mirrored(top):
    top["frames"][2]["transform_matrix"][0] = [-value for value in top["frames"][2]["transform_matrix"][0]]


def holed(top):
    top["frames"][2]["transform_matrix"][1][3] = float("nan")


@pytest.mark.parametrize(
    "change, message",
    [
        (scaled, "determinant"),
        (mirrored, "determinant"),
        (holed, "finite"),
        (lambda top: top["frames"][0].update(transform_matrix=[[1, 2], [3]]), "rotation"),
        (lambda top: top["frames"][3].pop("transform_matrix"), "'transform_matrix', which frame 3"),
        (lambda top: top["frames"][0].pop("file_path"), "'file_path'"),
        (lambda top: top.pop("frames"), "'frames'"),
        (lambda top: [top.pop("fl_x"), top.pop("fl_y")], "fl_x"),
        (lambda top: [frame.update(camera_angle_x=40) for frame in top["frames"]], "radians"),
        (lambda top: top.update(fl_x="wide"), "'fl_x'"),
        (lambda top: top.update(fl_x=-3.0), "positive"),
        (lambda top: top.update(camera_model="OPENCV_FISHEYE"), "OPENCV_FISHEYE"),
        (lambda top: top.update(is_fisheye=True), "is_fisheye"),
        (lambda top: top.update(k4=0.1), "k4"),
        (lambda top: top.update(scale=0.0), "positive"),
        (lambda top: top.update(offset=[1, 2]), "'offset'"),
        (lambda top: top.update(w=25.0), "24 x 18 pixels, but its camera is for 25 x 18"),
        (lambda top: top.update(frames=[]), "holds none"),
    ],
)
def test_bad_transforms(change, message, tmp_path):
    write_ngp(tmp_path)
    edit(tmp_path / "transforms.json", change)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_bad_nerf_synthetic(tmp_path):
    write_nerf(tmp_path)
    (tmp_path / "train" / NAMES[3]).unlink()
    with pytest.raises(ValueError, match=NAMES[3][:2]):
        load(tmp_path)
    (tmp_path / "train" / NAMES[3]).write_text("no picture")
    with pytest.raises(ValueError, match=NAMES[3]):
        load(tmp_path)
    Image.new("RGB", (WIDTH, HEIGHT + 2)).save(tmp_path / "train" / NAMES[3])
    with pytest.raises(ValueError, match="one size"):
        load(tmp_path)
    path = tmp_path / "transforms_train.json"
    path.write_text(path.read_text()[:200])
    with pytest.raises(ValueError, match="cut short"):
        load(tmp_path)
    (tmp_path / "transforms_val.json").unlink()
    with pytest.raises(ValueError, match="no transforms_val.json"):
        load(tmp_path, "val")


def test_bad_llff(tmp_path):
    rows = write_llff(tmp_path)
    for bad, message in (
        (rows[:, :15], "17 floats"),
        (rows[:-1], "9 rows and .* 10 pictures"),
        (np.where(np.arange(17) == 15, -1.0, rows), "near < far"),
        (np.where(np.arange(17) == 3, np.nan, rows), "finite"),
        (rows[:, [1, 0, *range(2, 17)]], "determinant"),
    ):
        np.save(tmp_path / "poses_bounds.npy", bad)
        with pytest.raises(ValueError, match=message):
            load(tmp_path)
    (tmp_path / "poses_bounds.npy").write_text("numbers")
    with pytest.raises(ValueError, match="no NumPy array"):
        load(tmp_path)
    np.save(tmp_path / "poses_bounds.npy", rows)
    (tmp_path / "images").rename(tmp_path / "images_4")
    with pytest.raises(ValueError, match=r"0 pictures.*images_4"):
        load(tmp_path)


def test_bad_colmap(tmp_path):
    write_colmap(tmp_path)
    model = tmp_path / "sparse/0"
    texts = {name: (model / name).read_text() for name in ("cameras.txt", "images.txt", "points3D.txt")}
    for name, bad, message in (
        ("cameras.txt", texts["cameras.txt"].replace("PINHOLE", "OPENCV_FISHEYE", 1), "image_undistorter"),
        ("cameras.txt", texts["cameras.txt"].replace("30.0", "thirty"), "fx fy cx cy"),
        ("cameras.txt", texts["cameras.txt"].replace("30.0 ", ""), "fx fy cx cy"),
        ("cameras.txt", "3\n", "(none)"),
        ("images.txt", texts["images.txt"].replace(" 3 ", " 4 "), "two lines a picture"),
        ("images.txt", texts["images.txt"].replace("\n\n", "\n"), "two lines a picture"),
        ("images.txt", "5 0 0 0 0 1 2 3 3 00.png\n\n", "rotation"),
        ("images.txt", "# none\n", "no pictures"),
        ("points3D.txt", "1 2 x 3\n", "points3D"),
    ):
        (model / name).write_text(bad)
        with pytest.raises(ValueError, match=message):
            load(tmp_path)
        (model / name).write_text(texts[name])
    for name in NAMES:
        (tmp_path / "images" / name).unlink()
    with pytest.raises(ValueError, match="10 of 10 pictures are missing"):
        load(tmp_path)
    (model / "images.txt").rename(model / "images.bin")
    with pytest.raises(ValueError, match="model_converter"):
        load(tmp_path)


def test_bad_calls(tmp_path):
    with pytest.raises(ValueError, match="not there"):
        load(tmp_path / "none")
    with pytest.raises(ValueError, match=r"looked for transforms_train.json.*poses_bounds.npy.*images.txt"):
        load(tmp_path)
    write_ngp(tmp_path)
    with pytest.raises(ValueError, match="train, val, test, all"):
        load(tmp_path, "trian")
    with pytest.raises(ValueError, match="5 does not divide the 24 x 18"):
        load(tmp_path, downscale=5)
    with pytest.raises(ValueError, match="whole number"):
        load(tmp_path, downscale=0)
    with pytest.raises(ValueError, match="scene_scale"):
        load(tmp_path, scene_scale=-1.0)
    edit(tmp_path / "transforms.json", lambda top: top.update(frames=top["frames"][:1]))
    assert len(load(tmp_path, "test").names) == 1
    with pytest.raises(ValueError, match="'train' .* holds none"):
        load(tmp_path)


def hull(data, points: np.ndarray) -> np.ndarray:
    """Whether each point lies in front of each view and within its silhouette."""
    uv, depth = map(np.asarray, project(data.camera, jnp.asarray(points, jnp.float32)[None]))
    height, width = data.rgba.shape[1:3]
    column, row = np.floor(uv * [width, height]).astype(int).transpose(2, 0, 1)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width) & (depth > 0)
    view = np.arange(len(row))[:, None]
    return inside & (data.rgba[view, row.clip(0, height - 1), column.clip(0, width - 1), 3] > 0)


def test_real_silhouettes_agree(shared):
    """What is inside all silhouettes of a chair is inside those of unseen views; with any axis flipped it shrinks."""
    chair = shared / "data/nerf/derived_100px/chair_dev"
    test = load(chair, "test")
    axis = np.linspace(-0.95, 0.95, 32)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    right = hull(test, grid).all(0)
    assert 900 < right.sum() < 1100
    for flip in ([-1, -1, 1, 1], [-1, 1, -1, 1], [1, -1, -1, 1]):
        wrong = test.camera.replace(world_from_camera=test.camera.world_from_camera * jnp.array(flip, jnp.float32))
        assert hull(dataclasses.replace(test, camera=wrong), grid).all(0).sum() < 0.8 * right.sum()
    train = load(chair, "train")
    assert train.rgba.shape == (100, 100, 100, 4)
    kept = hull(train, grid).all(0)
    assert 800 < kept.sum() < right.sum() and hull(test, grid[kept]).mean() > 0.99


def test_downscale_of_real_pictures(shared):
    """The small chair is Pillow's 8-fold area average of the large one, at the same cameras."""
    large = load(shared / "data/nerf/blender_chair", "test", downscale=8)
    small = load(shared / "data/nerf/derived_100px/chair_dev", "test")
    rows = [small.names.index(name) for name in large.names]
    np.testing.assert_allclose(large.camera.world_from_camera, small.camera.world_from_camera[jnp.array(rows)])
    a, b = large.rgba.astype(float), small.rgba[rows].astype(float)
    a[..., :3] *= a[..., 3:] / 255
    b[..., :3] *= b[..., 3:] / 255
    assert np.abs(a - b).max() < 3 and len(rows) == 4


@pytest.mark.parametrize("scene", [0, 1])
def test_real_depths_agree(scene, shared, tmp_path):
    """Kubric's depth (along z) of one view lands on that of another, and the floor of all three is one plane."""
    source = shared / f"data/nerf/klevr/{scene}"
    meta = json.loads((source / "metadata.json").read_text())["camera"]
    frames = []
    for k, (position, (w, x, y, z)) in enumerate(zip(meta["positions"], meta["quaternions"], strict=True)):
        matrix = np.column_stack([Rotation.from_quat([x, y, z, w]).as_matrix(), position])  # Blender's axes
        frames.append({"file_path": str(source / f"rgba_{k:05d}.png"), "transform_matrix": matrix.tolist()})
    text = json.dumps({"camera_angle_x": meta["field_of_view"], "scale": 0.12, "frames": frames})
    (tmp_path / "transforms.json").write_text(text)
    data = load(tmp_path, "all")
    size, scale = data.rgba.shape[1], data.similarity.scale
    depths = [np.asarray(Image.open(source / f"depth_{k:05d}.tiff"), np.float64) for k in range(3)]
    pose, focal = np.asarray(data.camera.world_from_camera, np.float64), np.asarray(data.camera.focal)
    pixel = (np.arange(size) + 0.5) / size - 0.5
    for a, b in ((0, 1), (1, 2), (2, 0)):
        plane = np.stack(np.meshgrid(pixel, pixel), -1) / focal[a]
        ray = np.concatenate([plane, np.ones((size, size, 1))], -1)
        world = (scale * depths[a][..., None] * ray) @ pose[a, :3, :3].T + pose[a, :3, 3]
        world = world[depths[a] < 100]  # the sky is at 1e10
        floor = np.abs(data.similarity.to_file(world)[:, 2] - 0.01) < 1e-3
        assert floor.mean() > 0.5
        local = (world - pose[b, :3, 3]) @ pose[b, :3, :3]
        column, row = np.floor(size * (local[:, :2] / local[:, 2:] * focal[b] + 0.5)).astype(int).T
        inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
        found = depths[b][row[inside], column[inside]]
        agree = np.abs(local[inside, 2] / scale / found - 1) < 0.02
        assert inside.mean() > 0.8 and agree.mean() > 0.85


def test_no_warnings_where_nothing_is_wrong(tmp_path):
    write_colmap(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(tmp_path)
