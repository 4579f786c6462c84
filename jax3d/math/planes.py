"""Features of points from planes and lines through the cube [-1, 1]^3: dense grids of two dimensions and of one.

    triplane     P_xy(x, y), P_xz(x, z), P_yz(y, z): [3, r, r, c], bilinear, then summed (EG3D, arXiv 2112.07945),
                 multiplied (K-Planes, arXiv 2301.10241) or concatenated
    VM           (P_xy l_z, P_xz l_y, P_yz l_x)(x): each plane times the line [3, r, c] across it; the 3 c products are
                 the components of TensoRF's vector-matrix factorisation (arXiv 2203.09517, eq. 4)

Memory is r^2 c and r c where a dense grid has r^3 c. The first axis of a plane is the earlier letter of its name. All
interpolation is math/grid's, with its border rule and its gradients; second derivatives are autodiff's of those.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.math import grid

PLANES = ((0, 1), (0, 2), (1, 2))
ACROSS = (2, 1, 0)  # the axis that each plane lacks

Combine = Callable[[Float[Array, "... k c"]], Float[Array, "... f"]]


def add(features: Float[Array, "... k c"]) -> Float[Array, "... c"]:
    """The sum over planes."""
    return jnp.sum(features, axis=-2)


def multiply(features: Float[Array, "... k c"]) -> Float[Array, "... c"]:
    """The product over planes; the planes should start near 1."""
    return jnp.prod(features, axis=-2)


def concatenate(features: Float[Array, "... k c"]) -> Float[Array, "... f"]:
    """One plane's features after the other's."""
    return features.reshape(*features.shape[:-2], -1)


def triplane(
    planes: Float[Array, "3 r r c"], points: Float[Array, "... 3"], combine: Combine = add
) -> Float[Array, "... f"]:
    """Features of the three planes at points, [..., 3, c], through `combine`: `add`, `multiply` or `concatenate`."""
    return combine(_on_planes(planes, points))


def vector_matrix(
    planes: Float[Array, "3 r r c"], lines: Float[Array, "3 n c"], points: Float[Array, "... 3"]
) -> Float[Array, "... f"]:
    """The 3 c components of TensoRF's VM factorisation at points. lines[k] lies along axis k: x, y, z."""
    return concatenate(_on_planes(planes, points) * _on_lines(lines, points)[..., ACROSS, :])


def _on_planes(planes: Array, points: Array) -> Array:
    """[..., 3, c]: xy, xz, yz."""
    values = [grid.interpolate(plane, points[..., axes]) for plane, axes in zip(planes, PLANES, strict=True)]
    return jnp.stack(values, axis=-2)


def _on_lines(lines: Array, points: Array) -> Array:
    """[..., 3, c]: x, y, z."""
    values = [grid.interpolate(line, points[..., axis : axis + 1]) for axis, line in enumerate(lines)]
    return jnp.stack(values, axis=-2)
