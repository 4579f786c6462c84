"""The survey's NeRF network (Mildenhall et al., arXiv 2003.08934), 8 x 256 units, sampled where matter is known to be.

    python train.py nerf_survey --data FOLDER [--workdir DIR]

The paper samples coarse and fine, which takes three times as long for as many rays (`coarse`, `proposals` and
`proposer` of the method do it). Its relu density sinks below 0 everywhere at the first steps and then stays dead, and
softplus as good as dies; squareplus falls off like 1 / |x| and comes back. The chair of NeRF-synthetic at 100 x 100:
30.5 dB, SSIM 0.954 on its test views after 25 minutes of two CPU cores. For comparison: `nerf` is there in one.
"""

import jax

from jax3d.math.ramp import ramp
from jax3d.methods.reconstruct import Reconstruct
from jax3d.nn.field import NeRFMLP
from jax3d.reconstruction import Capture
from jax3d.render.packed import Occupancy
from jax3d.scene.nerf import NeRF

config = Capture(
    method=Reconstruct(
        scene=NeRF(field=NeRFMLP(activation=jax.nn.squareplus), occupancy=Occupancy(48, 128, budget=2**11)),
        rays=1024,
        steps=3000,
        learning_rate=ramp(1e-3, 5e-5),
        warmup=64,
    ),
    accumulate=8,
)
