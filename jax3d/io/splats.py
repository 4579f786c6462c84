"""Files of 3D Gaussians: the .ply of the reference implementation, its compressed form, and .splat.

.ply (Kerbl et al., arXiv 2308.04079, graphdeco-inria/gaussian-splatting): of each Gaussian float32

    x y z,  nx ny nz (0),  f_dc_0..2,  f_rest_0..3(k-1)-1,  opacity,  scale_0..2,  rot_0..3

with opacity before the sigmoid, scale before the exponential, rot = w, x, y, z of any length, and f_rest channel by
channel: all k - 1 numbers of red, then green, then blue. A file may have its columns in any order, and more of them.

compressed .ply (PlayCanvas): chunks of 256 Gaussians with the least and greatest position, log scale and colour, and of
each Gaussian four uint32, highest bits first: position and scale as 11, 10, 11 bits between those bounds; rotation as 2
bits that say which of w, x, y, z is left out, the greatest, and 10 for each of the others, within 1 / sqrt(2) of 0;
colour as 4 x 8 bits, the fourth the opacity. Harmonics, where there are any, are bytes over [-4, 4].

.splat (antimatter15): of each Gaussian 32 bytes: position and scale float32, colour and opacity 4 bytes, and w, x, y, z
as bytes, 128 + 128 q.

Axes are those of the file. What a header promises is held against the file's size before anything is made.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt

from jax3d.io.atomic import replacing
from jax3d.math.encoding import Y_00
from jax3d.types import Splats

TYPES = {"float": "<f4", "double": "<f8", "uchar": "u1", "char": "i1", "ushort": "<u2", "short": "<i2"}
TYPES |= {"uint": "<u4", "int": "<i4", "float32": "<f4", "uint8": "u1", "uint32": "<u4"}
HEADER = 1 << 16  # bytes that a header may have
CHUNK = 256
LEAST = 1e-6  # of opacities and their complements, where a logit is to be written


def load_splats(path: str | Path) -> Splats:
    """Gaussians of a .ply (plain or compressed) or .splat; ValueError, one sentence, for a file that is none."""
    path = Path(path)
    if path.suffix.lower() not in (".ply", ".splat") or not path.is_file():
        raise ValueError(f"Gaussians are read from a .ply or .splat file, and {path} is none; give the path of one.")
    if path.suffix.lower() == ".splat":
        splats = _from_splat(path)
    else:
        elements = _read_ply(path)
        splats = _from_chunks(elements, path) if "chunk" in elements else _from_columns(elements, path)
    return _checked(splats, path)


def save_splats(splats: Splats, path: str | Path) -> None:
    """Write the reference implementation's .ply; ValueError for another suffix or for values that are no Gaussians."""
    path = Path(path)
    if path.suffix.lower() != ".ply":
        raise ValueError(f"Gaussians are written as .ply, not {path.suffix or 'without a suffix'}: {path}.")
    splats = _checked(splats, path)
    count, k = splats.harmonics.shape[:2]
    opacity = np.clip(splats.opacities, LEAST, 1 - LEAST)
    columns = {name: splats.positions[:, axis] for axis, name in enumerate("xyz")}
    columns |= {name: np.zeros(count) for name in ("nx", "ny", "nz")}
    columns |= {f"f_dc_{c}": splats.harmonics[:, 0, c] for c in range(3)}
    rest = splats.harmonics[:, 1:].transpose(0, 2, 1).reshape(count, 3 * (k - 1))
    columns |= {f"f_rest_{j}": rest[:, j] for j in range(rest.shape[1])}
    columns |= {"opacity": np.log(opacity / (1 - opacity))}
    columns |= {f"scale_{axis}": np.log(splats.scales[:, axis]) for axis in range(3)}
    columns |= {f"rot_{axis}": splats.rotations[:, axis] for axis in range(4)}
    properties = "".join(f"property float {name}\n" for name in columns)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {count}\n{properties}end_header\n"
    with replacing(path) as temporary:
        temporary.write_bytes(header.encode() + np.stack(list(columns.values()), -1).astype("<f4").tobytes())


