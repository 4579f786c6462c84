"""The upsampler of a small Point-E: 1,536 more points of a cloud of 512.

    python train.py point_e_upsample [--shapes.folder MESHES] [--warm runs/point_e/upsample]

Writes runs/point_e/upsample; one CPU core (AMD EPYC, 2.6 GHz): 1.2 s a step. It is told a picture for half of the
examples, as captions bring none, and makes 384 of the points of an example.
"""

from jax3d.methods.denoising import Denoising
from jax3d.nn.point_e_config import CHANNEL_BIASES, CHANNEL_SCALES, PointEConfig
from jax3d.point_e_training import PointEPart
from jax3d.train.loop import TrainConfig

config = PointEPart(
    part="upsample",
    method=Denoising(
        PointEConfig(
            96,
            4,
            2,
            n_ctx=1536,
            grid_features=128,
            cond_ctx=512,
            channel_scales=CHANNEL_SCALES,
            channel_biases=CHANNEL_BIASES,
        ),
        mean_type="v",
        schedule="linear",
        unseen=0.5,
        drawn=384,
        batch_size=8,
    ),
    train=TrainConfig(steps=2000, ema_decay=0.995, clip_norm=1.0, checkpoint_every=250),
)
