"""What 3D-native models are told of shapes: words, by the vectors of CLIP; classes; or nothing."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from jax3d import cli
from jax3d.prior import clip

Told = Literal["text", "class", "nothing"]


@dataclasses.dataclass(frozen=True, eq=False)
class Reader:
    """Words -> the vectors that a model was trained to be told."""

    size: int
    vectors: Callable[[Sequence[str]], np.ndarray]  # words -> [b, size]


def conditions(told: Told, judge: str, data: Mapping[str, np.ndarray]) -> np.ndarray:
    """What the shapes of a data set are told [n, wordings, d], of which one wording counts at a time."""
    reader = reader_of(told, judge, classes_of(data["name"]))
    named = [class_of(name) for name in data["name"]]
    wordings = (data["caption"], data["brief"]) if told == "text" else (named,)
    return np.stack([reader.vectors(list(map(str, words))) for words in wordings], 1)


def reader_of(told: Told, judge: str, classes: Sequence[str]) -> Reader:
    """How words become conditions. CLIP's vectors are scaled to numbers of size 1."""
    if told == "nothing":
        return Reader(0, lambda words: np.zeros((len(words), 0)))
    if told == "class":

        def one_hot(words: Sequence[str]) -> np.ndarray:
            for word in words:
                if word not in classes:
                    raise ValueError(f"this model has no class '{word}'{cli.nearest(word, list(classes))}.")
            return np.eye(len(classes))[[list(classes).index(word) for word in words]]

        return Reader(len(classes), one_hot)
    read = clip.load(judge)
    size = read.config.projection_dim

    def vectors(words: Sequence[str]) -> np.ndarray:
        parts = [read.text_features(read.params, words[k : k + 256]) for k in range(0, len(words), 256)]
        return np.concatenate(parts) * size**0.5

    return Reader(size, vectors)


def classes_of(names: np.ndarray) -> list[str]:
    """The classes of a data set, by the names of its shapes."""
    return sorted({class_of(name) for name in names})


def class_of(name: str) -> str:
    """Of 'chair-000012' (procedural) chair, of 'lamps/tall.glb' (a file) lamps."""
    return re.split(r"[/\\]|-\d+$", str(name))[0]
