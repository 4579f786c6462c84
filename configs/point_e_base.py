"""The base network of a small Point-E: 512 coloured points from a caption or a picture.

    python train.py point_e_base [--shapes.folder MESHES] [--warm runs/point_e/base]

Writes runs/point_e/base and runs/point_e_base/samples.png; one CPU core (AMD EPYC, 2.6 GHz): 0.85 s a step. An example
has half of the points, so that there may be twice as many; a second round with all of them goes on from there:

    python train.py point_e_base --workdir runs/point_e_base_all --warm runs/point_e/base --method.drawn None
        --method.batch-size 8 --method.learning-rate 2e-3 --train.steps 2600
"""

from jax3d.methods.denoising import Denoising
from jax3d.nn.point_e_config import PointEConfig
from jax3d.point_e_training import PointEPart
from jax3d.train.loop import TrainConfig

config = PointEPart(
    part="base",
    method=Denoising(PointEConfig(128, 6, 2, n_ctx=512, vector_features=64), mean_type="v", drawn=256),
    train=TrainConfig(steps=6000, ema_decay=0.998, clip_norm=1.0, checkpoint_every=250),
)
