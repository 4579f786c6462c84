"""A radiance field of posed pictures: NeRF with a hash grid and an occupancy grid.

    python train.py nerf --data FOLDER [--workdir DIR]
    python sample.py nerf --from DIR [--path CAMERAS.json]

FOLDER holds NeRF-synthetic's, instant-ngp's, LLFF's or COLMAP's files. DIR gets the test views beside the truth, depth
maps, mesh, points, turntable and figures. `--method.scene.field ...` and the other configs change the field.
"""

import dataclasses
from pathlib import Path

from jax3d.data.posed_images import PosedImages, load
from jax3d.math.ramp import ramp
from jax3d.methods.reconstruct import Reconstruct
from jax3d.nn.encoded_field import EncodedField, HashGrid
from jax3d.nn.field import Haze
from jax3d.reconstruction import report
from jax3d.render.packed import Occupancy
from jax3d.scene.nerf import NeRF
from jax3d.train.loop import TrainConfig
from jax3d.train.state import State
from jax3d.types import Task


@dataclasses.dataclass(frozen=True)
class Capture:
    """What `train.py nerf` does."""

    data: Path | None = None
    """Folder of the pictures and their cameras."""
    downscale: int = 1
    """Pictures are made smaller by this factor."""
    scene_scale: float | None = None
    """Length in our cube [-1, 1]^3 of the file's unit; None = what suits the format."""
    test: str | None = "test"
    """The split that is kept for testing; None = no test views."""
    method: Reconstruct = Reconstruct(
        scene=NeRF(
            field=EncodedField(encoder=HashGrid(levels=12, log2_size=16, finest=512), bias=Haze()),
            occupancy=Occupancy(budget=2**16),
        ),
        rays=8192,
        steps=2000,
        learning_rate=ramp(1e-2, 3e-4),
    )
    train: TrainConfig = TrainConfig(steps=2000, checkpoint_every=500)

    @property
    def scene(self) -> NeRF:
        """What `sample.py nerf --from DIR` renders."""
        return self.method.scene

    def task(self) -> Task:
        """The pictures of the training split."""
        self._load(self.test)  # so that a mistake there shows before the work
        data = self._load("train")
        return self.method.task(data.rgba, data.camera)

    def finish(self, state: State, workdir: Path) -> None:
        """Test views, geometry and figures, in the run's own folder."""
        test = self._load(self.test)
        report(self.scene, state.averaged["scene"], self._load("train").similarity, test, workdir)

    def _load(self, split: str | None) -> PosedImages | None:
        if self.data is None:
            raise ValueError("nerf needs a folder of posed pictures; give it with --data FOLDER.")
        if split is None:
            return None
        return load(self.data, split, downscale=self.downscale, scene_scale=self.scene_scale)


config = Capture()
