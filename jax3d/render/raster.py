"""Triangles to images: what each pixel sees of a mesh, and values of the mesh there, differentiable in both.

`render/visibility` finds the face of each pixel and has no gradient. For this face alone, with corners at the
homogeneous p_k, the barycentric coordinates are computed once more, in the plane with the pixel as its origin,

    q_k = (p_x - x p_z, p_y - y p_z),    w_k = q_{k+1} x q_{k+2},    b_k = w_k / (w_0 + w_1 + w_2),    z = sum b_k z_k,

which is the visibility's formula without its cancellation. They are coordinates in space, so a value of the vertices
is sum b_k a_k with the perspective already in it, and b and z are differentiable in the vertices and the camera. What
moves outlines is in `render/antialias`. The w_k are affine in (x, y), for products of the two cancel; with w = sum w_j

    db_k / dx = (dw_k / dx - b_k dw / dx) / w,    dw_k / dx = q_{k+1}.y p_{k+2}.z - p_{k+1}.z q_{k+2}.y,   and y alike.

    seen = rasterise(vertices, faces, camera, height=256, width=256)
    image = interpolate(colors, faces, seen)
    image, demand = antialias(image, seen, vertices, edges(faces), camera)
"""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from jax3d.math import linalg
from jax3d.math.camera import Camera
from jax3d.render import visibility


@struct.dataclass
class Fragments:
    """What the pixels of a camera see of a mesh. Row 0 is the top."""

    face: Array  # [h, w] int32; -1 where there is none
    barycentric: Array  # [h, w, 3] >= 0, sum 1; 0 where there is none
    depth: Array  # [h, w] distance along the ray, as in Render; 0 where there is none
    demand: Array  # [2] spans and fragments wanted over the room for them: above 1, faces are missing


def rasterise(
    vertices: Float[Array, "v 3"],
    faces: Int[Array, "f 3"],
    camera: Camera,
    *,
    height: int,
    width: int,
    near: float = 0.01,
    cull: bool = False,
    spans: int | None = None,
    fragments: int | None = None,
) -> Fragments:
    """The nearest face of each pixel of one camera; for several, vmap or `lax.map` over the camera.

    Draws what is farther than `near` along the camera's axis. Faces without an area or with a vertex that is not finite
    draw nothing, nor with `cull` those that are clockwise seen from the camera. `spans` (a row of a face each) and
    `fragments` (a pixel of a face each) are the room there is, and time is spent on all of it; None chooses enough for
    two layers over the whole image. `demand` says how much was needed: multiply the room by it if it is above 1.
    """
    if height < 1 or width < 1 or near <= 0:
        raise ValueError(f"an image has pixels and near > 0, got {height} x {width} and near={near}; try near=0.01.")
    if not len(vertices) or not len(faces):
        raise ValueError(
            f"a mesh has vertices and faces, got {len(vertices)} and {len(faces)}; [0, 0, 0] draws nothing."
        )
    room = visibility.room(len(faces), height, width, spans, fragments)
    corners = homogeneous(vertices, camera, height, width)
    plan = visibility.Plan(height, width, near, cull, *room)
    face, demand = visibility.visible(jax.lax.stop_gradient(corners), faces, plan)
    barycentric, depth = _at_pixels(corners, faces, face)
    return Fragments(face, barycentric, depth * ray_length(camera, height, width), demand)


def interpolate(attributes: Float[Array, "v c"], faces: Int[Array, "f 3"], seen: Fragments) -> Float[Array, "h w c"]:
    """Values of vertices at what the pixels see, 0 where that is nothing; `faces` index `attributes`.

    Values of corners, such as texture coordinates, come with faces of their own, in the order of those that were seen.
    """
    values = jnp.where((seen.face >= 0)[..., None, None], attributes[_corners(faces, seen.face)], 0.0)
    # The barrier keeps the gather out of the sums of the backward pass: 9 ms there instead of 20 at 512 x 512.
    weights, values = jax.lax.optimization_barrier((seen.barycentric, values))
    return jnp.einsum("hwk,hwkc->hwc", weights, values, precision=jax.lax.Precision.HIGHEST)


