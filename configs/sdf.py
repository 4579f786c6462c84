"""Solids from text: signed distances and colours on a grid of 32^3 nodes by a 3D U-Net; always closed meshes.

python sample.py sdf --prompt "a red chair" --count 8
python train.py sdf [--shapes.folder FOLDER --shapes.inflate 0.03]        writes runs/sdf/model

For a GPU: 21 steps a second on an NVIDIA H200 beside one other training, 46 alone, after some minutes of CPU for the
shapes. The bundled model had 8,086 steps in nearly ten minutes, the first 2,100 of them at the full rate (--train.steps
100000 and Ctrl-C, then --train.steps 8086). A CPU core takes half a second a shape; there, take --method.batch-size 4.
"""

from jax3d.codec.sdf_grid import SDFGrid
from jax3d.data.captioned import Shapes
from jax3d.methods.native import Native
from jax3d.native import NativeModel
from jax3d.nn.unet3d import UNet3D
from jax3d.train.loop import TrainConfig

config = NativeModel(
    method=Native(
        codec=SDFGrid(32),
        network=UNet3D(width=56, heads=4, multipliers=(1, 2), patch=2),
        dropout=0.2,
        sigma_mean=0.8,
        sigma_std=1.5,
        sigma_min=0.02,
        batch_size=64,
    ),
    model="tiny-sdf",
    shapes=Shapes(count=8000),
    train=TrainConfig(steps=8000, ema_decay=0.999, clip_norm=1.0, checkpoint_every=200),
)
