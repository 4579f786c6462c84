"""Solids from text: signed distances and colours on a grid of 32^3 nodes by a 3D U-Net; always closed meshes.

python sample.py sdf --prompt "a red chair" --count 8
python train.py sdf [--shapes.folder FOLDER --shapes.inflate 0.03]        writes runs/sdf/model

For a GPU: a minute on an NVIDIA H200 (38 steps a second beside four other trainings, 85 beside one), after some minutes
of CPU for the shapes. One CPU core takes 10 s a step; there, take --method.batch-size 4. The bundled model had a second
round: python train.py sdf --workdir runs/sdf_more --warm --model runs/sdf/model --method.learning-rate 2e-3
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
        network=UNet3D(width=48, heads=4, multipliers=(1, 2), patch=2),
        sigma_mean=0.8,
        sigma_std=1.5,
        sigma_min=0.02,
        batch_size=32,
    ),
    model="tiny-sdf",
    shapes=Shapes(count=8000),
    train=TrainConfig(steps=2000, ema_decay=0.995, clip_norm=1.0, checkpoint_every=200),
)
