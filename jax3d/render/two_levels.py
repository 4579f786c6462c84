"""Rays through a density in two levels, as Shap-E's NeRF is sampled (arXiv:2305.02463; shap-e models/nerf/ray.py).

A ray crosses the box between near and far. n even distances are moved at random within the cells around them, whose
borders are half way to their neighbours; the density of the coarse field gives each cell a weight

    w_i = T_i (1 - exp(-sigma_i delta_i))

and m more distances are drawn from the cells by (w + 1e-5). The fine field is read at all n + m, in their order, and
their cells integrated: colour sum w c, distance sum w t, transmittance exp(-sum sigma delta).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jax3d.math import quadrature
from jax3d.types import Key

Query = Callable[[Array], tuple[Array, Array]]
"""places [r, n, 3] -> density [r, n], colour [r, n, 3]."""


class Draws(NamedTuple):
    """The uniform numbers of r rays."""

    coarse: Array  # [r, n] places in the cells of the even distances
    cells: Array  # [r, m] which cells
    within: Array  # [r, m] places in them


class Seen(NamedTuple):
    """What rays see; where they miss the box nothing, with a transmittance of 1."""

    color: Array  # [r, 3] premultiplied
    transmittance: Array  # [r]
    distance: Array  # [r] expected over the weights


class Levels(NamedTuple):
    """What both levels see, and where the rays are in the box."""

    fine: Seen
    coarse: Seen
    near: Array  # [r] 0 where they miss it
    far: Array  # [r] 1 there
    hit: Array  # [r] bool


def draw(key: Key, rays: int, coarse: int, fine: int) -> Draws:
    """Uniform numbers for `see`."""
    shapes = (rays, coarse), (rays, fine), (rays, fine)
    return Draws(*(jax.random.uniform(k, shape) for k, shape in zip(jax.random.split(key, 3), shapes, strict=True)))


def see(
    coarse: Query, fine: Query, origins: Float[Array, "r 3"], directions: Float[Array, "r 3"], draws: Draws
) -> Levels:
    """Both levels of rays through [-1, 1]^3."""
    near, far, hit = box(origins, directions)
    s = jnp.linspace(0.0, 1.0, draws.coarse.shape[1])
    t = near[:, None] * (1 - s) + far[:, None] * s
    low, high = cells(t, near, far)
    t = low + (high - low) * draws.coarse
    first, weights = integrate(coarse, origins, directions, t, near, far, hit)
    low, high = cells(t, near, far)
    share = jax.lax.stop_gradient(weights) + 1e-5
    share = jnp.cumsum(share / share.sum(-1, keepdims=True), -1)
    cell = jnp.minimum(jax.vmap(jnp.searchsorted)(share, draws.cells), t.shape[1] - 1)
    low, high = (jnp.take_along_axis(edge, cell, -1) for edge in (low, high))
    t = jax.lax.stop_gradient(jnp.sort(jnp.concatenate([t, low + (high - low) * draws.within], -1), -1))
    second, _ = integrate(fine, origins, directions, t, near, far, hit)
    return Levels(second, first, near, far, hit)


def box(
    origins: Float[Array, "r 3"], directions: Float[Array, "r 3"]
) -> tuple[Float[Array, " r"], Float[Array, " r"], Bool[Array, " r"]]:
    """Where rays are in [-1, 1]^3, and whether; (0, 1) for those that are for less than 0.001."""
    safe = directions + jnp.where(directions < 0, -1e-6, 1e-6)
    planes = jnp.stack([(-1 - origins) / safe, (1 - origins) / safe])
    near = jnp.maximum(planes.min(0).max(-1), 0.0)
    far = planes.max(0).min(-1)
    hit = near + 1e-3 < far
    return jnp.where(hit, near, 0.0), jnp.where(hit, far, 1.0), hit


def cells(
    t: Float[Array, "r n"], near: Float[Array, " r"], far: Float[Array, " r"]
) -> tuple[Float[Array, "r n"], Float[Array, "r n"]]:
    """The borders of the cells around distances."""
    middle = 0.5 * (t[:, 1:] + t[:, :-1])
    return jnp.concatenate([near[:, None], middle], -1), jnp.concatenate([middle, far[:, None]], -1)


def integrate(
    query: Query, origins: Array, directions: Array, t: Array, near: Array, far: Array, hit: Array
) -> tuple[Seen, Float[Array, "r n"]]:
    """What rays see by a field at distances t, and the weights."""
    density, color = query(origins[:, None] + t[..., None] * directions[:, None])
    low, high = cells(t, near, far)
    weights = quadrature.weights(density, high - low)
    through = jnp.where(hit, quadrature.residual(density, high - low), 1.0)
    seen = jnp.where(hit[:, None], jnp.einsum("rn,rnc->rc", weights, color), 0.0)
    return Seen(seen, through, jnp.where(hit, jnp.sum(weights * t, -1), 0.0)), weights
