"""Pictures with known cameras, from the files that other programs leave: what radiance fields are trained on.

Read are NeRF-synthetic's transforms_{train,val,test}.json, instant-ngp's transforms.json, LLFF's poses_bounds.npy and
COLMAP's text models. Every picture becomes that of a pinhole camera, and every world ours: right-handed, z up, the
interest in [-1, 1]^3.
"""

from jax3d.data.posed_images.load import PosedImages, load, read_path
from jax3d.data.posed_images.scan import Similarity

__all__ = ["PosedImages", "Similarity", "load", "read_path"]
