"""The base network of a small Point-E: 512 coloured points from a caption or a picture.

    python train.py point_e_base [--shapes.folder MESHES] [--warm runs/point_e/base]

Writes runs/point_e/base and runs/point_e_base/samples.png. For a GPU: 3.5 minutes on an NVIDIA H200 beside four other
trainings (28 steps a second; 67 beside one). On CPUs, take --method.batch-size 8: 1 s a step of a core. The bundled
network had a second round:

    python train.py point_e_base --workdir runs/point_e_base_more --warm runs/point_e/base --method.learning-rate 2e-3
        --train.steps 2000
"""

from jax3d.data.captioned import Shapes
from jax3d.methods.denoising import Denoising
from jax3d.nn.point_e_config import PointEConfig
from jax3d.point_e_training import PointEPart
from jax3d.train.loop import TrainConfig

config = PointEPart(
    part="base",
    method=Denoising(PointEConfig(128, 6, 4, n_ctx=512, vector_features=64), mean_type="v", batch_size=64),
    shapes=Shapes(count=6000),
    views=2,
    train=TrainConfig(steps=5000, ema_decay=0.998, clip_norm=1.0, checkpoint_every=250),
)
