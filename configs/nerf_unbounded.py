"""A radiance field of a place: all of space contracted into the cube, samples placed by a proposal network.

    python train.py nerf_unbounded --data FOLDER [--workdir DIR]

mip-NeRF 360's recipe (arXiv 2111.12077: contraction, proposals, distortion) with instant-ngp's field for its MLP.
FOLDER is a COLMAP, LLFF or instant-ngp capture. The mesh is of the cube [-1, 1]^3, where the cameras look.
"""

from jax3d.math.hash_grid import HashLevels
from jax3d.math.quadrature import by_disparity
from jax3d.math.ramp import ramp
from jax3d.methods.reconstruct import Reconstruct
from jax3d.nn.encoded_field import EncodedField, HashGrid
from jax3d.nn.field import Haze
from jax3d.reconstruction import Capture
from jax3d.render.volume import Shell
from jax3d.scene.nerf import NeRF

config = Capture(
    method=Reconstruct(
        scene=NeRF(
            field=EncodedField(encoder=HashGrid(HashLevels(14, log2_size=19, finest=2048)), bias=Haze()),
            samples=32,
            proposals=64,
            proposer=EncodedField(encoder=HashGrid(HashLevels(5, log2_size=17, finest=256)), width=16, bias=Haze()),
            region=Shell(0.1, 100.0),
            spacing=by_disparity,
            unbounded=True,
        ),
        interlevel=1.0,
        distortion=1e-2,
        rays=4096,
        steps=20000,
        learning_rate=ramp(1e-2, 1e-4),
    ),
)