def derivatives(
    attributes: Float[Array, "t c"],
    attribute_faces: Int[Array, "f 3"],
    seen: Fragments,
    vertices: Float[Array, "v 3"],
    faces: Int[Array, "f 3"],
    camera: Camera,
) -> Float[Array, "h w c 2"]:
    """By how much what `interpolate` gives changes to the next pixel on the right and below, within a face; 0 at none.

    Without the neighbours: across the border of a face, where values may jump, nothing is subtracted from anything.
    """
    corners = homogeneous(vertices, camera, *seen.face.shape)
    p, q_x, q_y = _edge_functions(corners, faces, seen.face)
    w = [q_x[k - 2] * q_y[k - 1] - q_y[k - 2] * q_x[k - 1] for k in range(3)]
    total = w[0] + w[1] + w[2]
    scale = jnp.where(total == 0, 0.0, 1 / jnp.where(total == 0, 1.0, total))
    z = p[2::3]
    along_x = [scale * (q_y[k - 2] * z[k - 1] - z[k - 2] * q_y[k - 1]) for k in range(3)]
    along_y = [scale * (z[k - 2] * q_x[k - 1] - q_x[k - 2] * z[k - 1]) for k in range(3)]
    values = attributes[_corners(attribute_faces, seen.face)]
    changes = []
    for slope in (along_x, along_y):
        weights = jnp.stack(slope, axis=-1) - seen.barycentric * (slope[0] + slope[1] + slope[2])[..., None]
        weights, values = jax.lax.optimization_barrier((weights, values))  # as in `interpolate`
        changes.append(jnp.einsum("hwk,hwkc->hwc", weights, values, precision=jax.lax.Precision.HIGHEST))
    return jnp.stack(changes, axis=-1)


def homogeneous(vertices: Float[Array, "v 3"], camera: Camera, height: int, width: int) -> Float[Array, "v 3"]:
    """The p of each vertex: pixel coordinates times depth, and depth along the camera's axis; nan if not finite."""
    finite = jnp.all(jnp.isfinite(vertices), axis=-1, keepdims=True)
    vertices = jnp.where(finite, vertices, 0.0)  # no gradient of nan reaches the camera
    camera_from_world = linalg.invert_pose(camera.world_from_camera)
    turned = jnp.einsum("ij,nj->ni", camera_from_world[:3, :3], vertices, precision=jax.lax.Precision.HIGHEST)
    local = turned + camera_from_world[:3, 3]
    depth = local[:, 2:]
    plane = local[:, :2] * camera.focal + depth * camera.centre
    p = jnp.concatenate([plane * jnp.array([width, height], plane.dtype), depth], axis=-1)
    return jnp.where(finite, p, jnp.nan)


def ray_length(camera: Camera, height: int, width: int) -> Float[Array, "h w"]:
    """Distance along the ray of each pixel centre over depth along the camera's axis."""
    u = ((jnp.arange(width) + 0.5) / width - camera.centre[0]) / camera.focal[0]
    v = ((jnp.arange(height) + 0.5) / height - camera.centre[1]) / camera.focal[1]
    return jnp.sqrt(1 + u**2 + v[:, None] ** 2)


def _corners(faces: Array, face: Array) -> Array:
    """The three vertices [h, w, 3] of the face of each pixel; of face 0 where there is none."""
    return faces.at[jnp.maximum(face, 0)].get(mode="promise_in_bounds")


def _edge_functions(corners: Array, faces: Array, face: Array) -> tuple[list[Array], list[Array], list[Array]]:
    """Of the face that each pixel sees, nine images p and three each of q_x and q_y; 0 where there is none."""
    height, width = face.shape
    rows = jnp.where((face >= 0)[..., None, None], corners[_corners(faces, face)], 0.0).reshape(height, width, 9)
    # As nine images: the backward pass then joins them once, instead of adding nine that are almost all zeros.
    p = jax.lax.optimization_barrier([part[..., 0] for part in jnp.split(rows, 9, axis=-1)])
    x, y = jnp.arange(width) + 0.5, jnp.arange(height)[:, None] + 0.5
    return p, [p[3 * k] - x * p[3 * k + 2] for k in range(3)], [p[3 * k + 1] - y * p[3 * k + 2] for k in range(3)]


def _at_pixels(corners: Array, faces: Array, face: Array) -> tuple[Array, Array]:
    """Barycentrics [h, w, 3] and depth along the axis [h, w] of the face that each pixel sees."""
    p, q_x, q_y = _edge_functions(corners, faces, face)
    w = [q_x[k - 2] * q_y[k - 1] - q_y[k - 2] * q_x[k - 1] for k in range(3)]
    sign = jnp.sign(w[0] + w[1] + w[2])
    w = [jnp.maximum(sign * value, 0.0) for value in w]  # below 0 by rounding at edges, and in slivers
    total = w[0] + w[1] + w[2]
    scale = jnp.where(total > 0, 1 / jnp.where(total > 0, total, 1.0), 0.0)
    lost = jnp.where((face >= 0) & (total <= 0), 1 / 3, 0.0)  # a sliver that is seen and has no area in float32
    b = [scale * value + lost for value in w]
    return jnp.stack(b, axis=-1), b[0] * p[2] + b[1] * p[5] + b[2] * p[8]
