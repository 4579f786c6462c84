"""Point clouds from text: 2,048 coloured points by a set transformer.

python sample.py pointcloud --prompt "a red chair" --count 16
python train.py pointcloud [--shapes.folder FOLDER --told class]        writes runs/pointcloud/model

For a GPU: 48 steps a second on an NVIDIA H200 (median). The bundled model had 13,528 steps with EDM's noise
(--method.sigma-mean -1.2 --method.sigma-std 1.2), and 24,897 more (--warm --method.learning-rate 3e-3) with the noise
below, the first 12,291 of them at the full rate (--train.steps 100000 and Ctrl-C, then --train.steps 24897). Of EDM's
examples 6 % lie at sigma = 2 to 8, where kinds part, and 19 % of these: 1-NNA fell from 63 to 60 %. A CPU core takes
1.2 s a step with --method.batch-size 16 --method.codec.drawn 512 --method.network.seen 256.
"""

from jax3d.codec.points import PointCloud
from jax3d.data.captioned import Shapes
from jax3d.methods.native import Native
from jax3d.native import NativeModel
from jax3d.nn.set_transformer import SetTransformer
from jax3d.train.loop import TrainConfig

config = NativeModel(
    method=Native(
        codec=PointCloud(2048, drawn=1024),
        network=SetTransformer(width=128, layers=6, heads=4, seen=512),
        dropout=0.2,
        sigma_mean=-0.4,
        sigma_std=1.6,
        batch_size=64,
    ),
    model="tiny-pointcloud",
    shapes=Shapes(count=8000),
    train=TrainConfig(steps=13500, ema_decay=0.999, clip_norm=1.0, checkpoint_every=200),
)