def _read_ply(path: Path) -> dict[str, np.ndarray]:
    """The elements of a binary PLY file as arrays of rows."""
    with path.open("rb") as file:
        head, found, _ = file.read(HEADER).partition(b"end_header\n")
    lines = [line.split() for line in head.decode("ascii", "replace").splitlines()]
    if not found or lines[:1] != [["ply"]] or ["format", "binary_little_endian", "1.0"] not in lines:
        raise ValueError(f"{path} has no header of a binary little-endian PLY file; export the Gaussians again.")
    forms: list[tuple[str, int, list]] = []
    for words in lines:
        match words:
            case ["element", name, count] if count.isdigit():
                forms.append((name, int(count), []))
            case ["property", kind, name] if forms and kind in TYPES:
                forms[-1][2].append((name, TYPES[kind]))
            case ["element" | "property", *_]:
                raise ValueError(f"{path} has the line '{' '.join(words)}', which files of Gaussians do not have.")
    elements, start, size = {}, len(head) + len(found), path.stat().st_size
    for name, count, columns in forms:
        if len({column for column, _ in columns}) < len(columns):
            raise ValueError(f"{path} names a property of {name} twice; export the Gaussians again.")
        row = np.dtype(columns)
        if start + count * row.itemsize > size:
            raise ValueError(f"{path} promises {count} rows of {name} and ends before; it may be truncated.")
        elements[name] = np.fromfile(path, row, count, offset=start)
        start += count * row.itemsize
    return elements


def _columns(rows: np.ndarray | None, names: list[str], path: Path) -> Float[np.ndarray, "n c"]:
    missing = [name for name in names if rows is None or name not in (rows.dtype.names or ())]
    if missing:
        raise ValueError(f"{path} has no property {missing[0]}, which files of Gaussians have; is it a plain cloud?")
    return np.stack([rows[name] for name in names], axis=-1).astype(np.float32)


def _named(stem: str, count: int) -> list[str]:
    return [f"{stem}_{axis}" for axis in range(count)]


