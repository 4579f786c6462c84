"""Solids from text: planes of features that a small decoder reads, by a U-Net that is told along the lines they share.

python sample.py triplane --prompt "a red chair" --count 8
python train.py triplane [--shapes.folder FOLDER --shapes.inflate 0.03]        writes runs/triplane/model

For a GPU: 72 s on an NVIDIA H200 beside four other trainings (28 steps a second), once the shapes and their planes are
there. On CPUs, take --method.batch-size 4.
"""

from jax3d.codec.triplane import Triplanes
from jax3d.data.captioned import Shapes
from jax3d.methods.native import Native
from jax3d.native import NativeModel
from jax3d.nn.triplane_unet import TriplaneUNet
from jax3d.train.loop import TrainConfig

config = NativeModel(
    method=Native(
        codec=Triplanes(swell=0.03, learn=256, steps=300, block=256),
        network=TriplaneUNet(width=64, multipliers=(1, 2)),
        sigma_data=1.0,
        sigma_mean=0.8,
        sigma_std=1.5,
        batch_size=32,
    ),
    model="tiny-triplane",
    shapes=Shapes(count=8000),
    train=TrainConfig(steps=2200, ema_decay=0.995, clip_norm=1.0, checkpoint_every=200),
)
