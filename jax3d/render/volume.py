"""Volume rendering of one ray, vmapped over rays, in blocks so that memory is bounded at any image size.

Between the points where a ray enters and leaves the region, n samples t_i with weights w_i (math/quadrature) give

    rgb = sum w_i c_i,   opacity = 1 - exp(-sum sigma_i delta_i),   depth = sum w_i t_i,   normal = sum w_i n_i,

all premultiplied by opacity, over no background (NeRF, arXiv 2003.08934, eq. 3). Samples stand at fractions s of the
way from near to far, which a `spacing` turns into distances. With `proposals` > 0, so many equal bins first find where
the weights are, and the n samples go there (inverse CDF, gradient stopped; NeRF's sec. 5.2). They ask the field itself
or, where there is one, a `proposer`: its own losses are in the extras, `coarse` for NeRF's coarse network and
`interlevel` for a proposal network (mip-NeRF 360, arXiv 2111.12077).

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
Spacing = Callable[[Array, Array, Array], Array]
"""(near, far, s in [0, 1]) -> distance: quadrature.evenly, quadrature.by_disparity."""


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


class Bundle(NamedTuple):
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
    spacing: Spacing = quadrature.evenly,
    proposals: int = 0,
    proposer: Callable | None = None,
    keys: Array | None = None,
    light: Light | None = None,
    chunk: int = 16384,
) -> Render:
    """Render rays of any leading shape: `query(points [r, n, 3], directions [r, n, 3])` gives a FieldSample.

    `keys` [...] (one a ray) jitters the samples; None takes the middles of the bins. `light` has the rays' leading
    shape in its leaves and needs a query that gives normals. Extras: per ray `distortion` (over s), where the query
    gives normals `orientation`, and with a proposer (a query too) `interlevel`, `coarse` [..., 3] and `coarse_opacity`.
    """
    if samples < 1 or (proposals and samples < 2) or chunk < 1:
        raise ValueError(
            f"a ray needs samples >= 1 (>= 2 with proposals) in chunks of >= 1 rays, got samples={samples}, "
            f"proposals={proposals}, chunk={chunk}; 48 samples and a chunk of 16384 are a good start."
        )
    place = _Place(samples, region, spacing, proposals, proposer)
    return in_blocks(lambda block: _block(query, block, place), rays, keys, light, chunk)


def in_blocks(
    function: Callable[[Bundle], Render], rays: Rays, keys: Array | None, light: Light | None, chunk: int
) -> Render:
    """function of flat bundles of at most `chunk` rays, for rays of any leading shape.

    The last block repeats the last ray to be full.
    """
    batch = rays.directions.shape[:-1]
    ray = Bundle(rays.origins, rays.directions, keys, light)
    ray = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(batch) :]), ray)
    count = ray.origin.shape[0]
    if count <= chunk:
        out = function(ray)
    else:
        blocks = -(-count // chunk)
        index = jnp.minimum(jnp.arange(blocks * chunk), count - 1).reshape(blocks, chunk)
        out = jax.lax.map(jax.checkpoint(lambda rows: function(jax.tree.map(lambda leaf: leaf[rows], ray))), index)
        out = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], out)
    return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), out)


class _Place(NamedTuple):
    """Where the samples of a ray go."""

    samples: int
    region: Region
    spacing: Spacing
    proposals: int
    proposer: Callable | None


def _block(query: Callable, ray: Bundle, place: _Place) -> Render:
    """Place samples on each ray, ask the field once for all of them, integrate each ray."""
    near, far = jax.vmap(place.region)(ray.origin, ray.direction)
    distances = jax.vmap(place.spacing)
    first, second = ray.key, None
    if place.proposals and ray.key is not None:
        first, second = jnp.moveaxis(jax.vmap(jax.random.split)(ray.key), 0, 1)

    def ask(query: Callable, s: Array, edges: Array):
        t = distances(near, far, s)
        points = ray.origin[:, None] + t[..., None] * ray.direction[:, None]
        seen = query(points, jnp.broadcast_to(ray.direction[:, None], points.shape))
        return t, jnp.diff(distances(near, far, edges)), points, seen

    s, edges = _each(lambda key: quadrature.stratified(place.proposals or place.samples, key), first, len(near))
    extras = {}
    if place.proposals:
        _, delta, _, seen = ask(place.proposer or query, s, edges)
        mass = quadrature.weights(seen.density, delta)
        if place.proposer:
            extras["coarse"] = jnp.einsum("rn,rnc->rc", mass, seen.color)
            extras["coarse_opacity"] = quadrature.opacity(seen.density, delta)
        edges = jax.vmap(lambda mass, key: _concentrate(mass, place.samples, key))(jax.lax.stop_gradient(mass), second)
        s = 0.5 * (edges[:, 1:] + edges[:, :-1])
    t, delta, points, seen = ask(query, s, edges)
    color = seen.color
    if ray.light is not None:
        color = shade(color, seen.normal, points, jax.tree.map(lambda leaf: leaf[:, None], ray.light))
    weights = quadrature.weights(seen.density, delta)
    if place.proposer:
        extras["interlevel"] = regularise.interlevel_along(weights, jax.vmap(quadrature.mass_around)(mass, edges))
    extras["distortion"] = regularise.distortion_along(weights, s, jnp.diff(edges))
    opacity = quadrature.opacity(seen.density, delta)
    out = jax.vmap(_integrate)(ray.direction, weights, opacity, t, color, seen.normal)
    return out.replace(extras=out.extras | extras)


def _each(function: Callable, keys: Array | None, count: int) -> tuple[Array, ...]:
    """function(key) of every ray; without keys the same for all."""
    if keys is not None:
        return jax.vmap(function)(keys)
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), function(None))


def _concentrate(mass: Array, samples: int, key: Array | None) -> Array:
    """Edges of bins of [0, 1] for one ray, narrow where `mass` (of equal bins) is."""
    coarse = jnp.linspace(0.0, 1.0, mass.shape[-1] + 1)
    blurred = jnp.maximum(jnp.maximum(mass, jnp.roll(mass, 1).at[0].set(0)), jnp.roll(mass, -1).at[-1].set(0))
    inner = quadrature.resample(coarse, blurred, samples - 1, key)
    return jnp.concatenate([jnp.zeros(1), inner, jnp.ones(1)])


def _integrate(
    direction: Array, weights: Array, opacity: Array, t: Array, color: Array, normal: Array | None
) -> Render:
    """One ray: weights, t [n], color [n, 3] -> scalars and vectors."""
    extras = {} if normal is None else {"orientation": regularise.orientation_along(weights, normal, direction)}
    return Render(
        rgb=weights @ color,
        opacity=opacity,
        depth=weights @ t,
        normal=jnp.zeros(3, color.dtype) if normal is None else weights @ normal,
        extras=extras,
    )
