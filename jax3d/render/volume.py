"""Volume rendering of one ray, vmapped over rays, in blocks so that memory is bounded at any image size.

Between the points where a ray enters and leaves the region, n samples t_i with weights w_i (math/quadrature) give

    rgb = sum w_i c_i,   opacity = 1 - exp(-sum sigma_i delta_i),   depth = sum w_i t_i,   normal = sum w_i n_i,

all premultiplied by opacity, over no background (NeRF, arXiv 2003.08934, eq. 3). With `proposals` > 0, so many
equidistant samples first find where the weights are, and the n samples go there (inverse CDF of the same field,
gradient stopped; NeRF's sec. 5.2 with the coarse network replaced by the field itself).

`_place` and `_integrate` are functions of one ray and are vmapped; the field between them sees all points of a block
at once. A block is `chunk` rays; several blocks are run by `lax.map` and recomputed in the backward pass.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.math import linalg, quadrature
from jax3d.math.camera import Rays
from jax3d.render import regularise
from jax3d.render.shade import Light, shade
from jax3d.types import Render

Interval = tuple[Array, Array]
Region = Callable[[Array, Array], Interval]


@dataclasses.dataclass(frozen=True)
class Box:
    """The cube [-half, half]^3."""

    half: float = 1.0

    def __call__(self, origin: Float[Array, "3"], direction: Float[Array, "3"]) -> Interval:
        """Distances at which a ray enters and leaves; equal if it misses. A camera inside starts at 0."""
        parallel = jnp.abs(direction) < 1e-9
        inverse = 1.0 / jnp.where(parallel, 1e-9, direction)  # |o| > half then gives a far-off, empty slab
        first, second = (-self.half - origin) * inverse, (self.half - origin) * inverse
        near = jnp.maximum(jnp.max(jnp.minimum(first, second)), 0.0)
        far = jnp.min(jnp.maximum(first, second))
        return _nonempty(near, far)


@dataclasses.dataclass(frozen=True)
class Ball:
    """The ball around the origin."""

    radius: float = 1.0

    def __call__(self, origin: Float[Array, "3"], direction: Float[Array, "3"]) -> Interval:
        """Distances at which a ray enters and leaves; equal if it misses."""
        middle = -linalg.dot(origin, direction)
        square = self.radius**2 - linalg.dot(origin, origin) + middle**2
        half = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
        return _nonempty(jnp.maximum(middle - half, 0.0), middle + half)


@dataclasses.dataclass(frozen=True)
class Shell:
    """All points between two distances from the camera: the survey's fixed near and far."""

    near: float = 0.1
    far: float = 4.0

    def __call__(self, origin: Float[Array, "3"], direction: Float[Array, "3"]) -> Interval:
        """The two distances."""
        return jnp.full_like(origin[0], self.near), jnp.full_like(origin[0], self.far)


def _nonempty(near: Array, far: Array) -> Interval:
    hit = far > near
    return jnp.where(hit, near, 0.0), jnp.where(hit, far, 0.0)


class _Ray(NamedTuple):
    """All that belongs to one ray, or with a leading axis to a block of them."""

    origin: Array
    direction: Array
    key: Array | None
    light: Light | None


def render_rays(
    query: Callable,
    rays: Rays,
    *,
    samples: int,
    region: Region = Box(),
    proposals: int = 0,
    keys: Array | None = None,
    light: Light | None = None,
    chunk: int = 16384,
) -> Render:
    """Render rays of any leading shape: `query(points [r, n, 3], directions [r, n, 3])` gives a FieldSample.

    `keys` [...] (one a ray) jitters the samples; None takes the middles of the bins. `light` has the rays' leading
    shape in its leaves and needs a query that gives normals. Extras: per ray `distortion` (distances in units of the
    region's chord) and, where the query gives normals, `orientation`.
    """
    if samples < 1 or (proposals and samples < 2) or chunk < 1:
        raise ValueError(
            f"a ray needs samples >= 1 (>= 2 with proposals) in chunks of >= 1 rays, got samples={samples}, "
            f"proposals={proposals}, chunk={chunk}; 48 samples and a chunk of 16384 are a good start."
        )
    batch = rays.directions.shape[:-1]
    ray = _Ray(rays.origins, rays.directions, keys, light)
    ray = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(batch) :]), ray)
    out = _in_blocks(lambda block: _block(query, block, samples, proposals, region), ray, chunk)
    return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), out)


