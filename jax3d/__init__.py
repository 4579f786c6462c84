"""jax3d: text or an image in, a 3D asset out, as one small pure-functional JAX library.

jax3d.generate("a red chair").save("outputs/chair")
"""

import importlib
from typing import Any

_HOME = {  # of each name of the face
    "Asset": "asset",
    "Deform": "reconstruction",
    "DreamFusion": "api",
    "DreamGaussian": "api",
    "estimate": "cost",
    "generate": "api",
    "Magic3D": "api",
    "Reconstruct": "reconstruction",
    "reconstruct": "reconstruction",
    "sample_shapes": "native",
    "Splatting": "reconstruction",
}
__all__ = list(_HOME)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """The face is loaded when it is looked at: importing jax3d.math alone stays quick."""
    if name not in __all__:
        raise AttributeError(f"module 'jax3d' has no attribute '{name}'; it has {', '.join(__all__)}.")
    return getattr(importlib.import_module(f"jax3d.{_HOME[name]}"), name)
