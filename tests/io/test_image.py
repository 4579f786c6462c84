"""Image and video files: round trips, orientation, layout, and what bad input gets."""

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from jax3d.io.image import contact_sheet, enlarge, read_image, write_image, write_video


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).uniform(size=(5, 7, 4)).astype(np.float32)


def test_png_round_trip(picture, tmp_path):
    for channels in (3, 4):
        write_image(picture[..., :channels], tmp_path / "new/image.png")
        again = read_image(tmp_path / "new/image.png")
        assert again.dtype == np.float32 and again.shape == (5, 7, channels)
        np.testing.assert_allclose(again, picture[..., :channels], atol=0.5 / 255 + 1e-6)
    write_image(3 * picture - 1, tmp_path / "new/image.png")
    np.testing.assert_allclose(
        read_image(tmp_path / "new/image.png"), np.clip(3 * picture - 1, 0, 1), atol=0.5 / 255 + 1e-6
    )
    assert len(list((tmp_path / "new").iterdir())) == 1
    write_image(picture, tmp_path / "image.jpg")
    assert read_image(tmp_path / "image.jpg").shape == (5, 7, 3)


@pytest.mark.parametrize(
    "orientation, upright",
    [
        (1, lambda x: x),
        (2, np.fliplr),
        (3, lambda x: np.rot90(x, 2)),
        (4, np.flipud),
        (5, lambda x: np.swapaxes(x, 0, 1)),
        (6, lambda x: np.rot90(x, -1)),
        (7, lambda x: np.rot90(np.swapaxes(x, 0, 1), 2)),
        (8, np.rot90),
    ],
)
def test_exif_orientation(picture, tmp_path, orientation, upright):
    stored = np.round(255 * picture[..., :3]).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_allclose(read_image(tmp_path / "turned.png"), upright(stored) / 255, atol=1e-6)


def test_kinds_of_pixels(tmp_path):
    grey = np.arange(35, dtype=np.uint8).reshape(5, 7) * 7
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_allclose(read_image(tmp_path / "grey.png"), np.stack([grey / 255] * 3, -1), atol=1e-6)
    deep = grey.astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_allclose(read_image(tmp_path / "deep.png"), np.stack([grey / 255] * 3, -1), atol=1e-6)
    palette = Image.fromarray(grey).convert("P")
    palette.save(tmp_path / "palette.png", transparency=0)
    shown = read_image(tmp_path / "palette.png")
    assert shown.shape == (5, 7, 4) and shown[0, 0, 3] == 0 and shown[4, 6, 3] == 1
    Image.fromarray(grey).convert("CMYK").save(tmp_path / "print.jpg")
    assert read_image(tmp_path / "print.jpg").shape == (5, 7, 3)


def test_bad_images(picture, tmp_path):
    write_image(np.random.default_rng(0).uniform(size=(64, 64, 3)), tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:3000])
    (tmp_path / "text.png").write_text("not an image")
    for name in ("cut.png", "text.png", "none.png"):
        with pytest.raises(ValueError, match=name):
            read_image(tmp_path / name)
    with pytest.raises(ValueError, match="NaN"):
        write_image(picture * np.nan, tmp_path / "image.png")
    with pytest.raises(ValueError, match="1, 3 or 4 channels"):
        write_image(np.zeros((4, 4, 2), np.float32), tmp_path / "image.png")
    with pytest.raises(ValueError, match="not .xyz"):
        write_image(picture, tmp_path / "image.xyz")
    with pytest.raises(ValueError, match="choose a folder"):
        write_image(picture, tmp_path / "text.png/image.png")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cut.png", "text.png"]


def test_contact_sheet_reads_like_a_page(picture):
    images = np.stack([picture[..., :3] * i / 5 for i in range(5)])
    sheet = contact_sheet(images, columns=3)
    assert sheet.shape == (10, 21, 3)
    for i in range(5):
        row, column = divmod(i, 3)
        np.testing.assert_array_equal(sheet[5 * row : 5 * row + 5, 7 * column : 7 * column + 7], images[i])
    assert (sheet[5:, 14:] == 1).all()
    assert contact_sheet(images[:2], columns=8).shape == (5, 14, 3)
    with pytest.raises(ValueError, match="0 images"):
        contact_sheet(images[:0], columns=3)


def test_enlarge():
    grid = np.linspace(0.1, 0.9, 16, dtype=np.float32)
    ramp = np.broadcast_to(grid[:, None, None], (2, 16, 20, 3))
    large = enlarge(ramp, 60)
    assert large.shape == (2, 64, 80, 3)
    inside = np.interp((np.arange(64) + 0.5) / 4 - 0.5, np.arange(16), grid)[16:-16]  # a straight line stays one
    np.testing.assert_allclose(large[1, 16:-16, 40, 2], inside, atol=2e-3)
    np.testing.assert_array_equal(enlarge(ramp, 16), ramp)
    edge = np.zeros((8, 8, 1), np.float32)
    edge[4:] = 1
    assert enlarge(edge, 64).min() == 0 and enlarge(edge, 64).max() == 1  # ringing is clipped


def decoded(path) -> tuple[dict, np.ndarray]:
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    width, height = meta["size"]
    return meta, np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader]) / 255


def test_video_of_odd_size(tmp_path):
    colors = np.array([[1, 0, 0], [0, 0.6, 0], [0.2, 0.2, 1], [1, 1, 1], [0, 0, 0], [0.5, 0.4, 0.3]], np.float32)
    frames = np.broadcast_to(colors[:, None, None], (6, 33, 47, 3))
    write_video(frames, tmp_path / "new/turntable.mp4", fps=12)
    meta, shown = decoded(tmp_path / "new/turntable.mp4")
    assert meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p") and meta["fps"] == 12
    assert shown.shape == (6, 34, 48, 3)
    np.testing.assert_allclose(shown, np.broadcast_to(colors[:, None, None], shown.shape), atol=0.03)
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_bad_videos(tmp_path, monkeypatch):
    frames = np.zeros((2, 16, 16, 3), np.float32)
    with pytest.raises(ValueError, match="not .avi"):
        write_video(frames, tmp_path / "video.avi")
    with pytest.raises(ValueError, match="0 frames"):
        write_video(frames[:0], tmp_path / "video.mp4")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="choose a folder"):
        write_video(frames, tmp_path / "file/video.mp4")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/bin/false")
    with pytest.raises(ValueError, match="encoder stopped"):
        write_video(frames, tmp_path / "video.mp4")

    def missing():
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    with pytest.raises(ValueError, match="pip install imageio-ffmpeg"):
        write_video(frames, tmp_path / "video.mp4")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_real_images(shared):
    paths = sorted((shared / "data/images").glob("*.*"))
    assert len(paths) > 10
    for path in paths[:12]:
        image = read_image(path)
        assert image.shape[-1] == 4 or "rgba" not in path.name
        assert image.min() >= 0 and image.max() <= 1 and image.std() > 0.05
