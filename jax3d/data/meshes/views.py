"""What Shap-E's encoder is shown of a shape, and what its fields are to look like: pictures with depth of its points.

The first ones are the published circle's (math/pan), without the last, which is where the first is; others look from
anywhere at the same distance. They are drawn from coloured points with normals, in the light that Shap-E learnt from.
"""

import functools
import hashlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from tqdm import tqdm

from jax3d.data.meshes.store import Example, kept
from jax3d.math import linalg
from jax3d.math.camera import look_at
from jax3d.math.pan import at_borders, pan
from jax3d.render.basic_light import basic
from jax3d.render.points import draw_points
from jax3d.types import Points

VERSION = 1
"""Part of the digest; goes up when the pictures change."""
DISTANCE = 4.0
CACHE = Path(".cache/views")


def poses(around: int, anywhere: int, size: int, rng: np.random.Generator) -> Float[np.ndarray, "v 4 4"]:
    """`world_from_camera` of so many views on the circle and from anywhere, in Blender's axes."""
    circle = np.asarray(pan(size, around + 1, DISTANCE).world_from_camera)[:around]
    towards = linalg.normalize(jnp.asarray(rng.normal(size=(anywhere, 3)), jnp.float32))
    up = jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), towards.shape)
    return np.concatenate([circle, np.asarray(look_at(DISTANCE * towards, jnp.zeros_like(towards), up))])


def views(points: Points, world_from_camera: Float[np.ndarray, "v 4 4"], size: int) -> Example:
    """`rgba` bytes [v, size, size, 4], premultiplied, and `depth` float16 [v, size, size] along the rays, 0 = nothing.

    The points have colours and normals, in the cameras' world.
    """
    drawn = [_view(*points, pose, size=size, reach=_reach(len(points.positions), size)) for pose in world_from_camera]
    rgba, depth = (np.stack([np.asarray(part) for part in parts]) for parts in zip(*drawn, strict=True))
    return {"rgba": rgba, "depth": depth}


def _reach(count: int, size: int) -> int:
    """Pixels of the finer picture that the disc of a point near the camera covers to each side."""
    return 1 + int(_radius(count) * 2 * size / 0.7 / (DISTANCE - 1.8))


def _radius(count: int) -> float:
    return 2.4 / count**0.5  # a disc then has four points of a ball of radius 0.6 in it


@functools.partial(jax.jit, static_argnames=("size", "reach"))
def _view(positions: Array, colors: Array, normals: Array, pose: Array, *, size: int, reach: int) -> tuple[Array, ...]:
    seen = draw_points(
        positions,
        basic(colors, normals),
        at_borders(pose, size),
        size=size,
        radius=_radius(len(positions)),
        normals=normals,
        reach=reach,
    )
    rgba = jnp.concatenate([seen.rgb, seen.opacity[..., None]], -1)
    return jnp.round(255 * jnp.clip(rgba, 0, 1)).astype(jnp.uint8), seen.depth.astype(jnp.float16)


def dataset_views(data: Example, around: int, anywhere: int, size: int) -> Example:
    """`rgba`, `depth` and `poses` [n, v, 4, 4] of all shapes of a data set, whose points are in Blender's axes; kept
    under a digest of what they show.
    """

    def make() -> Example:
        rng, made = np.random.default_rng(0), []
        for points, colors, normals in zip(
            tqdm(data["points"], "views", unit="object"), data["colors"], data["normals"], strict=True
        ):
            pose = poses(around, anywhere, size, rng)
            made.append({**views(Points(points, colors, normals), pose, size), "poses": pose})
        return {name: np.stack([example[name] for example in made]) for name in made[0]}

    digest = hashlib.sha256(repr((VERSION, data["points"].shape, around, anywhere, size)).encode())
    for name in ("points", "colors", "normals"):
        digest.update(np.ascontiguousarray(data[name][:, :64]).tobytes())
    return kept(CACHE / f"{digest.hexdigest()[:24]}.npz", make)


def spread(points: Float[np.ndarray, "n 3"], count: int) -> np.ndarray:
    """Rows [count] of points that lie far apart: each the farthest from those before it, the first the first."""
    rows = np.zeros(count, int)
    away = np.full(len(points), np.inf, np.float32)
    for k in range(1, count):
        away = np.minimum(away, np.sum((points - points[rows[k - 1]]) ** 2, -1))
        rows[k] = np.argmax(away)
    return rows
