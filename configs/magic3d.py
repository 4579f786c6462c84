"""Magic3D with the bundled tiny-sd: a radiance field, then its surface refined as a mesh.

python sample.py magic3d --prompt "a red chair"
"""

from jax3d.api import Magic3D

config = Magic3D()
