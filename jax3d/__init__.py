"""jax3d: text or an image in, a 3D asset out, as one small pure-functional JAX library.

jax3d.generate("a red chair").save("outputs/chair")
"""

from typing import Any

__all__ = ["Asset", "DreamFusion", "Reconstruct", "estimate", "generate", "reconstruct"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """The face is loaded when it is looked at: importing jax3d.math alone stays quick."""
    if name not in __all__:
        raise AttributeError(f"module 'jax3d' has no attribute '{name}'; it has {', '.join(__all__)}.")
    from jax3d import api, reconstruction

    return getattr(reconstruction if name.lower() == "reconstruct" else api, name)
