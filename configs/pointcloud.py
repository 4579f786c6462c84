"""Point clouds from text: 2,048 coloured points by a set transformer with latents.

python sample.py pointcloud --prompt "a red chair" --count 16
python train.py pointcloud [--shapes.folder FOLDER --told class]        writes runs/pointcloud/model

For a GPU: 28 steps a second on an NVIDIA H200 beside four other trainings. On CPUs, take --method.batch-size 16. The
bundled model had 2,800 steps with 16 shapes of 512 points each and 2,500 of these, with --method.learning-rate 2e-3.
"""

from jax3d.codec.points import PointCloud
from jax3d.data.captioned import Shapes
from jax3d.methods.native import Native
from jax3d.native import NativeModel
from jax3d.nn.set_transformer import LatentSetTransformer
from jax3d.train.loop import TrainConfig

config = NativeModel(
    method=Native(
        codec=PointCloud(2048, drawn=1024),
        network=LatentSetTransformer(width=160, latents=64, rounds=3, layers=2, heads=2, point_width=80),
        batch_size=64,
    ),
    model="tiny-pointcloud",
    shapes=Shapes(count=8000),
    train=TrainConfig(steps=2800, ema_decay=0.995, clip_norm=1.0, checkpoint_every=200),
)
