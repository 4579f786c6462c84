"""From a file of points to a mesh around them: joins the file, the method and the loop.

python train.py wrap --data scan.ply
"""

import dataclasses
from pathlib import Path

import numpy as np

from jax3d.asset import Asset
from jax3d.data.posed_images import Similarity
from jax3d.io.points import load_points
from jax3d.methods.wrap import Wrap
from jax3d.train.loop import TrainConfig
from jax3d.train.state import State
from jax3d.types import Points, Task

REACH = 0.8
"""Half the longest side of the cloud's box, in our cube [-1, 1]^3."""


@dataclasses.dataclass(frozen=True)
class Cloud:
    """What `train.py wrap` does."""

    data: Path | None = None
    """A .ply file of points, with or without colours."""
    method: Wrap = Wrap()
    checkpoint_every: int = 200
    """Steps between checkpoints."""
    training_seed: int = 0
    """Of the initial texture and of every draw."""

    @property
    def train(self) -> TrainConfig:
        """As long as the method's schedules."""
        return TrainConfig(self.method.steps, self.training_seed, checkpoint_every=self.checkpoint_every)

    def task(self) -> Task:
        """The points in our cube."""
        return self.method.task(self._placed()[0])

    def finish(self, state: State, workdir: Path) -> None:
        """The mesh where the points of the file are, a turntable of it and figures, in the run's own folder."""
        _, similarity = self._placed()
        params = self.method.whole(state.averaged)
        mesh = self.method.scene.export(params)
        mesh = mesh._replace(vertices=similarity.to_file(mesh.vertices).astype(np.float32))
        figures = {"data": str(self.data), "steps": int(state.step)}
        Asset(self.method.scene, params, mesh, None, figures).save(workdir)

    def _placed(self) -> tuple[Points, Similarity]:
        """The cloud in our cube, and the way there."""
        if self.data is None:
            raise ValueError("wrap needs a file of points; give it with --data FILE.ply.")
        cloud = load_points(self.data)
        low, high = cloud.positions.min(0), cloud.positions.max(0)
        if not (np.isfinite(high - low).all() and (high - low).max() > 0):
            raise ValueError(
                f"a cloud has finite points in more than one place, those of {self.data} span {high - low}."
            )
        similarity = Similarity(2 * REACH / (high - low).max(), (low + high) / 2)
        return cloud._replace(positions=similarity.to_ours(cloud.positions).astype(np.float32)), similarity
