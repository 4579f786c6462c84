"""Terms that keep an optimised surface fair: smooth, evenly meshed, in one piece, a level of a distance.

Of a triangle mesh with corners v_1, v_2, v_3 a face, in arrays of fixed size: faces with two equal corners are padding
and count nowhere, nor do vertices without faces (math/marching). c_f = (v_2 - v_1) x (v_3 - v_1), |c_f| twice the area.

    laplacian         mean over vertices of |mean of the neighbours - v_i|^2; a neighbour counts once for each face it
                      shares with v_i, on a closed mesh twice (the uniform Laplacian; nvdiffrec, arXiv 2111.12503)
    normal_variation  sum_i (A_i - |C_i|^2 / A_i) / sum_i A_i,   C_i = sum of c_f, A_i = sum of |c_f| around vertex i
    edge_length       mean over the sides of the faces of (|v_a - v_b| - target)^2

The second is what is often called normal consistency. For unit normals n_f and weights |c_f|, sum_fg |c_f| |c_g|
(1 - n_f . n_g) = A^2 - |C|^2: it is the mean of 1 - cos over all pairs of faces that meet in a vertex. Others take
pairs that share an edge, which would have to be found anew at each step. Weighted with the area as here, its derivative
is bounded: the slivers that marching leaves, whose normals are noise, have no say. It is 0 exactly on planes and falls
with the square of the edges on smooth surfaces.

Of the distances s at the nodes of a tetrahedral grid:

    sign_entropy      mean over cut edges ab of H(sigmoid(s_a), s_b > 0) + H(sigmoid(s_b), s_a > 0), H the binary cross
                      entropy: each end is drawn to the sign of the other, which removes crumbs inside and outside
                      (nvdiffrec eq. 2). At least 2 log 2 where any edge is cut; 0 without.
    eikonal           mean over the tetrahedra of a Kuhn grid of (|grad s| - 1)^2: slope one, as a distance has. grad s
                      is constant in each; its components are the differences along the walk p_0 ... p_3 of
                      math/tetrahedra. Nodes count where they were before any deformation.

All are means, so that multipliers do not depend on the resolution, except that squared lengths fall with it.
"""

import itertools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jax3d.math import linalg
from jax3d.math.marching import Surface

_TINY = 1e-15
"""Twice an area below which a vertex has no normal; its square is still a float32 that can be divided by."""


def laplacian(vertices: Float[Array, "v 3"], faces: Int[Array, "f 3"]) -> Float[Array, ""]:
    """Mean squared distance of vertices from the mean of their neighbours; a squared length."""
    total = jnp.sum(vertices[faces], axis=1)
    around = _around_vertices(jnp.column_stack([total, jnp.ones_like(total[:, 0])]), faces, len(vertices))
    total, count = around[:, :3], around[:, 3:]
    # A face adds its three corners, so the vertex itself has to come off: once as a corner, twice as the origin.
    offset = (total - 3 * count * vertices) / (2 * jnp.maximum(count, 1))
    return _mean(linalg.dot(offset, offset), count[:, 0] > 0)


def normal_variation(vertices: Float[Array, "v 3"], faces: Int[Array, "f 3"]) -> Float[Array, ""]:
    """Mean of 1 - cos of the angles between faces that meet in a vertex, weighted by area; in [0, 1]."""
    first, second, third = jnp.unstack(vertices[faces], axis=1)
    cross = jnp.cross(second - first, third - first)
    weighted = jnp.column_stack([cross, linalg.safe_norm(cross)])
    around = _around_vertices(weighted, faces, len(vertices))
    normal, area = around[:, :3], around[:, 3]
    safe = jnp.where(area > _TINY, area, 1.0)
    variation = jnp.where(area > _TINY, area - linalg.dot(normal, normal) / safe, 0.0)
    return jnp.sum(variation) / jnp.maximum(jnp.sum(area), _TINY)


def vertex_normals(vertices: Float[Array, "v 3"], faces: Int[Array, "f 3"]) -> Float[Array, "v 3"]:
    """Unit normals of vertices, the mean of those of the faces around weighted by area; 0 without a face."""
    first, second, third = jnp.unstack(vertices[faces], axis=1)
    cross = jnp.cross(second - first, third - first)
    return linalg.normalize(_around_vertices(cross, faces, len(vertices)), eps=1e-9)


def edge_length(vertices: Float[Array, "v 3"], faces: Int[Array, "f 3"], *, target: float = 0.0) -> Float[Array, ""]:
    """Mean squared deviation of the lengths of the faces' sides from `target`; a squared length."""
    corners = vertices[faces]
    lengths = linalg.safe_norm(corners - jnp.roll(corners, 1, axis=1))
    return _mean(jnp.mean((lengths - target) ** 2, axis=-1), _real(faces))


def sign_entropy(distance: Float[Array, " v"], surface: Surface) -> Float[Array, ""]:
    """Mean cross entropy of the two ends of the cut edges, with distances of the nodes of the grid as logits."""
    ends = distance[surface.ends]
    return _mean(jnp.sum(jax.nn.softplus(jnp.where(ends < 0, -ends, ends)), axis=-1), surface.vertex_mask)


def eikonal(distance: Float[Array, " v"]) -> Float[Array, ""]:
    """Mean squared deviation of |grad s| from 1 in the tetrahedra of a Kuhn grid over [-1, 1]^3.

    Raises ValueError unless there are (cells + 1)^3 nodes.
    """
    cells = round(len(distance) ** (1 / 3)) - 1
    if cells < 1 or (cells + 1) ** 3 != len(distance):
        raise ValueError(f"a Kuhn grid has (cells + 1)^3 nodes with cells >= 1, got {len(distance)} distances.")
    size = cells + 1
    steps = size**2, size, 1
    # Cubes by the number of their lowest node, so that all arrays are flat; those that would stick out are masked.
    place = jnp.arange(len(distance) - sum(steps))
    whole = (place // size % size < cells) & (place % size < cells)
    total = 0.0
    for walk in itertools.permutations(steps):
        nodes = [distance[start : start + len(place)] for start in itertools.accumulate(walk, initial=0)]
        square = sum((cells / 2 * (b - a)) ** 2 for a, b in itertools.pairwise(nodes))
        # No safe_norm: the gradient of its two branches takes ten times as long here.
        total += jnp.sum(jnp.where(whole, jnp.sqrt(square + 1e-12) - 1, 0.0) ** 2)
    return total / (6 * cells**3)


def _real(faces: Int[Array, "f 3"]) -> Bool[Array, " f"]:
    return faces[:, 0] != faces[:, 1]


def _around_vertices(values: Float[Array, "f c"], faces: Int[Array, "f 3"], count: int) -> Float[Array, "v c"]:
    """Sums of what the faces around each vertex have."""
    # Padding is left out of the sum rather than added as 0: on an accelerator all of it would queue for vertex 0.
    faces = jnp.where(_real(faces)[:, None], faces, count)
    total = jnp.zeros((count, values.shape[1]), values.dtype)
    for corner in range(3):
        total = total.at[faces[:, corner]].add(values, mode="drop")
    return total


def _mean(values: Float[Array, " n"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    """The mean of the values under a mask; 0 if there are none."""
    return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(jnp.sum(mask), 1)
