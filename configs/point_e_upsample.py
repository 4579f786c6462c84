"""The upsampler of a small Point-E: 1,536 more points of a cloud of 512.

    python train.py point_e_upsample [--shapes.folder MESHES] [--warm runs/point_e/upsample]

Writes runs/point_e/upsample. For a GPU: 2.7 minutes on an NVIDIA H200 beside four other trainings. On CPUs, take
--method.batch-size 8 --method.drawn 384, a part of the points of an example: 1.2 s a step of a core. It is told a
picture for half of the examples, as captions bring none.
"""

from jax3d.data.captioned import Shapes
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
        batch_size=24,
    ),
    shapes=Shapes(count=6000),
    views=2,
    train=TrainConfig(steps=2000, ema_decay=0.995, clip_norm=1.0, checkpoint_every=250),
)
