"""Point clouds as arrays [n, c]: a point's position and, where asked for, its colour and normal.

    x0 = (position, 2 colour - 1, normal / 2)

An object fills the ball of radius 0.9, so that each part has a standard deviation of about a half. The points of an
example are a new random subset of those kept at every draw, and a model never sees them in an order.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jax3d.types import Key, Params, Points


@dataclasses.dataclass(frozen=True)
class PointCloud:
    """A codec of coloured point clouds."""

    count: int = 2048
    """Points of a cloud."""
    drawn: int | None = None
    """Points of an example in training, fewer than `count` for networks that take any number; None = `count`."""
    colors: bool = True
    normals: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """[n, c]."""
        return self.count, 3 + 3 * self.colors + 3 * self.normals

    def encode(self, data: Mapping[str, np.ndarray], params: Params | None = None) -> tuple[Params, np.ndarray]:
        """All points of a data set, float16 [m, stored, c]; no weights. ValueError where it has fewer than `count`."""
        stored = data["points"].shape[1]
        if stored < self.count:
            raise ValueError(
                f"clouds of {self.count} points need as many kept, got {stored}; keep more or ask for fewer."
            )
        parts = [data["points"]]
        if self.colors:
            parts.append(2 * data["colors"] - 1)
        if self.normals:
            parts.append(0.5 * data["normals"])
        return {}, np.concatenate([part.astype(np.float16) for part in parts], axis=-1)

    def draw(self, kept: Float[Array, "m c"], key: Key) -> Float[Array, "n c"]:
        """A random subset."""
        rows = jax.random.choice(key, len(kept), (self.drawn or self.count,), replace=False)
        return kept[rows].astype(jnp.float32)

    def half(self, kept: Float[np.ndarray, "m c"], axis: int, sign: int) -> tuple[np.ndarray, np.ndarray]:
        """(x0, mask) that hold the points on one side of the origin, as many of the cloud's as of those kept.

        They are spread evenly over the cloud, for a network may look at its first points alone.
        """
        rows = kept[kept[:, axis] * sign > 0]
        rows = rows[: len(rows) * self.count // len(kept)]
        places = np.arange(len(rows)) * self.count // max(len(rows), 1)
        x0, mask = np.zeros(self.shape, np.float32), np.zeros((self.count, 1), np.float32)
        x0[places], mask[places] = rows, 1
        return x0, mask

    def decode(self, params: Params, x0: Float[np.ndarray, "n c"]) -> Points:
        """The cloud, its colours in [0, 1] and its normals of unit length."""
        x0 = np.asarray(x0, np.float32)
        colors = np.clip(0.5 + 0.5 * x0[:, 3:6], 0, 1) if self.colors else None
        normals = x0[:, -3:] / np.maximum(np.linalg.norm(x0[:, -3:], axis=-1, keepdims=True), 1e-6)
        return Points(x0[:, :3], colors, normals if self.normals else None)
