"""How good a 3D-native model, Point-E or Shap-E is: captions recognised, sets compared, meshes closed, seconds.

    python benchmarks/shapes.py pointcloud [--captions 240] [--set 512] [--model FOLDER] [--sheet docs/pointcloud.jpg]
    python benchmarks/shapes.py point_e [--bare]        its meshes, or its points alone
    python benchmarks/shapes.py shap_e [--pictures]     told pictures of such objects instead of captions; Point-E too

Captions are plain ones of the pairs of category and colour held out of training. Recognised = of the 120 texts "a
COLOUR CATEGORY", the right one is nearest to the shape's looks (jax3d/looks): R-Precision with those 120 captions. The
first line is the same for real shapes of those captions: what the judge itself can do. The sets are samples of the
model that is asked for nothing, and real shapes that training has not seen, both as points; 1-NNA is 50 % where nobody
could tell them apart, and the Frechet distance is that of looks.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import numpy as np

from jax3d import cli
from jax3d.asked import opaque
from jax3d.data.captioned import Pictures, Shapes
from jax3d.data.procedural import CATEGORIES, COLORS, HELD_OUT, named
from jax3d.evaluate import score, shares_of
from jax3d.io.image import write_image
from jax3d.looks import looks
from jax3d.math import set_metrics
from jax3d.math.triangles import points_on
from jax3d.math.validity import validity
from jax3d.native import NativeModel, load_model
from jax3d.point_e import PointE, meshes
from jax3d.preview import preview
from jax3d.prior import clip, point_e_folder, shap_e_folder
from jax3d.scene.point_e import points_of
from jax3d.shap_e import ShapE, mesh_of
from jax3d.types import Mesh, Points

PAIRS = [(color, category) for category in CATEGORIES for color in COLORS]


def recognised(judge: clip.CLIPScore, shapes: list[Mesh | Points], truth: list[tuple[str, str]]) -> dict[str, float]:
    """Shares of shapes whose colour, category, and both are named right."""
    texts = np.asarray(judge.text_features(judge.params, [named(*pair) for pair in PAIRS]))
    best = [PAIRS[row] for row in np.argmax(looks(judge, shapes) @ texts.T, axis=1)]
    color, category = (np.array([a[k] == b[k] for a, b in zip(best, truth, strict=True)]) for k in (0, 1))
    return {"both": float((color & category).mean()), "color": float(color.mean()), "category": float(category.mean())}


def cloud(shape: Mesh | Points, count: int, rng: np.random.Generator) -> Points:
    """So many points of a shape, without normals, which samples of points lack."""
    shape = shape if isinstance(shape, Points) else points_on(shape, count, rng)
    return Points(shape.positions[:count], shape.colors[:count])


SPECK = Mesh(1e-3 * np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32), np.eye(3, dtype=np.float32))
"""In place of a shape that is none; it counts as invalid."""
Asked = Sequence[str | np.ndarray | None]
"""Captions or pictures [h, w, 3]; None = anything."""
Draw = Callable[[Asked, int], list[Mesh | Points]]
"""Shapes of what is asked for, and a seed."""


def native(config: NativeModel, options: argparse.Namespace) -> Draw:
    """Of a 3D-native model."""
    model = load_model(config, options.model)
    if options.guidance is not None:
        model = dataclasses.replace(model, method=dataclasses.replace(model.method, guidance=options.guidance))

    def decoded(x0: np.ndarray) -> Mesh | Points:
        try:
            return model.decode(x0[None])[0]
        except ValueError as error:
            print("no shape:", error)
            return SPECK

    return lambda captions, seed: [decoded(x0) for x0 in model.arrays(captions, seed=seed)]


def point_e(config: PointE, options: argparse.Namespace) -> Draw:
    """Of Point-E: meshes, or with --bare points."""
    model, run = point_e_folder.load(options.model or config.model), config.coarse
    run = run if options.guidance is None else dataclasses.replace(run, guidance=options.guidance)

    def draw(rows: Asked, seed: int) -> list[Mesh | Points]:
        clouds = []
        for prompts, image, keys in batches(rows, seed):
            cloud = model.coarse(prompts, image, keys, run)
            finer = jax.vmap(jax.random.fold_in, (0, None))(keys, 1)
            clouds += list(np.asarray(model.finer(cloud, image, finer, config.fine)))
        if options.bare:
            return [points_of(cloud) for cloud in clouds]
        return [mesh or SPECK for mesh in meshes(config, model, np.stack(clouds))]

    return draw


def shap_e(config: ShapE, options: argparse.Namespace) -> Draw:
    """Of Shap-E: meshes with coloured vertices."""
    told, run = ("image", config.image) if options.pictures else ("text", config.text)
    model = shap_e_folder.load(options.model or config.model, told)
    run = run if options.guidance is None else dataclasses.replace(run, guidance=options.guidance)

    def draw(rows: Asked, seed: int) -> list[Mesh | Points]:
        latents = [np.asarray(model.latents(*some, run)) for some in batches(rows, seed)]
        return [mesh_of(*model.decoder, z, resolution=config.resolution) or SPECK for z in np.concatenate(latents)]

    return draw


def batches(rows: Asked, seed: int, size: int = 8) -> Iterator[tuple[Sequence, np.ndarray | None, jax.Array]]:
    """(prompts, picture, keys): some captions at a time, as many each time, or one picture."""
    size = 1 if isinstance(rows[0], np.ndarray) else size
    if len(rows) % size:
        raise ValueError(f"give a multiple of {size} captions, not {len(rows)}.")
    keys = jax.random.split(jax.random.key(seed), len(rows))
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        prompts, image = ([None], some[0]) if isinstance(some[0], np.ndarray) else (some, None)
        yield prompts, image, keys[start : start + size]


def seen(count: int) -> tuple[list[np.ndarray], list[tuple[str, str]]]:
    """Pictures of held-out objects over white, and their colours and categories."""
    data = Pictures(count=count, seed=2, held_out=True).load()
    truth = [(spec["color"], spec["category"]) for spec in map(json.loads, map(str, data["spec"]))]
    return [opaque(rgba / np.float32(255)) for rgba in data["rgba"]], truth


def main() -> None:
    """Print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--model")
    parser.add_argument("--captions", type=int, default=240)
    parser.add_argument("--set", type=int, default=512)
    parser.add_argument("--points", type=int, default=2048)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--pictures", action="store_true")
    options = parser.parse_args()
    config = cli.load_config(options.config)[0]
    draw = {PointE: point_e, ShapE: shap_e}.get(type(config), native)(config, options)
    judge = clip.load("tiny-clip")

    pairs = [(color, category) for category, color in sorted(HELD_OUT)]
    truth = [pairs[k % len(pairs)] for k in range(options.captions)]
    data = Shapes(count=min(options.captions, 96), held_out=True).load()
    spoken = [next(pair for pair in PAIRS if _says(str(caption), pair)) for caption in data["caption"]]
    real = [
        Points(p[: options.points], c[: options.points]) for p, c in zip(data["points"], data["colors"], strict=True)
    ]
    print("real shapes", recognised(judge, real, spoken), flush=True)

    rows = [named(*pair) for pair in truth]
    if options.pictures:
        rows, truth = seen(options.captions)
    draw(rows[:8], 0)  # compiles
    start = time.process_time()
    shapes = draw(rows, 0)
    print(f"{(time.process_time() - start) / len(rows):.2f} s of processor time an asset")
    print("samples", json.dumps(recognised(judge, shapes, truth)), flush=True)
    if options.sheet:
        write_image(preview(shapes[:32]), options.sheet)
    if isinstance(shapes[0], Mesh):
        print("meshes", json.dumps(shares_of([validity(mesh) for mesh in shapes])))

    if options.set:
        rng = np.random.default_rng(0)
        free = [cloud(s, options.points, rng) for s in draw([None] * options.set, 1)]
        data = Shapes(count=options.set, seed=1).load()
        held = [cloud(Points(*both), options.points, rng) for both in zip(data["points"], data["colors"], strict=True)]
        clouds = (np.stack([shape.positions for shape in shapes]) for shapes in (free, held))
        print(json.dumps(score(set_metrics.pairwise_chamfer, *clouds)))
        print("Frechet distance", set_metrics.frechet_distance(looks(judge, free), looks(judge, held)))


def _says(caption: str, pair: tuple[str, str]) -> bool:
    """Whether a caption is of this pair: its first colour and its category."""
    words = caption.split()
    colors = [word for word in words if word in COLORS]
    return bool(colors) and colors[0] == pair[0] and pair[1] in words


if __name__ == "__main__":
    main()
