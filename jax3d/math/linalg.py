"""Small linear algebra in three dimensions, with finite gradients everywhere.

The norm |x| has no derivative at 0 and x / |x| no value; both are taken as 0 there, value and derivative. The inner
`where` keeps the division by zero out of the branch that is not taken, for its derivative would be 0 * inf = nan.
A rigid pose `world_from_camera` [..., 4, 4] is [[R, t], [0, 1]] with R in SO(3).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def dot(a: Float[Array, "..."], b: Float[Array, "..."], *, keepdims: bool = False) -> Float[Array, "..."]:
    """Inner product over the last axis."""
    return jnp.sum(a * b, axis=-1, keepdims=keepdims)


def safe_norm(x: Float[Array, "... n"], *, keepdims: bool = False) -> Float[Array, "..."]:
    """|x| over the last axis, with gradient 0 at x = 0."""
    square = dot(x, x, keepdims=keepdims)
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def normalize(x: Float[Array, "... n"], *, eps: float = 1e-12) -> Float[Array, "... n"]:
    """x / |x|; zeros, with gradient 0, where |x| <= eps. So the gradient is at most 1 / eps."""
    square = dot(x, x, keepdims=True)
    positive = square > eps**2
    return jnp.where(positive, x / jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def rotation(vector: Float[Array, "3"]) -> Float[Array, "3 3"]:
    """The rotation about v by a = |v| radians (Rodrigues): I + sin a / a K + (1 - cos a) / a^2 K^2, K x = v x x."""
    x, y, z = vector
    cross = jnp.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = safe_norm(vector)
    half = jnp.sinc(angle / (2 * jnp.pi))
    return jnp.eye(3) + jnp.sinc(angle / jnp.pi) * cross + 0.5 * half**2 * cross @ cross


def pose(rotation: Float[Array, "... 3 3"], translation: Float[Array, "... 3"]) -> Float[Array, "... 4 4"]:
    """[[R, t], [0, 1]]."""
    top = jnp.concatenate([rotation, translation[..., None]], axis=-1)
    bottom = jnp.broadcast_to(jnp.array([0.0, 0.0, 0.0, 1.0], top.dtype), (*top.shape[:-2], 1, 4))
    return jnp.concatenate([top, bottom], axis=-2)


def invert_pose(world_from_camera: Float[Array, "... 4 4"]) -> Float[Array, "... 4 4"]:
    """camera_from_world of a rigid pose: [[R', -R' t], [0, 1]]."""
    rotation = jnp.swapaxes(world_from_camera[..., :3, :3], -1, -2)
    return pose(rotation, -jnp.einsum("...ij,...j->...i", rotation, world_from_camera[..., :3, 3]))


def facing(
    forward: Float[Array, "... 3"], up: Float[Array, "... 3"]
) -> tuple[Float[Array, "... 3"], Float[Array, "... 3"], Float[Array, "... 3"]]:
    """The right, down and forward unit vectors of a viewer who looks along `forward` with `up` above.

    Where `up` is (nearly) parallel to `forward`, the coordinate axis least parallel to `forward` takes its place.
    """
    forward = normalize(forward)
    right = jnp.cross(forward, normalize(up))
    axis = jnp.eye(3, dtype=forward.dtype)[jnp.argmin(jnp.abs(forward), axis=-1)]
    right = jnp.where(dot(right, right, keepdims=True) > 1e-10, right, jnp.cross(forward, axis))
    right = normalize(right)
    return right, jnp.cross(forward, right), forward
