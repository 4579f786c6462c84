"""DreamGaussian with the bundled tiny-sd: Gaussians, then their surface as a mesh with a repainted texture.

python sample.py dreamgaussian --prompt "a red chair"
"""

from jax3d.api import DreamGaussian

config = DreamGaussian()
