"""A radiance field of posed pictures in minutes: a hash grid, sampled where an occupancy grid knows of matter.

    python train.py nerf --data FOLDER [--workdir DIR]
    python sample.py nerf --from DIR [--path CAMERAS.json]

FOLDER holds NeRF-synthetic's, instant-ngp's, LLFF's or COLMAP's files. DIR gets the test views beside the truth, depth
maps, mesh, points, turntable and figures.
"""

from jax3d.math.hash_grid import HashLevels
from jax3d.math.ramp import ramp
from jax3d.methods.reconstruct import Reconstruct
from jax3d.nn.encoded_field import EncodedField, HashGrid
from jax3d.nn.field import Haze
from jax3d.reconstruction import Capture
from jax3d.render.packed import Occupancy
from jax3d.scene.nerf import NeRF

config = Capture(
    method=Reconstruct(
        scene=NeRF(
            field=EncodedField(encoder=HashGrid(HashLevels(12, log2_size=16, finest=512)), bias=Haze()),
            occupancy=Occupancy(budget=2**16),
        ),
        rays=8192,
        steps=2000,
        learning_rate=ramp(1e-2, 3e-4),
    ),
)
