"""Images and video in files, and small pictures made fit to be looked at.

Arrays are float32 [h, w, c] in [0, 1], display values (sRGB), c = 3 or 4; the fourth is straight alpha (the colour is
not multiplied by it). Files hold round(255 x).
"""

import warnings
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from jaxtyping import Array, Float
from PIL import Image, ImageOps

from jax3d.io.atomic import replacing

Pixels = np.ndarray | Array


def read_image(path: str | Path, *, upright: bool = True) -> Float[np.ndarray, "h w c"]:
    """Any image that Pillow opens: [h, w, 4] with transparency, else [h, w, 3]; turned as its EXIF note says, or not.

    Grey, palette, CMYK and 16-bit images are converted; of an animation the first frame is taken. Raises ValueError
    when the file is missing, no image, or truncated.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path} is not there; give the path of an image file.")
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened) if upright else opened
            if image.mode.startswith("I;16") or image.mode == "I":
                grey = np.asarray(image, np.float32)[..., None] / 65535
                return np.repeat(np.clip(grey, 0, 1), 3, axis=-1)
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image ({error}); give a PNG, JPEG or WebP file.") from None
    return np.asarray(image, np.float32) / 255


def write_image(image: Float[Pixels, "h w c"], path: str | Path) -> None:
    """Writes [h, w, 3] or [h, w, 4] (or 1, grey) by the suffix (.png, .jpg, .webp ...); values are clipped to [0, 1].

    Raises ValueError for NaN pixels, other shapes, a suffix that names no image format, or an unwritable place.
    """
    pixels = as_bytes(image)
    suffix = Path(path).suffix.lower()
    if Image.registered_extensions().get(suffix) not in Image.SAVE:
        raise ValueError(f"images are written as .png, .jpg or .webp, not {suffix or 'without a suffix'}: {path}.")
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if suffix in (".jpg", ".jpeg"):  # has no alpha
        picture = picture.convert("RGB")
    with replacing(path) as temporary:
        picture.save(temporary)


def contact_sheet(images: Float[Pixels, "n h w c"], columns: int) -> Float[np.ndarray, "height width c"]:
    """Images side by side in rows of `columns`, in reading order; the places left over are white."""
    images = np.asarray(images, np.float32)
    count, height, width, channels = images.shape
    if count < 1 or columns < 1:
        raise ValueError(f"a contact sheet needs images and columns, got {count} images in {columns} columns.")
    columns = min(columns, count)
    rows = -(-count // columns)
    sheet = np.ones((rows * columns, height, width, channels), np.float32)
    sheet[:count] = images
    sheet = sheet.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return sheet.reshape(rows * height, columns * width, channels)


def enlarge(images: Float[Pixels, "*b h w c"], size: int) -> Float[np.ndarray, "*b height width c"]:
    """Scales small images up so that the shorter side is at least `size`, by a whole factor, with Lanczos' kernel.

    Images that are large enough come back as they are. Renders of 64 x 64 become fit to look at, not sharper.
    """
    images = np.asarray(images, np.float32)
    *lead, height, width, channels = images.shape
    factor = -(-size // min(height, width))
    if factor <= 1:
        return images
    planes = np.moveaxis(images, -1, -3).reshape(-1, height, width)
    target = (factor * width, factor * height)
    large = np.stack([np.asarray(Image.fromarray(plane).resize(target, Image.Resampling.LANCZOS)) for plane in planes])
    large = large.reshape(*lead, channels, factor * height, factor * width)
    return np.clip(np.moveaxis(large, -3, -1), 0, 1)


def write_video(frames: Float[Pixels, "n h w 3"], path: str | Path, fps: float | int = 24) -> None:
    """Writes an .mp4 that browsers and players show: H.264, yuv420p, BT.709; an odd side gets its last row twice.

    The encoder comes with the package imageio-ffmpeg. Raises ValueError when it is missing or fails, for another
    suffix, no frames, NaN pixels, or an unwritable place.
    """
    if Path(path).suffix.lower() != ".mp4":
        raise ValueError(f"videos are written as .mp4, not {Path(path).suffix or 'without a suffix'}: {path}.")
    if not len(frames) or fps <= 0:
        raise ValueError(f"a video needs frames and a positive rate, got {len(frames)} frames at {fps} a second.")
    pixels = as_bytes(frames)
    pixels = np.pad(pixels, [(0, 0), (0, pixels.shape[1] % 2), (0, pixels.shape[2] % 2), (0, 0)], mode="edge")
    try:
        imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        raise ValueError(
            f"{path} needs ffmpeg, which was not found; pip install imageio-ffmpeg or set IMAGEIO_FFMPEG_EXE."
        ) from None
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # the child only runs the encoder
        _encode(pixels, temporary, fps)


def _encode(pixels: np.ndarray, path: Path, fps: float | int) -> None:
    colors = "-colorspace bt709 -color_primaries bt709 -color_trc iec61966-2-1 -color_range tv"
    options = f"-crf 18 -vf scale=out_color_matrix=bt709:out_range=tv {colors} -movflags +faststart"
    writer = imageio_ffmpeg.write_frames(
        str(path),
        (pixels.shape[2], pixels.shape[1]),
        fps=fps,
        codec="libx264",
        quality=None,
        macro_block_size=1,
        ffmpeg_log_level="error",
        output_params=options.split(),
    )
    try:
        writer.send(None)
        for frame in pixels:
            writer.send(np.ascontiguousarray(frame))
        writer.close()
        if not path.stat().st_size:
            raise OSError("it wrote nothing")
    except OSError as error:
        last = (str(error).strip() or "no reason given").splitlines()[-1]
        raise ValueError(f"the video encoder stopped ({last}); set IMAGEIO_FFMPEG_EXE to one with libx264.") from None


def as_bytes(images: Pixels) -> np.ndarray:
    """Round(255 x) of pixels clipped to [0, 1]; ValueError for other channels than 1, 3 or 4, and for NaN."""
    images = np.asarray(images, np.float32)
    if images.shape[-1] not in (1, 3, 4) or not images.size:
        raise ValueError(f"an image needs pixels of 1, 3 or 4 channels on its last axis, got shape {images.shape}.")
    if not np.isfinite(images).all():
        raise ValueError("an image needs finite pixels, some are NaN or infinite; check what rendered it.")
    return np.round(255 * np.clip(images, 0, 1)).astype(np.uint8)
