"""COLMAP's models as text: cameras.txt, images.txt and points3D.txt (colmap.github.io/format.html).

A line of cameras.txt is ID, model, width, height and the model's numbers in pixels; two lines of images.txt are ID,
the quaternion (w, x, y, z) and translation of camera_from_world with OpenCV's axes, camera ID and file name, and the
picture's points, which we skip; a line of points3D.txt is ID, x, y, z and more.

COLMAP's world is any. In ours the mean of the cameras' up directions is z, the first picture (by name) is taken from
the front, and the origin is the point p nearest to the optical axes o_i + t d_i,

    min_p  mean_i |(I - d_i d_i') (p - o_i)|^2 + lambda |p - mean o|^2,    lambda = 1e-3,

whose last term decides for axes that never meet. The unit of length is the cameras' mean distance from it, or that of
the nearest hundredth of the points where even these are farther, as in rooms seen from their middle. So cameras stand
at about 1 around what they look at, and there is more beyond the cube: unbounded.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from jax3d.data.posed_images.scan import Lens, Scan, Similarity, View, picture_folder, pixel_lens, rigid, unit

MODELS = {
    "SIMPLE_PINHOLE": "f cx cy",
    "PINHOLE": "fx fy cx cy",
    "SIMPLE_RADIAL": "f cx cy k1",
    "RADIAL": "f cx cy k1 k2",
    "OPENCV": "fx fy cx cy k1 k2 p1 p2",
}
TIE = 1e-3
"""The weight of what decides only where nothing else does."""
PLACES = ("sparse/0", "sparse", "colmap_text", ".")


def find(folder: Path) -> Path | None:
    """The folder of the text model, None if there is none. ValueError for a model that is only there in binary."""
    for place in PLACES:
        model = folder / place
        if all((model / name).is_file() for name in ("cameras.txt", "images.txt")):
            return model
    binary = [folder / place for place in PLACES if (folder / place / "images.bin").is_file()]
    if binary:
        raise ValueError(
            f"COLMAP's models are read as text, but {binary[0]} is binary; run colmap model_converter "
            f"--input_path {binary[0]} --output_path {binary[0]} --output_type TXT."
        )
    return None


def scan(folder: Path, model: Path, downscale: int) -> Scan:
    """All views; pictures that are missing from images/ (or the folder itself) may be missing."""
    cameras = _cameras(model / "cameras.txt")
    images = sorted(_images(model / "images.txt", cameras), key=lambda image: image[0])
    pictures, shrunk = picture_folder(folder, downscale)
    if shrunk > 1 and not all((pictures / name).is_file() for name, *_ in images):
        pictures, shrunk = folder / "images", 1  # images_4/ of LLFF captures has names of its own
    pictures = pictures if pictures.is_dir() else folder
    views = [View(pictures / name, pose, *cameras[camera]) for name, camera, pose in images]
    similarity = _surrounded(np.stack([view.pose for view in views]), _points(model / "points3D.txt"))
    return Scan(views, similarity, True, True, shrunk=shrunk)


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


def _cameras(path: Path) -> dict[str, tuple[Lens, tuple[float, float]]]:
    cameras = {}
    for line in filter(str.strip, _lines(path)):
        name, model, *numbers = line.split() if len(line.split()) > 1 else (line, "(none)")
        if model not in MODELS:
            raise ValueError(
                f"COLMAP's camera model {model} in {path} is not among {', '.join(MODELS)}; undistort the pictures "
                f"with colmap image_undistorter and load what it writes."
            )
        try:
            width, height, *values = map(float, numbers)
            of = dict(zip(MODELS[model].split(), values, strict=True))
        except ValueError:
            raise ValueError(f"{path} must say width, height, {MODELS[model]} for {model}, not {line!r}.") from None
        focal = of.get("fx", of.get("f")), of.get("fy", of.get("f"))
        distortion = (of.get("k1", 0.0), of.get("k2", 0.0)), (of.get("p1", 0.0), of.get("p2", 0.0))
        cameras[name] = pixel_lens(width, height, focal, (of["cx"], of["cy"]), *distortion), (width, height)
    return cameras


def _images(path: Path, cameras: dict[str, tuple]) -> list[tuple[str, str, Float[np.ndarray, "4 4"]]]:
    """Name, camera ID and world_from_camera of each picture."""
    lines = _lines(path)
    images = []
    for line, points in zip(lines[::2], [*lines[1::2], ""], strict=False):
        fields = line.split(maxsplit=9)
        if not fields:  # blank lines at the end
            continue
        try:
            *pose, camera, name = fields[1:8] + fields[8:10]
            pose = np.array(pose, np.float64)
            good = len(fields) == 10 and camera in cameras and len(points.split()) % 3 == 0
        except ValueError:
            good = False
        if not good:
            raise ValueError(
                f"{path} must hold two lines a picture, ID, quaternion, translation, the ID of a camera in cameras.txt "
                f"and name, then x, y, ID of its points (or nothing), not {line[:80]!r}; write it again."
            )
        images.append((name, camera, _world_from_camera(pose, name)))
    if not images:
        raise ValueError(f"{path} lists no pictures, so COLMAP registered none; give it more, overlapping pictures.")
    return images


def _world_from_camera(numbers: Float[np.ndarray, "7"], name: str) -> Float[np.ndarray, "4 4"]:
    with np.errstate(invalid="ignore"):  # a quaternion of zeros becomes NaN, which is no pose
        w, x, y, z = numbers[:4] / np.linalg.norm(numbers[:4])
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    world_from_camera = (np.eye(3) + 2 * w * cross + 2 * cross @ cross).T
    return rigid(np.column_stack([world_from_camera, -world_from_camera @ numbers[4:]]), name)


def _points(path: Path) -> Float[np.ndarray, "n 3"]:
    lines = filter(str.strip, _lines(path)) if path.is_file() else []
    try:
        return np.array([line.split(maxsplit=4)[1:4] for line in lines], np.float64).reshape(-1, 3)
    except ValueError as error:
        raise ValueError(
            f"{path} must hold ID, x, y, z in a line ({error}); write it again, or leave it out."
        ) from None


def _surrounded(poses: Float[np.ndarray, "n 4 4"], points: Float[np.ndarray, "p 3"]) -> Similarity:
    _, down, forward, origins = np.moveaxis(poses[:, :3], -1, 0)
    up = unit(-down, "up")
    front = TIE * down[0] - forward[0]  # the side of its back; of its lower edge where it looks straight down
    right = unit(np.cross(up, front)[None], "front")
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    mean = origins.mean(0)
    away = (across @ (origins - mean)[..., None]).mean(0)[:, 0]
    centre = mean + np.linalg.solve(across.mean(0) + TIE * np.eye(3), away)
    length = np.linalg.norm(origins - centre, axis=-1).mean()
    if len(points):
        length = max(length, np.percentile(np.linalg.norm(points - centre, axis=-1), 1))
    return Similarity(float(1 / length) if length > 0 else 1.0, centre, np.stack([np.cross(right, up), right, up]))
