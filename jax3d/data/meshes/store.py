"""Examples kept on disk, one .npz each: written whole or not at all, and made again where they are damaged."""

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jax3d.io.atomic import replacing

Example = dict[str, np.ndarray]


def kept(path: Path, make: Callable[[], Example], fresh: Callable[[Example], bool] = bool) -> Example:
    """What the file holds, or what `make` gives when it is missing, damaged or not `fresh`, which is then kept."""
    try:
        with np.load(path) as file:
            example = dict(file)
        if fresh(example):
            return example
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        pass
    example = make()
    with replacing(path) as temporary:
        np.savez(temporary, **example)
    return example


def stacked(examples: list[Example], truncation: float | None) -> Example:
    """One array for each name, the examples along its first axis; `sdf` clipped to +- `truncation`."""
    arrays = {name: np.stack([example[name] for example in examples]) for name in examples[0]}
    limit = np.inf if truncation is None else truncation
    return {**arrays, "sdf": np.clip(arrays["sdf"], -limit, limit)}
