"""The survey's NeRF (Mildenhall et al., arXiv 2003.08934): 8 x 256 units, stratified samples, coarse and fine.

    python train.py nerf_survey --data FOLDER [--workdir DIR]

As in the paper but for the size of a batch and the coarse network, which is small here. Slow on CPUs: for comparison.
"""

from jax3d.math.ramp import ramp
from jax3d.methods.reconstruct import Reconstruct
from jax3d.nn.field import NeRFMLP
from jax3d.reconstruction import Capture
from jax3d.scene.nerf import NeRF

config = Capture(
    method=Reconstruct(
        scene=NeRF(field=NeRFMLP(), samples=48, proposals=32, proposer=NeRFMLP(width=64, layers=4)),
        coarse=1.0,
        rays=512,
        steps=20000,
        learning_rate=ramp(5e-4, 5e-5),
    ),
)
