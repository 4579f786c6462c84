"""A mesh around a point cloud: a ball bent until its points are the cloud's, with the cloud's colours.

    python train.py wrap --data FILE.ply [--workdir DIR]

DIR gets the mesh, in the file's own units and place, a turntable and a preview. The mesh has the genus of a ball; give
the cloud of a solid, from all sides.
"""

from jax3d.cloud import Cloud

config = Cloud()
