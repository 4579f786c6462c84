"""A data set as a value: which pictures of the procedural world a model trains on."""

import dataclasses
from pathlib import Path

import numpy as np

from jax3d.data.pictures import picture_dataset


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Captioned pictures, rendered once and kept on disk."""

    count: int = 24576
    size: int = 64
    """Pixels along an edge."""
    seed: int = 0
    held_out: bool = False
    """Of the held-out pairs of category and colour instead of the others."""
    cache: Path = Path(".cache/pictures")

    def load(self) -> dict[str, np.ndarray]:
        """`rgba` [n, size, size, 4], `caption` with the words of the view, and the angles; renders what is missing."""
        return picture_dataset(self.count, self.size, self.seed, held_out=self.held_out, cache=self.cache)
