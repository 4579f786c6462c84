"""How far a render is from a picture, for surfaces that are bent until they look like some.

    color       mean |render over b - picture over b|       silhouette    mean |opacity - alpha|

with absolute differences, as in nvdiffrec (arXiv 2111.12503): what is half covered counts as covered or not, where
squares would ask for something between. A random background b keeps colours from standing in for opacity.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.render.shade import composite
from jax3d.types import Metrics, Render


def unlikeness(
    out: Render, rgb: Float[Array, "... h w 3"], alpha: Float[Array, "... h w"], background: Float[Array, "..."]
) -> Metrics:
    """The two terms above, of pictures premultiplied by their alpha and backgrounds as for `shade.composite`."""
    off = composite(out.rgb, out.opacity, background) - composite(rgb, alpha, background)
    return {"color": jnp.mean(jnp.abs(off)), "silhouette": jnp.mean(jnp.abs(out.opacity - alpha))}
