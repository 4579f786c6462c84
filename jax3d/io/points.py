"""Point clouds in binary PLY files: positions, and where there are any, normals and colours.

One element "vertex" with float32 x y z, nx ny nz and uchar red green blue (Turk, "The PLY Polygon File Format", 1994):
what MeshLab, Blender, Open3D and CloudCompare read. Axes are ours, z up; colours are sRGB of 8 bits.
"""

from pathlib import Path

import numpy as np
import trimesh

from jax3d.io.atomic import replacing
from jax3d.types import Points

POSITION, NORMAL, COLOR = ("x", "y", "z"), ("nx", "ny", "nz"), ("red", "green", "blue")


def save_points(points: Points, path: str | Path) -> None:
    """Writes a .ply. Raises ValueError for another suffix, wrong shapes, bad numbers or an unwritable place."""
    if Path(path).suffix.lower() != ".ply":
        raise ValueError(f"points are written as .ply, not {Path(path).suffix or 'without a suffix'}: {path}.")
    positions = np.asarray(points.positions)
    columns = [(name, "<f4", positions, axis) for axis, name in enumerate(POSITION)]
    if points.normals is not None:
        columns += [(name, "<f4", np.asarray(points.normals), axis) for axis, name in enumerate(NORMAL)]
    if points.colors is not None:
        levels = np.round(255 * np.clip(points.colors, 0, 1))
        columns += [(name, "u1", levels, axis) for axis, name in enumerate(COLOR)]
    for _, _, values, _ in columns:
        if values.ndim != 2 or values.shape != (len(positions), 3) or not np.isfinite(values).all():
            raise ValueError(f"points need finite [n, 3] arrays of one n, got {positions.shape} and {values.shape}.")
    rows = np.empty(len(positions), [(name, kind) for name, kind, _, _ in columns])
    for name, _, values, axis in columns:
        rows[name] = values[:, axis]
    kinds = {"<f4": "float", "u1": "uchar"}
    properties = "".join(f"property {kinds[kind]} {name}\n" for name, kind, _, _ in columns)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(rows)}\n{properties}end_header\n"
    with replacing(path) as temporary:
        temporary.write_bytes(header.encode() + rows.tobytes())


def load_points(path: str | Path) -> Points:
    """Reads the vertices of any .ply, ASCII or binary. Raises ValueError when missing, truncated or empty."""
    path = Path(path)
    if path.suffix.lower() != ".ply" or not path.is_file():
        raise ValueError(f"points are read from a .ply file, and {path} is none; give the path of one.")
    try:
        (cloud,) = trimesh.load_scene(path, process=False).geometry.values()
        rows = cloud.metadata["_ply_raw"]["vertex"]["data"]
        names = rows.keys() if isinstance(rows, dict) else rows.dtype.names
        positions = _columns(rows, POSITION).astype(np.float32)
    except Exception as error:  # the parser raises whatever it stumbles over
        raise ValueError(f"{path} cannot be read as PLY points ({error!r}); the file may be truncated.") from None
    normals = colors = None
    if set(NORMAL) <= set(names):
        normals = _columns(rows, NORMAL).astype(np.float32)
    if set(COLOR) <= set(names):
        colors = _columns(rows, COLOR)
        colors = (colors / (255 if colors.dtype.kind in "ui" else 1)).astype(np.float32)
    return Points(positions, colors, normals)


def _columns(rows: np.ndarray | dict, names: tuple[str, ...]) -> np.ndarray:
    return np.stack([np.asarray(rows[name]).reshape(-1) for name in names], axis=-1)
