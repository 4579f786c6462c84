"""A mesh of posed pictures: a surface on a tetrahedral grid, bent until it looks like them.

    python train.py mesh --data FOLDER [--workdir DIR]
    python sample.py mesh --from DIR [--path CAMERAS.json]

FOLDER is as for `nerf`, with pictures that are transparent where the object is not. DIR gets the test views beside the
truth, mesh, points, turntable and figures.
"""

from jax3d.methods.deform import Deform
from jax3d.nn.field import Voxels
from jax3d.reconstruction import Capture
from jax3d.scene.dmtet import DMTet

config = Capture(method=Deform(scene=DMTet(texture=Voxels(resolution=96)), steps=400))
