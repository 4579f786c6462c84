"""The regressor of a small Point-E: signed distances to the surface that a cloud of 512 points lies on.

    python train.py point_e_sdf [--shapes.folder MESHES] [--warm runs/point_e/sdf]

Writes runs/point_e/sdf; one CPU core (AMD EPYC, 2.6 GHz): 0.25 s a step.
"""

from jax3d.methods.point_e_sdf import Distances
from jax3d.nn.point_e_config import PointSDFConfig
from jax3d.point_e_training import PointEPart
from jax3d.train.loop import TrainConfig

config = PointEPart(
    part="sdf",
    method=Distances(PointSDFConfig(64, 2, 2, 2, 2, n_ctx=512), batch_size=8),
    train=TrainConfig(steps=4000, ema_decay=0.995, clip_norm=1.0, checkpoint_every=250),
)