def _in_blocks(function: Callable, ray: _Ray, chunk: int) -> Render:
    """function over at most `chunk` rays at a time; the last block repeats the last ray to be full."""
    count = ray.origin.shape[0]
    if count <= chunk:
        return function(ray)
    blocks = -(-count // chunk)
    index = jnp.minimum(jnp.arange(blocks * chunk), count - 1).reshape(blocks, chunk)
    out = jax.lax.map(jax.checkpoint(lambda rows: function(jax.tree.map(lambda leaf: leaf[rows], ray))), index)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], out)


def _block(query: Callable, ray: _Ray, samples: int, proposals: int, region: Region) -> Render:
    """Place samples on each ray, ask the field once for all of them, integrate each ray."""
    near, far = jax.vmap(region)(ray.origin, ray.direction)
    first, second = ray.key, None
    if proposals and ray.key is not None:
        first, second = jnp.moveaxis(jax.vmap(jax.random.split)(ray.key), 0, 1)

    def ask(t: Array):
        points = ray.origin[:, None] + t[..., None] * ray.direction[:, None]
        return points, query(points, jnp.broadcast_to(ray.direction[:, None], points.shape))

    t, delta = jax.vmap(lambda a, b, key: quadrature.stratified(a, b, proposals or samples, key))(near, far, first)
    if proposals:
        mass = jax.lax.stop_gradient(quadrature.weights(ask(t)[1].density, delta))
        t, delta = jax.vmap(lambda *args: _concentrate(*args, samples))(near, far, mass, second)
    points, seen = ask(t)
    color = seen.color
    if ray.light is not None:
        color = shade(color, seen.normal, points, jax.tree.map(lambda leaf: leaf[:, None], ray.light))
    span = jnp.where(far > near, far - near, 1.0)
    return jax.vmap(_integrate)(ray.direction, t, delta, span, seen.density, color, seen.normal)


def _concentrate(near: Array, far: Array, mass: Array, key: Array | None, samples: int) -> tuple[Array, Array]:
    """Bins of one ray, narrow where `mass` (over equal bins of [near, far]) is: their middles and lengths."""
    coarse = near + (far - near) * jnp.linspace(0.0, 1.0, mass.shape[-1] + 1, dtype=near.dtype)
    blurred = jnp.maximum(jnp.maximum(mass, jnp.roll(mass, 1).at[0].set(0)), jnp.roll(mass, -1).at[-1].set(0))
    inner = quadrature.resample(coarse, blurred, samples - 1, key)
    edges = jnp.concatenate([near[None], inner, far[None]])
    return 0.5 * (edges[1:] + edges[:-1]), jnp.diff(edges)


def _integrate(
    direction: Array, t: Array, delta: Array, span: Array, density: Array, color: Array, normal: Array | None
) -> Render:
    """One ray: t, delta, density [n], color [n, 3] -> scalars and vectors."""
    weights = quadrature.weights(density, delta)
    extras = {"distortion": regularise.distortion_along(weights, t / span, delta / span)}
    if normal is not None:
        extras["orientation"] = regularise.orientation_along(weights, normal, direction)
    return Render(
        rgb=weights @ color,
        opacity=quadrature.opacity(density, delta),
        depth=weights @ t,
        normal=jnp.zeros(3, color.dtype) if normal is None else weights @ normal,
        extras=extras,
    )
