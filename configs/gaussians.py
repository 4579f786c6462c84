"""Gaussians of posed pictures: 3D Gaussian splatting.

    python train.py gaussians --data FOLDER [--workdir DIR]
    python sample.py gaussians --from DIR [--path CAMERAS.json]

FOLDER is as for `nerf`. DIR gets the test views beside the truth, splats.ply (as the reference implementation's), mesh,
points, turntable and figures.
"""

from jax3d.methods.splatting import Splatting
from jax3d.reconstruction import Capture

config = Capture(method=Splatting())
