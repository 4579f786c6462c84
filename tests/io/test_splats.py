"""Files of Gaussians: the reference's layout byte for byte, packed forms by slow writers, and what is refused."""

import numpy as np
import pytest

from jax3d.io.splats import load_splats, save_splats
from jax3d.types import Splats


def some(count=7, k=4, seed=0) -> Splats:
    rng = np.random.default_rng(seed)
    rotations = rng.normal(size=(count, 4))
    rotations /= np.linalg.norm(rotations, axis=1, keepdims=True)
    parts = (rng.normal(size=(count, 3)), np.exp(rng.normal(size=(count, 3)) - 3), rotations)
    return Splats(*(np.float32(v) for v in (*parts, rng.uniform(0.1, 0.9, count), rng.normal(size=(count, k, 3)))))


@pytest.mark.parametrize("k", [1, 4, 9, 16])
def test_ply_comes_back(k, tmp_path):
    splats = some(k=k)
    save_splats(splats, tmp_path / "a.ply")
    for before, after in zip(splats, load_splats(tmp_path / "a.ply"), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


def test_ply_is_the_reference_layout(tmp_path):
    splats = some(count=2, k=4)
    save_splats(splats, tmp_path / "a.ply")
    head, _, body = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")
    names = [line.split()[2] for line in head.decode().splitlines() if line.startswith("property")]
    wanted = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{j}" for j in range(9))]
    assert names == [*wanted, "opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    row = dict(zip(names, np.frombuffer(body, "<f4").reshape(2, -1)[1], strict=True))
    assert row["f_rest_0"] == splats.harmonics[1, 1, 0] and row["f_rest_3"] == splats.harmonics[1, 1, 1]  # red, green
    assert row["scale_2"] == pytest.approx(np.log(splats.scales[1, 2]), rel=1e-6)
    assert 1 / (1 + np.exp(-row["opacity"])) == pytest.approx(splats.opacities[1], rel=1e-5)


def packed(values, *widths):
    """One integer a row, the first number in the highest bits."""
    out = np.zeros(len(values), np.uint64)
    for column, width in zip(np.transpose(values), widths, strict=True):
        out = (out << np.uint64(width)) | np.round(column * (2**width - 1)).astype(np.uint64)
    return out.astype("<u4")


def test_compressed_ply_is_unpacked(tmp_path):
    splats, least = some(count=300, k=4, seed=1), 8 / 256
    logs = np.log(splats.scales)
    colors = 0.5 + 0.28209479177387814 * splats.harmonics[:, 0]
    bounds, shares = [], {name: [] for name in ("position", "scale", "color")}
    for rows in (slice(0, 256), slice(256, 300)):
        chunk = []
        for name, values in (("position", splats.positions), ("scale", logs), ("color", colors)):
            low, high = values[rows].min(0), values[rows].max(0)
            shares[name].append((values[rows] - low) / (high - low))
            chunk += [low, high]
        bounds.append(np.concatenate(chunk))
    shares = {name: np.concatenate(parts) for name, parts in shares.items()}
    words = []
    for q in splats.rotations:
        left_out = int(np.abs(q).argmax())
        others = np.delete(q * np.sign(q[left_out]), left_out) / np.sqrt(2) + 0.5
        words.append((left_out << 30) | int(packed(others[None], 10, 10, 10)[0]))
    rgba = np.column_stack([shares["color"], splats.opacities])
    columns = [packed(shares["position"], 11, 10, 11), np.array(words, "<u4"), packed(shares["scale"], 11, 10, 11)]
    rows = np.stack([*columns, packed(rgba, 8, 8, 8, 8)], axis=-1)
    rest = np.clip(splats.harmonics[:, 1:].transpose(0, 2, 1).reshape(300, 9), -3.9, 3.9)
    level = np.floor((rest + 4) / 8 * 256).astype(np.uint8)
    ends = [f"{end}_{name}" for end in ("min", "max") for name in "xyz"]
    ends += [f"{end}_scale_{name}" for end in ("min", "max") for name in "xyz"]
    ends += [f"{end}_{name}" for end in ("min", "max") for name in "rgb"]
    lines = ["ply", "format binary_little_endian 1.0", "element chunk 2", *(f"property float {name}" for name in ends)]
    lines += ["element vertex 300", *(f"property uint packed_{n}" for n in ("position", "rotation", "scale", "color"))]
    lines += ["element sh 300", *(f"property uchar f_rest_{j}" for j in range(9)), "end_header\n"]
    body = np.stack(bounds).astype("<f4").tobytes() + rows.tobytes() + level.tobytes()
    (tmp_path / "a.compressed.ply").write_bytes("\n".join(lines).encode() + body)
    found = load_splats(tmp_path / "a.compressed.ply")
    spans = np.ptp(splats.positions, axis=0).max(), np.ptp(logs, axis=0).max(), np.ptp(colors, axis=0).max()
    np.testing.assert_allclose(found.positions, splats.positions, atol=spans[0] / 1023)
    np.testing.assert_allclose(np.log(found.scales), logs, atol=spans[1] / 1023)
    np.testing.assert_allclose(np.abs(np.sum(found.rotations * splats.rotations, axis=1)), 1, atol=1e-5)
    np.testing.assert_allclose(found.opacities, splats.opacities, atol=1 / 255)
    np.testing.assert_allclose(found.harmonics[:, 0], splats.harmonics[:, 0], atol=spans[2] / 255 / 0.28)
    np.testing.assert_allclose(found.harmonics[:, 1:], np.clip(splats.harmonics[:, 1:], -3.9, 3.9), atol=least)


def test_splat_is_read(tmp_path):
    splats = some(count=5, k=1)
    data = b""
    for position, scale, q, opacity, harmonics in zip(*splats, strict=True):
        color = np.clip(0.5 + 0.28209479177387814 * harmonics[0], 0, 1)
        data += np.concatenate([position, scale]).astype("<f4").tobytes()
        data += bytes(np.round(255 * np.append(color, opacity)).astype(np.uint8))
        data += bytes(np.clip(np.round(128 * q + 128), 0, 255).astype(np.uint8))
    (tmp_path / "a.splat").write_bytes(data)
    found = load_splats(tmp_path / "a.splat")
    np.testing.assert_array_equal(found.positions, splats.positions)
    np.testing.assert_allclose(np.abs(np.sum(found.rotations * splats.rotations, axis=1)), 1, atol=1e-3)
    np.testing.assert_allclose(found.opacities, splats.opacities, atol=1 / 255)


@pytest.mark.parametrize("name", ["guitar.compressed.ply", "test_sh.compressed.ply", "minimal.splat"])
def test_files_of_other_programs(shared, name):
    splats = load_splats(shared / "data" / "gaussians" / name)
    counts = {"guitar.compressed.ply": (90854, 1), "test_sh.compressed.ply": (64, 16), "minimal.splat": (4, 1)}
    assert splats.harmonics.shape[:2] == counts[name]


def broken(what: str) -> tuple[str, bytes]:
    """The name and bytes of a file that is none."""
    k, scales = 4, "property float scale_0\n"
    names = ["x", "y", "z", *(f"f_dc_{c}" for c in range(3)), *(f"f_rest_{j}" for j in range(9)), "opacity"]
    names += ["scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    head = "ply\nformat binary_little_endian 1.0\nelement vertex 3\n" + "".join(f"property float {n}\n" for n in names)
    head, rows = head + "end_header\n", np.ones((3, 3 + 3 * k + 8), "<f4")
    match what:
        case "truncated":
            return "a.ply", head.encode() + rows.tobytes()[:-1]
        case "huge":
            return "a.ply", head.replace("vertex 3", "vertex 999999999999").encode() + rows.tobytes()
        case "nan":
            rows[1, 0] = np.nan
        case "infinite scale":
            rows[2, names.index("scale_0")] = 1000
        case "no rotation":
            rows[0, -4:] = 0
        case "plain":
            return "a.ply", head.replace(scales, "").encode() + rows.tobytes()
        case "twice":
            return "a.ply", head.replace(scales, 2 * scales).encode() + rows.tobytes()
        case "harmonics":
            return "a.ply", head.replace("property float f_rest_8\n", "").encode() + rows.tobytes()
        case "list":
            return "a.ply", head.replace(scales, "property list uchar int scale_0\n").encode() + rows.tobytes()
        case "text":
            return "a.ply", head.replace("binary_little_endian", "ascii").encode() + rows.tobytes()
        case "empty":
            return "a.ply", head.replace("vertex 3", "vertex 0").encode()
        case "no chunks":
            return "a.ply", b"ply\nformat binary_little_endian 1.0\nelement chunk 0\nproperty float min_x\nend_header\n"
        case "splat":
            return "a.splat", b"\0" * 33
        case "negative scale":
            return "a.splat", np.array([0, 0, 0, -1, 1, 1], "<f4").tobytes() + b"\xff" * 8
    return "a.ply", head.encode() + rows.tobytes()


@pytest.mark.parametrize(
    "what, words",
    [
        ("truncated", "truncated"),
        ("huge", "promises 999999999999 rows"),
        ("nan", "1 of 3 Gaussians"),
        ("infinite scale", "the first of them number 2"),
        ("no rotation", "no rotation"),
        ("plain", "no property scale_0"),
        ("twice", "names a property of vertex twice"),
        ("harmonics", "has 8"),
        ("list", "property list uchar int scale_0"),
        ("text", "no header of a binary little-endian"),
        ("empty", "arrays of one length"),
        ("no chunks", "no property packed_position"),
        ("splat", "32 bytes a Gaussian"),
        ("negative scale", "not positive"),
        ("missing", "and .* is none"),
    ],
)
def test_what_is_no_file_of_gaussians_is_refused_in_a_sentence(what, words, tmp_path):
    name, data = broken(what)
    if what != "missing":
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=words) as refusal:
        load_splats(tmp_path / name)
    assert "\n" not in str(refusal.value)


def test_what_is_written_must_be_gaussians(tmp_path):
    with pytest.raises(ValueError, match="written as .ply"):
        save_splats(some(), tmp_path / "a.splat")
    with pytest.raises(ValueError, match="7 of 7 Gaussians"):
        save_splats(some()._replace(scales=-some().scales), tmp_path / "a.ply")
    assert not (tmp_path / "a.ply").exists()
