"""How good a folder of generated shapes is, measured against a folder of real ones.

    python -m jax3d.evaluate GENERATED REFERENCE [--points 2048] [--normalize] [--emd] [--looks] [--captions FILE.json]

Shapes are point clouds (.npz with `points` [p, 3] or [n, p, 3], .ply without faces) or meshes (.glb, .ply, .obj, .stl),
which are sampled uniformly in area. Prints and writes 1-NNA (50 % is best), coverage (more is better) and the minimum
matching distance (less is better), as `math.set_metrics` defines them, and how many of the generated meshes are closed,
oriented and of one component. Two sets of 512 clouds of 2048 points take about eight minutes of one CPU core. --emd is
slower: two sets of 100 clouds of 512 points take five minutes, of 2048 points hours.

--looks adds the Frechet distance of what CLIP sees of both sets, in [-1, 1]^3, and --captions the R-Precision: the
share of shapes that CLIP finds nearer to their own caption than to any other of the file.
"""

import contextlib
import dataclasses
import functools
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import tyro
from jaxtyping import Float
from tqdm import tqdm

from jax3d import cli
from jax3d.io.atomic import replacing
from jax3d.io.mesh import READABLE, load_mesh
from jax3d.io.points import load_points
from jax3d.io.weights import read_json
from jax3d.looks import looks
from jax3d.math import set_metrics
from jax3d.math.triangles import points_on
from jax3d.math.validity import Validity, validity
from jax3d.prior import clip
from jax3d.types import Mesh, Points

SUFFIXES = (".npz", *READABLE)


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of jax3d.evaluate."""

    generated: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="GENERATED")]]
    """Folder of the shapes to judge."""
    reference: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="REFERENCE")]]
    """Folder of the shapes to judge them by, best as many."""
    files: str = "*"
    """Which files of the generated folder, such as "*/mesh.glb"."""
    points: int = 2048
    """Points of a shape: drawn from larger clouds, sampled from meshes."""
    normalize: bool = False
    """Move each shape's bounding box to the origin and scale its longest side to 2."""
    emd: bool = False
    """Also by the earth mover's distance."""
    emd_points: int = 512
    """Points of a shape there; at most 2048."""
    looks: bool = False
    """Also the Frechet distance of CLIP's features of pictures."""
    captions: Path | None = None
    """JSON: {file below GENERATED: caption}, for R-Precision."""
    judge: str = "tiny-clip"
    """The CLIP model: a folder, a bundled name or a hub id."""
    seed: int = 0
    """Of the points drawn."""
    out: Path = Path("evaluation.json")
    """File of the results."""


def main(argv: list[str]) -> None:
    """Read both folders, print a table and write it."""
    options = _options(argv)
    made = read_shapes(options.generated, options.files, options.points, [options.seed, 0])
    real = read_shapes(options.reference, "*", options.points, [options.seed, 1])
    captions = read_captions(options.captions, made.names) if options.captions else None
    generated, reference = made.clouds, real.clouds
    if options.normalize:
        generated, reference = normalized(generated), normalized(reference)
    if len(generated) != len(reference):
        counts = f"{len(generated)} generated and {len(reference)} reference shapes"
        print(f"note: {counts}; 1-NNA and coverage are fair between sets of one size", file=sys.stderr)
    scores = {"chamfer": score(set_metrics.pairwise_chamfer, generated, reference)}
    if options.emd:
        fewer = (clouds[:, : options.emd_points] for clouds in (generated, reference))  # drawn in random order
        scores["emd"] = score(set_metrics.pairwise_emd, *fewer)
    print(f"{len(generated)} generated, {len(reference)} reference\n{'':8}{'1-NNA':>9}{'coverage':>11}{'MMD':>11}")
    for name, row in scores.items():
        print(f"{name:8}{row['1-nna']:>9.1%}{row['coverage']:>11.1%}{row['mmd']:>11.4g}")
    shares = shares_of(made.meshes)
    if shares:
        print(f"of {len(made.meshes)} meshes:", ", ".join(f"{share:.1%} {name}" for name, share in shares.items()))
    scores |= judged(options, made, real, captions)
    about = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    record = {"options": about, "counts": [len(generated), len(reference)], **scores, "meshes": shares}
    with replacing(options.out) as path:
        path.write_text(json.dumps(record, indent=2, default=str) + "\n")


def score(pairwise: Callable, generated: Float[np.ndarray, "n p 3"], reference: Float[np.ndarray, "m p 3"]) -> dict:
    """1-NNA and coverage in [0, 1] and MMD of two sets of clouds, under a `set_metrics.pairwise_...` distance."""
    watched = functools.partial(pairwise, watch=lambda done, total: tqdm(done, pairwise.__name__, total, disable=None))
    across, within = watched(generated, reference), watched(reference)
    distances = set_metrics.SetDistances(watched(generated), across, within)
    return {
        "1-nna": set_metrics.nearest_neighbor_accuracy(distances),
        "coverage": set_metrics.coverage(across),
        "mmd": set_metrics.minimum_matching_distance(across),
    }