def _rest(rows: np.ndarray | None, path: Path) -> Float[np.ndarray, "n k 3"]:
    """The harmonics above degree 0, [n, k - 1, 3], as they stand in the file."""
    names = rows.dtype.names if rows is not None else ()
    count = sum(name.startswith("f_rest_") for name in names)
    if count not in (0, 9, 24, 45):
        raise ValueError(
            f"harmonics of degree 1, 2 and 3 are 9, 24 and 45 numbers above the first, {path} has {count}."
        )
    found = _columns(rows, _named("f_rest", count), path) if count else np.zeros((0 if rows is None else len(rows), 0))
    return found.reshape(len(found), 3, count // 3).transpose(0, 2, 1)


def _from_columns(elements: dict[str, np.ndarray], path: Path) -> Splats:
    rows = elements.get("vertex")
    positions, base = _columns(rows, list("xyz"), path), _columns(rows, _named("f_dc", 3), path)
    harmonics = np.concatenate([base[:, None], _rest(rows, path)], axis=1)
    scales, rotations = _columns(rows, _named("scale", 3), path), _columns(rows, _named("rot", 4), path)
    with np.errstate(over="ignore"):  # an infinity is refused with the other bad numbers
        opacities = 1 / (1 + np.exp(-_columns(rows, ["opacity"], path)[:, 0]))
        return Splats(positions, np.exp(scales), rotations, opacities, harmonics)


def _bits(packed: UInt[np.ndarray, " n"], *widths: int) -> Float[np.ndarray, "n c"]:
    """Numbers in [0, 1] from the bits of an integer, those of the first at the top."""
    below = np.cumsum(widths[::-1])[::-1] - widths
    parts = [(packed >> np.uint32(low)) & np.uint32(2**w - 1) for low, w in zip(below, widths, strict=True)]
    return np.stack([part / np.float32(2**w - 1) for part, w in zip(parts, widths, strict=True)], axis=-1)


def _from_chunks(elements: dict[str, np.ndarray], path: Path) -> Splats:
    rows, chunks = elements.get("vertex"), elements["chunk"]
    packed = [f"packed_{name}" for name in ("position", "rotation", "scale", "color")]
    _columns(rows, packed, path)
    if len(chunks) * CHUNK < len(rows):
        raise ValueError(f"{path} has {len(rows)} Gaussians but only {len(chunks)} chunks of {CHUNK}; export it again.")
    chunk = chunks[np.arange(len(rows)) // CHUNK]
    position, rotation, scale, color = (rows[name] for name in packed)

    def between(share: np.ndarray, *names: str) -> np.ndarray:
        low, high = (_columns(chunk, [f"{end}_{name}" for name in names], path) for end in ("min", "max"))
        return low + share * (high - low)

    rgba = _bits(color, 8, 8, 8, 8)
    rgb = between(rgba[:, :3], "r", "g", "b") if "min_r" in chunks.dtype.names else rgba[:, :3]
    others = np.sqrt(2) * (_bits(rotation & np.uint32(2**30 - 1), 10, 10, 10) - 0.5)
    greatest = np.sqrt(np.maximum(1 - np.sum(others**2, axis=1, keepdims=True), 0))
    left_out = (rotation >> np.uint32(30)).astype(np.int64)[:, None]  # of w, x, y, z
    order = np.arange(4) - (np.arange(4) > left_out)  # where the three others stand in their order
    rotations = np.where(np.arange(4) == left_out, greatest, np.take_along_axis(others, np.minimum(order, 2), axis=1))
    base = ((rgb - 0.5) / Y_00)[:, None]
    rest = np.zeros((len(rows), 0, 3)) if "sh" not in elements else _unpacked(elements["sh"], path)
    if len(rest) != len(rows):
        raise ValueError(f"{path} has harmonics of {len(rest)} of its {len(rows)} Gaussians; export it again.")
    with np.errstate(over="ignore"):
        scales = np.exp(between(_bits(scale, 11, 10, 11), "scale_x", "scale_y", "scale_z"))
    positions = between(_bits(position, 11, 10, 11), "x", "y", "z")
    return Splats(positions, scales, rotations, rgba[:, 3], np.concatenate([base, rest], axis=1))


def _unpacked(rows: np.ndarray, path: Path) -> Float[np.ndarray, "n k 3"]:
    """Bytes as numbers in [-4, 4]: the ends exactly, and the middles of the others."""
    level = _rest(rows, path)
    return 8 * np.where(level == 0, 0.0, np.where(level == 255, 1.0, (level + 0.5) / 256)) - 4


def _from_splat(path: Path) -> Splats:
    row = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])
    if path.stat().st_size % row.itemsize:
        raise ValueError(f"a .splat file has {row.itemsize} bytes a Gaussian, but {path} ends within one: truncated?")
    rows = np.fromfile(path, row)
    rgba = rows["rgba"] / np.float32(255)
    rotations = (rows["rotation"].astype(np.float32) - 128) / 128
    return Splats(rows["position"], rows["scale"], rotations, rgba[:, 3], ((rgba[:, :3] - 0.5) / Y_00)[:, None])


def _checked(splats: Splats, path: Path) -> Splats:
    """In float32 with rotations of length 1; ValueError for what is no Gaussian."""
    splats = Splats(*(np.asarray(values, np.float32) for values in splats))
    count = len(splats.positions)
    shapes = [(count, 3), (count, 3), (count, 4), (count,)]
    whole = splats.harmonics.ndim == 3 and splats.harmonics.shape[1] in (1, 4, 9, 16) and splats.harmonics.shape[2] == 3
    if not whole or [v.shape for v in splats[:4]] != shapes or len(splats.harmonics) != count or not count:
        raise ValueError(f"{path}: Gaussians come as arrays of one length, got {[v.shape for v in splats]}.")
    length = np.linalg.norm(splats.rotations, axis=1)
    good = (splats.scales > 0).all(1) & (length > 1e-6) & (splats.opacities >= 0) & (splats.opacities <= 1)
    good &= np.logical_and.reduce([np.isfinite(values.reshape(count, -1)).all(1) for values in splats])
    if not good.all():
        raise ValueError(
            f"{path}: {np.sum(~good)} of {count} Gaussians have numbers that are not finite, scales that are not "
            f"positive or no rotation, the first of them number {np.argmin(good)}; export them again."
        )
    return splats._replace(rotations=splats.rotations / length[:, None])
