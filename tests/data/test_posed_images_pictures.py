"""The pictures of a capture: kinds of pixels, orientation, shrinking, and a distorting lens made a pinhole."""

import json

import numpy as np
import pytest
from PIL import Image

from jax3d.data.posed_images import load
from jax3d.data.posed_images.scan import Lens
from jax3d.data.posed_images.undistort import distort, undistort


def load_one(folder, image: Image.Image, name: str = "a.png", downscale: int = 1, exif=None, **top) -> np.ndarray:
    """The bytes of the only picture of a capture."""
    image.save(folder / name, **({} if exif is None else {"exif": exif}))
    frame = {"file_path": name, "transform_matrix": np.eye(4).tolist()}
    (folder / "transforms.json").write_text(json.dumps({"camera_angle_x": 1.0, "frames": [frame], **top}))
    return load(folder, "test", downscale=downscale).rgba[0]


def test_kinds_of_pixels(tmp_path):
    grey = np.arange(35, dtype=np.uint8).reshape(5, 7) * 7
    opaque = np.stack([grey, grey, grey, np.full_like(grey, 255)], -1)
    np.testing.assert_array_equal(load_one(tmp_path, Image.fromarray(grey)), opaque)
    np.testing.assert_array_equal(load_one(tmp_path, Image.fromarray(grey.astype(np.uint16) * 257)), opaque)
    np.testing.assert_array_equal(load_one(tmp_path, Image.fromarray(opaque[..., :3])), opaque)
    np.testing.assert_array_equal(load_one(tmp_path, Image.fromarray(opaque)), opaque)
    veiled = load_one(tmp_path, Image.fromarray(np.stack([grey, grey.T.reshape(5, 7)], -1), "LA"))
    np.testing.assert_array_equal(veiled[..., 3], grey.T.reshape(5, 7))
    np.testing.assert_array_equal(veiled[veiled[..., 3] > 0, 1], grey[veiled[..., 3] > 0])
    Image.fromarray(grey).convert("P").save(tmp_path / "hole.png", transparency=0)
    with Image.open(tmp_path / "hole.png") as palette:
        holed = load_one(tmp_path, palette, "hole2.png")
    assert holed[0, 0, 3] == 0 and (holed[1:, :, 3] == 255).all()
    printed = load_one(tmp_path, Image.fromarray(opaque[..., :3]).convert("CMYK"), "print.jpg")
    np.testing.assert_allclose(printed.astype(int), opaque, atol=12)


@pytest.mark.parametrize(
    "orientation, upright", [(1, lambda x: x), (3, lambda x: np.rot90(x, 2)), (6, lambda x: np.rot90(x, -1))]
)
def test_orientation_follows_the_cameras(orientation, upright, tmp_path):
    """Pixels as stored where they fit the size that the cameras are for, upright where only that fits or none is."""
    stored = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(stored)
    np.testing.assert_array_equal(load_one(tmp_path, image, exif=exif, w=7, h=5)[..., :3], stored)
    np.testing.assert_array_equal(load_one(tmp_path, image, exif=exif)[..., :3], upright(stored))
    if orientation >= 5:
        np.testing.assert_array_equal(load_one(tmp_path, image, exif=exif, w=5, h=7)[..., :3], upright(stored))
    with pytest.raises(ValueError, match="but its camera is for 8 x 5"):
        load_one(tmp_path, image, exif=exif, w=8, h=5)


def test_aspect_of_a_picture_without_stated_size(tmp_path):
    load_one(tmp_path, Image.new("RGB", (8, 4)))
    camera = load(tmp_path, "test").camera
    np.testing.assert_allclose(camera.focal[0], [0.5 / np.tan(0.5), 1 / np.tan(0.5)], rtol=1e-6)  # square pixels
    load_one(tmp_path, Image.new("RGB", (8, 4)), camera_angle_y=0.4)
    camera = load(tmp_path, "test").camera
    np.testing.assert_allclose(camera.focal[0], [0.5 / np.tan(0.5), 0.5 / np.tan(0.2)], rtol=1e-6)