def shares_of(found: list[Validity]) -> dict[str, float]:
    """Shares of meshes that are closed, oriented, of one component, and all of these; empty without meshes."""
    kinds = {
        "closed": [mesh.closed for mesh in found],
        "oriented": [mesh.oriented for mesh in found],
        "of one component": [mesh.components == 1 for mesh in found],
        "valid": [mesh.valid for mesh in found],
    }
    return {name: float(np.mean(values)) for name, values in kinds.items() if found}


class Found(NamedTuple):
    """The shapes of a folder."""

    clouds: np.ndarray  # [n, p, 3]
    shapes: list[Mesh | Points]  # n
    names: list[str]  # n, the files below the folder
    meshes: list[Validity]  # of those that are meshes


def judged(options: Options, made: Found, real: Found, captions: list[str] | None) -> dict[str, float]:
    """What CLIP says of them, printed too: the Frechet distance and the R-Precision that the options ask for."""
    said: dict[str, float] = {}
    if not options.looks and captions is None:
        return said
    judge = clip.load(options.judge)
    seen = looks(judge, made.shapes)
    if options.looks:
        said["frechet"] = set_metrics.frechet_distance(seen, looks(judge, real.shapes))
        print(f"Frechet distance of looks {said['frechet']:.4g}")
    if captions is not None:
        texts = sorted(set(captions))
        own = np.array([texts.index(caption) for caption in captions])
        similarity = seen @ np.asarray(judge.text_features(judge.params, texts)).T
        said["r_precision"] = set_metrics.r_precision(similarity, own)
        print(f"R-Precision {said['r_precision']:.1%} of {len(texts)} captions")
    return said


def read_captions(path: Path, names: list[str]) -> list[str]:
    """The caption of each file. Raises ValueError for a file that is none, or that leaves one out."""
    found = read_json(path)
    missing = [name for name in names if not isinstance(found.get(name), str)]
    if missing:
        raise ValueError(f"{path} must have a caption for each shape, but has none for {missing[0]}; add it.")
    return [found[name] for name in names]


def read_shapes(folder: Path, files: str, points: int, seed: list[int]) -> Found:
    """All shapes in a folder, with clouds of `points` points in random order.

    Raises ValueError for a folder without shapes, fewer than two of them, files that cannot be read and small clouds.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give the path of one with shapes.")
    paths = sorted(path for path in folder.glob(files) if path.suffix.lower() in SUFFIXES)
    found = Found([], [], [], [])
    for index, path in enumerate(paths):
        rng = np.random.default_rng([*seed, index])  # a shape's points do not depend on the shapes before it
        if path.suffix.lower() == ".npz":
            whole = read_npz(path)
            shapes = [Points(cloud) for cloud in whole]
        elif path.suffix.lower() == ".ply" and not _has_faces(path):
            shapes = [load_points(path)]
            whole = shapes[0].positions[None]
        else:
            shapes = [load_mesh(path)]
            whole = points_on(shapes[0], points, rng).positions[None]
            found.meshes.append(validity(shapes[0]))
        if points < 1 or whole.shape[1] < points:
            raise ValueError(f"clouds must have --points {points} or more, {path} has {whole.shape[1]}; ask for fewer.")
        found.clouds.extend(rng.permutation(cloud)[:points] for cloud in whole)
        found.shapes.extend(shapes)
        found.names.extend([path.relative_to(folder).as_posix()] * len(shapes))
    count = len(found.clouds)
    if count < 2:
        raise ValueError(f"sets need at least 2 shapes ({', '.join(SUFFIXES)}), {folder} has {count}; add some.")
    return found._replace(clouds=np.stack(found.clouds).astype(np.float32))


def read_npz(path: Path) -> Float[np.ndarray, "n p 3"]:
    """The array `points` [p, 3] or [n, p, 3] of a file. Raises ValueError where there is none."""
    try:
        with np.load(path) as arrays:
            points = arrays["points"].astype(np.float32)
    except Exception as error:  # zip, pickle and key errors alike
        raise ValueError(f"{path} must hold an array `points` ({error}); write it with numpy.savez.") from None
    if points.ndim not in (2, 3) or points.shape[-1] != 3:
        raise ValueError(f"`points` must be [p, 3] or [n, p, 3], got {list(points.shape)} in {path}; reshape them.")
    return points.reshape(-1, *points.shape[-2:])


def normalized(clouds: Float[np.ndarray, "n p 3"]) -> Float[np.ndarray, "n p 3"]:
    """Each cloud with the centre of its bounding box in the origin and the box's longest side of length 2."""
    low, high = clouds.min(axis=1, keepdims=True), clouds.max(axis=1, keepdims=True)
    side = (high - low).max(axis=2, keepdims=True)
    return (2 * clouds - low - high) / np.where(side > 0, side, 1)


def _has_faces(path: Path) -> bool:
    with path.open("rb") as file:
        return re.search(rb"element face +[1-9]", file.read(1 << 14).split(b"end_header")[0]) is not None


def _options(argv: list[str]) -> Options:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(Options, args=argv, prog="python -m jax3d.evaluate", description=__doc__)
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        if "Required options" in said.getvalue():
            raise ValueError(
                "two folders are needed: python -m jax3d.evaluate GENERATED REFERENCE [options]."
            ) from None
        raise ValueError(cli.sentence(said.getvalue())) from None


if __name__ == "__main__":
    cli.run(main)
