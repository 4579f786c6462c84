"""How good the bundled models are: pictures recognised by tiny-clip, real renders and sampled ones.

    python benchmarks/bundled.py [--renders 2048] [--samples 240]

Renders are of pairs of category and colour seen in training and held out of it, from elevations of -15 to 75 degrees;
samples are of plain captions of the held-out pairs from 0 to 40 degrees.
Recognised = of the 120 texts "a COLOUR CATEGORY", the right one is nearest.
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jax3d.data.captioned import Pictures
from jax3d.data.procedural import CATEGORIES, COLORS, HELD_OUT, named, view_phrase
from jax3d.io.image import contact_sheet, enlarge, write_image
from jax3d.math.pixels import over_random_background
from jax3d.prior import clip, stable_diffusion
from jax3d.prior.text_to_image import sample_images

PAIRS = [(color, category) for category in CATEGORIES for color in COLORS]
TEXTS = [named(*pair) for pair in PAIRS]


def accuracy(judge: clip.CLIPScore, images: np.ndarray, truth: list[tuple[str, str]]) -> dict[str, float]:
    """Shares of pictures whose colour, category, and both are named right."""
    best = [
        PAIRS[i] for i in np.asarray(jnp.argmax(judge.similarity(judge.params, jnp.asarray(images), TEXTS), axis=1))
    ]
    color, category = (np.array([a[k] == b[k] for a, b in zip(best, truth, strict=True)]) for k in (0, 1))
    return {"both": float((color & category).mean()), "color": float(color.mean()), "category": float(category.mean())}


def main() -> None:
    """Print both shares, and write a sheet of samples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--renders", type=int, default=2048)
    parser.add_argument("--samples", type=int, default=240)
    parser.add_argument("--scale", type=float, default=4.0)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path("outputs/bundled.png"))
    options = parser.parse_args()
    judge = clip.load("tiny-clip")

    for held_out in (False, True):
        data = Pictures(count=options.renders, held_out=held_out, seed=7).load()
        specs = [json.loads(spec) for spec in data["spec"]]
        keys = jax.random.split(jax.random.key(0), len(specs))
        images = np.asarray(over_random_background(data["rgba"], keys))
        truth = [(spec["color"], spec["category"]) for spec in specs]
        print(f"renders of {'held-out' if held_out else 'seen'} pairs")
        for low, high in (-15, 75), (-15, 60), (0, 40):
            rows = np.flatnonzero((data["elevation"] >= low) & (data["elevation"] <= high))
            print(f"  from {low} to {high} degrees", accuracy(judge, images[rows], [truth[k] for k in rows]))

    prior = stable_diffusion.load("tiny-sd")
    rng = np.random.default_rng(0)
    truth = [(color, category) for category, color in sorted(HELD_OUT)]
    truth = [truth[k % len(truth)] for k in range(options.samples)]
    captions = [
        f"{named(color, category)}, {view_phrase(rng.uniform(0, 360), rng.uniform(0, 40))}" for color, category in truth
    ]
    samples = sample_images(prior, prior.params, captions, jax.random.key(1), options.steps, options.scale)
    print("samples", accuracy(judge, np.asarray(samples), truth))
    write_image(contact_sheet(enlarge(np.asarray(samples[:48]), 128), 8), options.out)


if __name__ == "__main__":
    main()
