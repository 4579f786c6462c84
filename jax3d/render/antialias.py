"""Silhouettes that fall between pixel centres, blended by coverage, so that the gradient of an image moves geometry.

A rasterised image is piecewise constant in the place of its outlines: they have no gradient. An outline is made of
edges whose two faces lie on the same side of it as the camera sees them, or which have one face. Take such an edge,
steeper than 45 degrees, and a row of pixels that it crosses at x between the centres of an inner pixel i, on the side
of its faces, and an outer pixel o. With r in [0, 1] the distance of the crossing from the inner centre, the inner
colour should fill r of the way between the two centres, and fills one half. The difference goes to the pixel that the
edge is in,

    c_i <- c_i + (r - 1/2) (c_i - c_o)  for r < 1/2,    c_o <- c_o + (r - 1/2) (c_i - c_o)  for r > 1/2,

which is continuous in r, exact for upright edges, and has the gradient of the covered area with respect to the edge.
Flatter edges do the same on columns: each edge counts along one axis alone, or its area would be counted twice.
(Analytic edge filtering as in Jimenez et al., "Filtering approaches for real-time anti-aliasing", SIGGRAPH courses
2011; differentiable by silhouettes as in Laine et al., arXiv 2011.03277, who blend pairs of pixels instead of edges.)

An edge that something nearer hides must not blend: what the inner pixel sees has to be about as far away as the edge,
and what the outer pixel sees farther. On a round surface several such edges, one hidden close behind another, cross
between the same two centres. The outermost one bounds what is seen, and it alone counts.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jax3d.math.camera import Camera
from jax3d.math.expand import expand
from jax3d.render.raster import Fragments, homogeneous, ray_length

SAME = 0.2  # a surface is taken for that of an edge if their 1 / z differ by less than this part


class Edges(NamedTuple):
    """The edges of a mesh, each once: by `edges`, or under jit by `math/outline.edges_of`; unused rows draw nothing."""

    ends: np.ndarray | jax.Array  # [e, 2] vertices
    opposite: np.ndarray | jax.Array  # [e, 2] third vertices of the two faces; one twice where there are not just two


def edges(faces: Int[np.ndarray, "f 3"]) -> Edges:
    """The edges of faces, on the host, once a mesh. An edge of one face, or of more than two, may be an outline always.

    Faces that name a vertex twice count for nothing; ValueError where there are no others.
    """
    proper = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    faces = faces[proper]
    if not len(faces):
        raise ValueError(
            f"a mesh needs a face of three different vertices to have edges; none of its {len(proper)} is."
        )
    ends = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    third = np.roll(faces, 1, axis=1).reshape(-1)
    order = np.lexsort((ends[:, 0], ends[:, 1]))
    ends, third = ends[order], third[order]
    first = np.flatnonzero(np.r_[True, (ends[1:] != ends[:-1]).any(axis=1)])
    count = np.diff(np.r_[first, len(ends)])
    other = np.where(count == 2, third[np.minimum(first + 1, len(third) - 1)], third[first])
    return Edges(ends[first].astype(np.int32), np.stack([third[first], other], axis=-1).astype(np.int32))


def antialias(
    image: Float[Array, "h w c"],
    seen: Fragments,
    vertices: Float[Array, "v 3"],
    outline: Edges,
    camera: Camera,
    *,
    near: float = 0.01,
    crossings: int | None = None,
) -> tuple[Float[Array, "h w c"], Float[Array, ""]]:
    """The image of what was `seen` with its outlines smoothed, differentiable in vertices and image, and the demand.

    Any channels: with the mask as one of them it becomes the covered part of each pixel. Edges with an end nearer than
    `near`, and those at the border of the image, stay as they are. `crossings` is the room for rows and columns that
    outlines cross, seen or not; a demand above 1 says that some were left as they were.
    """
    height, width, channels = image.shape
    size = 16 * (height + width) if crossings is None else crossings
    if size < 1:
        raise ValueError(f"there must be room for crossings, got {size}; None chooses.")
    size = -(-size // 32) * 32
    p = homogeneous(vertices, camera, height, width)
    side, steep, first, count = _outlines(jax.lax.stop_gradient(p), outline, height, width, near)
    edge, step, filled, wanted = expand(count, size)
    side, steep, line = side[edge], steep[edge], first[edge] + step
    across, inverse = _crossing(p, jnp.asarray(outline.ends)[edge], filled, steep, line)

    low = jnp.floor(jax.lax.stop_gradient(across) - 0.5)  # the nearest centre before the crossing
    inside = filled & (low >= 0) & (low + 1 < jnp.where(steep, width, height))
    low, line = jnp.where(inside, low, 0).astype(jnp.int32), jnp.where(inside, line, 0)
    before, after = (jnp.where(steep, line * width + at, at * width + line) for at in (low, low + 1))
    inner, outer = jnp.where(side > 0, after, before), jnp.where(side > 0, before, after)
    reach = jnp.where(side > 0, low + 1.5 - across, across - 0.5 - low)  # r

    z = jnp.where(seen.face >= 0, jax.lax.stop_gradient(seen.depth) / ray_length(camera, height, width), jnp.inf)
    z = z.reshape(-1)
    blends = inside & (jnp.abs(1 / z[inner] - inverse) < SAME * inverse) & (1 / z[outer] < inverse)
    pair = jnp.where(blends, 4 * inner + 2 * steep + (side > 0), 4 * height * width)
    blends &= _is_greatest(jax.lax.stop_gradient(reach), pair, 4 * height * width + 1)
    colors = image.reshape(-1, channels)
    change = (reach - 0.5)[:, None] * (colors[inner] - colors[outer])
    target = jnp.where(reach < 0.5, inner, outer)
    return colors.at[target].add(jnp.where(blends[:, None], change, 0.0)).reshape(image.shape), wanted / size


def _outlines(p: Array, outline: Edges, height: int, width: int, near: float) -> tuple[Array, ...]:
    """Of each edge: 1 if its faces lie towards larger x (y if it is flat) or -1, whether it is steep, the first row
    (column) that it crosses and how many, 0 unless it is an outline."""
    a, b = p[outline.ends[:, 0]], p[outline.ends[:, 1]]
    front = (a[:, 2] > near) & (b[:, 2] > near)
    x_a, x_b = (end[:, :2] / jnp.where(front, end[:, 2], 1.0)[:, None] for end in (a, b))
    way = x_b - x_a
    third = (p[outline.opposite[:, k]] for k in range(2))
    toward = [c[:, :2] - x_a * c[:, 2:] for c in third]
    lean = [way[:, 0] * q[:, 1] - way[:, 1] * q[:, 0] for q in toward]  # which side the face is on
    steep = jnp.abs(way[:, 1]) >= jnp.abs(way[:, 0])
    along_a, along_b = (jnp.where(steep, x[:, 1], x[:, 0]) for x in (x_a, x_b))
    bounds = (jnp.minimum(along_a, along_b), jnp.maximum(along_a, along_b))
    begin, end = (jnp.clip(jnp.ceil(bound - 0.5), 0, jnp.where(steep, height, width)) for bound in bounds)
    drawn = front & (lean[0] * lean[1] > 0) & (end > begin)
    side = jnp.sign(lean[0]) * jnp.where(steep, -jnp.sign(way[:, 1]), jnp.sign(way[:, 0]))
    return side, steep, jnp.where(drawn, begin, 0).astype(jnp.int32), jnp.where(drawn, end - begin, 0).astype(jnp.int32)


def _crossing(p: Array, ends: Array, filled: Array, steep: Array, line: Array) -> tuple[Array, Array]:
    """Where an edge crosses the centre line of a row (column), and 1 / z there, without a gradient."""
    ends = jnp.where(filled[:, None, None], p[ends], jnp.array([[0.0, 0.0, 1.0], [1.0, 1.0, 1.0]], p.dtype))
    x = ends[..., :2] / ends[..., 2:]
    along = jnp.where(steep[:, None], x[..., 1], x[..., 0])
    across = jnp.where(steep[:, None], x[..., 0], x[..., 1])
    part = (line + 0.5 - along[:, 0]) / (along[:, 1] - along[:, 0])
    inverse = jax.lax.stop_gradient(1 / ends[..., 2])
    inverse = inverse[:, 0] + jax.lax.stop_gradient(part) * (inverse[:, 1] - inverse[:, 0])
    return across[:, 0] + part * (across[:, 1] - across[:, 0]), inverse


def _is_greatest(value: Array, group: Array, groups: int) -> Array:
    """Whether a value in [0, 1] is the greatest of its group."""
    return value >= jnp.full(groups, -1.0, value.dtype).at[group].max(value)[group]
