"""24 prompts into 3D, measured: silhouettes against the procedural world, category and colour by tiny-clip.

    python benchmarks/prompts.py [CONFIG] [--count 24] [--skip 0] [--out outputs/prompts] [field overrides]

Half of the prompts are colours held out of training for their category. Per prompt it prints

    iou          mean over 8 views of the silhouettes' intersection over union with the best of 64 random objects
                 of the category, all views under one common turn about the vertical
    seconds      of the whole, and of the processor, with loading and compilation
    recognised   whether tiny-clip, asked which of the 120 "a COLOUR CATEGORY" it sees in the 8 views, names the prompt
    views        share of the views in which, asked of that one alone, it does
"""

import dataclasses
import functools
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jax3d
from jax3d import cli
from jax3d.api import Method
from jax3d.data.procedural import CATEGORIES, COLORS, HELD_OUT, Spec, build, named, render_batch, stack
from jax3d.io.image import contact_sheet, enlarge, write_image
from jax3d.math.metrics import iou
from jax3d.math.orbit import turntable
from jax3d.prior import clip

VIEWS, TURNS, CANDIDATES, SIZE = 8, 16, 64, 64


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    count: int = 24
    """How many of the prompts."""
    skip: int = 0
    """And how many of those to leave out, from the first: to go on where a run ended."""
    seed: int = 0
    out: Path = Path("outputs/prompts")


def prompts() -> list[tuple[str, str]]:
    """(category, colour): for each category one pair of the training set and one that was held out."""
    pairs = []
    for k, category in enumerate(CATEGORIES):
        held = sorted(color for other, color in HELD_OUT if other == category)
        seen = [color for color in COLORS if color not in held]
        pairs += [(category, seen[(3 * k) % len(seen)]), (category, held[0])]
    return pairs


@functools.cache
def silhouettes(category: str) -> np.ndarray:
    """[candidates, turns, size, size] opacity of random objects of a category, seen from all around."""
    rng = np.random.default_rng(1)
    objects = [build(Spec(category, "red"), rng) for _ in range(CANDIDATES)]
    cameras = turntable(TURNS)
    rows = []
    for obj in objects:
        batch = stack([obj] * TURNS)
        rows.append(np.asarray(render_batch(batch, cameras, SIZE).opacity))
    return np.stack(rows) > 0.5


def best_iou(opacity: np.ndarray, category: str) -> float:
    """The mean IoU over views [views, s, s] with the best candidate under the best common turn."""
    masks = opacity > 0.5
    best = 0.0
    for candidate in silhouettes(category):
        for turn in range(TURNS):
            seen = np.roll(candidate, turn, axis=0)[:: TURNS // VIEWS]
            best = max(best, float(np.mean(iou(masks, seen))))
    return best


def recognised(judge: clip.CLIPScore, images: np.ndarray) -> tuple[tuple[str, str], list[tuple[str, str]]]:
    """(colour, category) that tiny-clip sees in some views of one object together, and in each alone."""
    pairs = [(color, category) for category in CATEGORIES for color in COLORS]
    texts = [named(*pair) for pair in pairs]
    scores = np.asarray(judge.similarity(judge.params, jnp.asarray(images), texts))
    return pairs[scores.mean(axis=0).argmax()], [pairs[best] for best in scores.argmax(axis=1)]


def measured(judge: clip.CLIPScore, asset: jax3d.Asset, category: str, color: str) -> tuple[dict, np.ndarray]:
    """The figures of one asset, and four of the pictures."""
    images, over_black = (asset.render(turntable(VIEWS), SIZE, background) for background in (1.0, 0.0))
    seen, alone = recognised(judge, images)
    row = {"iou": best_iou(1 - (images - over_black).mean(-1), category)}
    row |= {"seen": " ".join(seen), "recognised": seen == (color, category)}
    return row | {"views": float(np.mean([one == (color, category) for one in alone]))}, enlarge(images[::2], 128)


def main(argv: list[str]) -> None:
    """Generate, measure, print a table and write a contact sheet: a line a prompt, the stage before on its left."""
    suits = lambda config: isinstance(config, Method)  # noqa: E731
    options, method, _ = cli.parse(Options, "dreamfusion", argv, suits, "sample.py")
    judge = clip.load("tiny-clip")
    rows, sheet = [], []
    for category, color in prompts()[options.skip : options.count]:
        start, used = time.time(), time.process_time()
        prompt = named(color, category)
        asset = jax3d.generate(prompt, method=method, seed=options.seed, progress=False)
        row = {"prompt": prompt, "held_out": (category, color) in HELD_OUT}
        row |= {"seconds": time.time() - start, "processor": time.process_time() - used}
        for title, stage in (("before ", asset.before), ("", asset)):
            if stage is not None:
                figures, pictures = measured(judge, stage, category, color)
                row |= {title + name: value for name, value in figures.items()}
                sheet.append(pictures)
        rows.append(row)
        print(json.dumps(row), flush=True)
        write_image(contact_sheet(np.concatenate(sheet), 8), options.out / "sheet.png")
        jax.clear_caches()  # what a prompt has compiled is of no use to the next, and 250 MiB
    for title, part in (("all", rows), ("held out", [row for row in rows if row["held_out"]])):
        figures = [key for key in rows[0] if key not in ("prompt", "held_out") and "seen" not in key]
        print(title, json.dumps({key: float(np.mean([row[key] for row in part])) for key in figures}))
    (options.out / "rows.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    cli.run(main)