def test_shrinking_is_the_mean_of_premultiplied_colour(tmp_path):
    rgba = np.zeros((4, 6, 4), np.uint8)
    rgba[:2, :2] = [0, 200, 0, 0]  # green, but nowhere to be seen
    rgba[0, 0] = [200, 100, 50, 255]
    rgba[:2, 2:4] = [[[10, 20, 30, 255], [30, 20, 10, 255]], [[50, 60, 70, 255], [70, 60, 50, 255]]]
    rgba[2, 0], rgba[2, 1] = [240, 0, 0, 200], [0, 0, 240, 100]
    small = load_one(tmp_path, Image.fromarray(rgba), downscale=2)
    np.testing.assert_array_equal(small[0, 0], [200, 100, 50, 64])
    np.testing.assert_array_equal(small[0, 1], [40, 40, 40, 255])
    np.testing.assert_array_equal(small[1, 0], [160, 0, 80, 75])
    np.testing.assert_array_equal(small[1, 2], [0, 0, 0, 0])


def test_distortion_by_hand():
    """OpenCV's documented formula at (0.5, 0.25), r^2 = 0.3125."""
    lens = Lens((1.0, 1.0), radial=(0.1, 0.2, 0.3), tangential=(0.01, 0.02))
    stretch = 1 + 0.03125 + 0.2 * 0.09765625 + 0.3 * 0.030517578125
    x = 0.5 * stretch + 2 * 0.01 * 0.125 + 0.02 * (0.3125 + 0.5)
    y = 0.25 * stretch + 0.01 * (0.3125 + 0.125) + 2 * 0.02 * 0.125
    np.testing.assert_allclose(distort(np.array([0.5, 0.25]), lens), [x, y], rtol=1e-12)


def pattern(plane: np.ndarray) -> np.ndarray:
    """A smooth picture in tangents of angles."""
    x, y = plane[..., 0], plane[..., 1]
    waves = np.stack([np.sin(5 * x + y), np.sin(4 * y - x + 1), np.cos(3 * x * y + 2 * x)], -1)
    return 127.5 + 120 * waves


def test_a_distorted_picture_becomes_a_pinholes(tmp_path):
    """What the lens shows of a known pattern is found by inverting the polynomial; loaded, it is the pattern again."""
    width, height, fx, fy, cx, cy = 96, 72, 90.0, 84.0, 50.0, 33.0
    numbers = {"k1": -0.15, "k2": 0.06, "p1": 0.008, "p2": -0.006}
    lens = Lens((1.0, 1.0), radial=(-0.15, 0.06, 0.0), tangential=(0.008, -0.006))
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    pinhole = np.stack([(u - cx) / fx, (v - cy) / fy], -1)
    ideal = pinhole.copy()
    for _ in range(60):
        ideal += pinhole - distort(ideal, lens)
    np.testing.assert_allclose(distort(ideal, lens), pinhole, atol=1e-9)
    shown = Image.fromarray(np.round(pattern(ideal)).astype(np.uint8))
    intrinsics = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "w": width, "h": height}
    loaded = load_one(tmp_path, shown, **intrinsics, **numbers)
    seen = loaded[..., 3] == 255
    assert seen.mean() > 0.97
    np.testing.assert_allclose(loaded[seen, :3], pattern(pinhole)[seen], atol=1.5)
    assert np.abs(np.asarray(shown, float) - pattern(pinhole)).max() > 20


def test_nothing_is_shown_where_the_lens_saw_nothing():
    image = np.ones((40, 40, 4), np.float32)
    offset = (np.arange(40) + 0.5) / 40 - 0.5
    r2 = offset[:, None] ** 2 + offset**2
    cushion = undistort(image, Lens((1.0, 1.0), radial=(0.3, 0.0, 0.0)))
    reach = np.maximum(abs(offset), abs(offset[:, None])) * (1 + 0.3 * r2)
    np.testing.assert_array_equal(cushion[..., 3] > 0.5, reach <= 0.5)
    barrel = undistort(image, Lens((0.4, 0.4), radial=(-0.5, 0.0, 0.0)))  # r (1 - r^2 / 2) turns at r^2 = 2/3
    np.testing.assert_array_equal(barrel[..., 3] > 0.5, r2 / 0.4**2 < 2 / 3)
    assert undistort(image, Lens((1.0, 1.0))) is image
