"""What a user asks Point-E or Shap-E for, checked before anything is loaded."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jax3d.io.image import read_image


def asked(
    name: str, exports: Sequence[str], prompt: str | None, image: Path | None, *, count: int, export: str, nodes: int
) -> Float[np.ndarray, "h w 3"] | None:
    """The picture over white, if any; ValueError, one sentence, for what `name` cannot make."""
    if count < 1:
        raise ValueError(f"--count must be 1 or more, is {count}; ask for some.")
    if export not in exports:
        raise ValueError(f"{name} makes a {' or a '.join(exports)}, not '{export}'; choose one of them.")
    if nodes < 2:
        raise ValueError(f"--resolution must be 2 or more, is {nodes}; 128 is the published one.")
    if prompt is not None and image is not None:
        raise ValueError(f"{name} is told a prompt or a picture; give one of --prompt and --image.")
    if prompt is not None and not prompt.strip():
        raise ValueError("the prompt is empty; say what to make, for example --prompt 'a red chair'.")
    return None if image is None else opaque(read_image(image))


def opaque(image: np.ndarray) -> np.ndarray:
    """A picture [h, w, 3 or 4] over white."""
    return image[..., :3] * image[..., 3:] + 1 - image[..., 3:] if image.shape[-1] == 4 else image
