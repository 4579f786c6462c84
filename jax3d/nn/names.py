"""Parameter trees <-> flat dicts of published tensors.

The modules of this room carry the published names, so joining the path of a parameter by dots gives the published
key, up to the last word and the order of the axes, which are PyTorch's:

    kernel [in, out]          <->  weight [out, in]
    kernel [kh, kw, in, out]  <->  weight [out, in, kh, kw]
    scale, embedding          <->  weight
"""

import mmap
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax3d.types import Params

TO_PUBLISHED = {4: (3, 2, 0, 1), 2: (1, 0)}
FROM_PUBLISHED = {4: (2, 3, 1, 0), 2: (1, 0)}
WEIGHTS = ("kernel", "scale", "embedding")


def published_name(path: tuple) -> str:
    """The published key of the parameter at a tree path."""
    words = [str(key.key) for key in path]
    return ".".join([*words[:-1], "weight" if words[-1] in WEIGHTS else words[-1]])


def published_names(params: Params) -> dict[str, Any]:
    """Flat dict of published names and PyTorch array layouts."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {published_name(path): _transposed(path, leaf, TO_PUBLISHED) for path, leaf in leaves}


def from_published(flat: Mapping[str, np.ndarray], like: Params) -> Params:
    """The parameter tree `like` (of ShapeDtypeStruct or arrays), filled from published tensors, in `like`'s dtypes.

    Tensors that `like` does not name are passed over. ValueError names missing tensors and wrong shapes.
    """
    leaves, tree = jax.tree_util.tree_flatten_with_path(like)
    missing = [name for path, _ in leaves if (name := published_name(path)) not in flat]
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise ValueError(
            f"the weights lack {len(missing)} of {len(leaves)} tensors ({shown}); is it the model of the config?"
        )
    return jax.tree.unflatten(tree, [_filled(path, leaf, flat[published_name(path)]) for path, leaf in leaves])


def _filled(path: tuple, leaf: Any, tensor: np.ndarray) -> jax.Array:
    wanted = _transposed(path, np.broadcast_to(np.int8(0), leaf.shape), TO_PUBLISHED).shape
    if tuple(tensor.shape) != wanted:
        raise ValueError(
            f"tensor {published_name(path)} has shape {tuple(tensor.shape)}, but the config wants {wanted}"
        )
    filled = jnp.asarray(_transposed(path, tensor, FROM_PUBLISHED), leaf.dtype).block_until_ready()
    _forget(tensor)
    return filled


def _forget(tensor: Any) -> None:
    """Gives the pages back that were read of a memory-mapped file, or the weights would be in memory twice; whoever
    still looks at them reads them again."""
    while hasattr(tensor, "base"):
        tensor = tensor.base
    if isinstance(tensor, mmap.mmap) and memoryview(tensor).readonly and hasattr(mmap, "MADV_DONTNEED"):
        tensor.madvise(mmap.MADV_DONTNEED)


def _transposed(path: tuple, leaf: Any, axes: Mapping[int, tuple[int, ...]]) -> Any:
    return leaf.transpose(axes[leaf.ndim]) if path[-1].key == "kernel" else leaf
