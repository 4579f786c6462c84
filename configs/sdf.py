"""Solids from text: signed distances and colours on a grid of 32^3 nodes by a 3D U-Net; always closed meshes.

python sample.py sdf --prompt "a red chair" --count 8
python train.py sdf [--shapes.folder FOLDER --shapes.inflate 0.03]        writes runs/sdf/model
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
        network=UNet3D(width=48, heads=2, multipliers=(1, 2), patch=4, local=256),
        skip=False,
        sigma_mean=1.2,
        sigma_std=1.5,
        sigma_min=0.05,
        batch_size=16,
    ),
    model="tiny-sdf",
    shapes=Shapes(count=3000),
    train=TrainConfig(steps=2400, ema_decay=0.995, clip_norm=1.0, checkpoint_every=200),
)
