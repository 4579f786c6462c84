"""A data set as a value: which pictures or shapes a model trains on."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

from jax3d.data.meshes import mesh_dataset, procedural_dataset
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


@dataclasses.dataclass(frozen=True)
class Shapes:
    """Captioned shapes: a folder of meshes, or the procedural world; converted once and kept on disk."""

    folder: Path | None = None
    """Of meshes; None = the procedural world."""
    count: int = 4096
    """Objects of the procedural world."""
    points: int = 4096
    """Points kept of each."""
    resolution: int = 32
    """Nodes along an edge of the grid of signed distances."""
    truncation: float | None = None
    inflate: float = 0.0
    """Subtracted from the distances of meshes, so that open and thin ones have an inside."""
    up: Literal["z", "y"] = "z"
    """The axis that points up in mesh files other than .glb."""
    held_out: bool = False
    """Of the held-out pairs of category and colour instead of the others."""
    seed: int = 0

    def load(self) -> dict[str, np.ndarray]:
        """The arrays of `data/meshes`: points, colors, normals, sdf, name, caption ..."""
        same = {"points": self.points, "resolution": self.resolution, "truncation": self.truncation, "seed": self.seed}
        if self.folder is None:
            return procedural_dataset(self.count, held_out=self.held_out, **same)
        return mesh_dataset(self.folder, inflate=self.inflate, up=self.up, **same)
