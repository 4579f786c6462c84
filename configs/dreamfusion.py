"""DreamFusion with the bundled tiny-sd: the default of sample.py.

python sample.py --prompt "a red chair"
"""

from jax3d.methods.dreamfusion import DreamFusion

config = DreamFusion()
