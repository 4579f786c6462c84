"""The procedural world in the arrays of a mesh data set, so that models trained on one train on the other.

Points, normals and colours are on the true surface; distances are exact outside, and inside a bound of the depth
(data/procedural/solid.py). Each example is a pure function of (seed, held_out) and its number.
"""

from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from jax3d.data import procedural
from jax3d.data.meshes.sdf_grid import cell
from jax3d.data.meshes.store import Example, kept, stacked
from jax3d.math.grid import nodes

VERSION = 2
"""Part of the name on disk; goes up when the objects of the world change."""


def procedural_dataset(
    count: int,
    *,
    points: int = 4096,
    resolution: int = 64,
    truncation: float | None = None,
    seed: int = 0,
    held_out: bool | None = False,
    cache: Path | str = ".cache/solids",
) -> dict[str, np.ndarray]:
    """`count` objects in the arrays of `mesh_dataset`, made where they are not on disk yet.

    `name` is the category and the number; captions leave out details at random, and `brief` all but colour and
    category. `held_out` chooses those of the held-out pairs of category and colour, the others, or (None) both. Raises
    ValueError for settings out of range.
    """
    if min(count, points) < 1 or (truncation is not None and not truncation > 0):
        raise ValueError(
            f"a data set needs count and points >= 1 and truncation > 0 or None, got {count}, {points}, {truncation}."
        )
    cell(resolution)
    split = {False: "train", True: "heldout", None: "all"}[held_out]
    folder = Path(cache) / f"v{VERSION}-{split}-{points}points-{resolution}nodes-seed{seed}"
    examples = []
    for index in tqdm(range(count), f"objects ({split})", unit="object"):
        rng = np.random.default_rng([seed, index])
        examples.append(kept(folder / f"{index:06d}.npz", lambda rng=rng: _example(rng, points, resolution, held_out)))
        examples[-1]["name"] = np.array(f"{examples[-1]['name']}-{index:06d}")
    return stacked(examples, truncation)


def _example(rng: np.random.Generator, count: int, resolution: int, held_out: bool | None) -> Example:
    spec = procedural.sample_spec(rng, held_out)
    obj = procedural.build(spec, rng)
    drawn = procedural.points(obj, count, rng)
    return {
        "points": drawn.positions,
        "colors": drawn.colors,
        "normals": drawn.normals,
        "sdf": np.asarray(_distances(obj, nodes(resolution))),
        "scale": np.float32(1),
        "centre": np.zeros(3, np.float32),
        "rotation": np.eye(3, dtype=np.float32),
        "name": np.array(spec.category),
        "caption": np.array(procedural.caption(spec, rng)),
        "brief": np.array(procedural.named(spec.color, spec.category)),
    }


@jax.jit
def _distances(obj, where):
    return jax.lax.map(lambda plane: procedural.distance(obj, plane), where)
