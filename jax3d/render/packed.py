"""Volume rendering that asks the field only where matter is known to be, all rays sharing one budget of samples.

An occupancy grid (instant-ngp, arXiv 2201.05989, App. C) keeps an estimate of the density of each cell of a cube,

    s <- max(decay s, density(x)),   x uniform in the cell,

and a cell counts as occupied where a step of length D through it would be visible: 1 - exp(-s D) > threshold, or more
than the mean of all cells if that is less. Every ray is cut into steps of D; its samples are those in occupied cells.

The samples of all rays are packed into an array of `budget` slots, ray after ray, so that shapes are static and no slot
is spent on empty space. Rays come in order as long as all their samples fit: a ray is rendered whole or not at all.
`render_packed` goes round until every ray is done, in memory that the budget bounds; `render_some` is one round, for
training, and says which rays it had room for, so that a budget too small costs rays and never a wrong colour.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jax3d.math import linalg
from jax3d.math.camera import Rays
from jax3d.math.random import uniform_each
from jax3d.math.select import true_positions
from jax3d.render.shade import Light, shade
from jax3d.render.volume import Box, Bundle, in_blocks
from jax3d.types import Render


@dataclasses.dataclass(frozen=True)
class Occupancy:
    """Where samples go: a grid of cells over the cube [-half, half]^3."""

    resolution: int = 64
    """Cells along an edge."""
    steps: int = 256
    """Steps along the cube's diagonal; a multiple of 32."""
    budget: int = 2**17
    """Samples of all rays together in a round; at least `steps`."""
    threshold: float = 0.01
    """Opacity of one step from which a cell is occupied."""
    decay: float = 0.95
    """Of the estimate, at each update."""
    half: float = 1.0

    def __post_init__(self):
        if self.steps % 32 or not 32 <= self.steps <= self.budget:
            raise ValueError(
                f"steps must be a multiple of 32 and no more than the budget, are {self.steps} with a budget of "
                f"{self.budget}; 256 and 131072 are a good start."
            )

    @property
    def step(self) -> float:
        """Length of a step."""
        return 2 * 3**0.5 * self.half / self.steps

    def init(self) -> Float[Array, "r r r"]:
        """Everything is occupied."""
        return jnp.full((self.resolution,) * 3, 1e3)

    def update(
        self, estimate: Float[Array, "r r r"], density: Callable[[Array], Array], key: Array, decay: float | Array
    ) -> Float[Array, "r r r"]:
        """The estimate after one density at a random point of every cell; decay 0 forgets what was known."""
        shape = estimate.shape
        corner = jnp.stack(jnp.meshgrid(*[jnp.arange(self.resolution)] * 3, indexing="ij"), axis=-1)
        within = jax.random.uniform(key, (*shape, 3))
        points = ((corner + within) * (2 / self.resolution) - 1) * self.half
        found = jax.lax.map(density, points.reshape(self.resolution, -1, 3))  # a slice at a time bounds the memory
        return jnp.maximum(decay * estimate, found.reshape(shape))

    def occupied(self, estimate: Float[Array, "r r r"]) -> Bool[Array, "r r r"]:
        """The cells where samples are worth while."""
        opacity = -jnp.expm1(-estimate * self.step)
        return opacity > jnp.minimum(self.threshold, jnp.mean(opacity))


def render_packed(
    query: Callable,
    rays: Rays,
    occupied: Bool[Array, "r r r"],
    plan: Occupancy,
    *,
    keys: Array | None = None,
    light: Light | None = None,
    chunk: int = 16384,
) -> Render:
    """Render rays of any leading shape, in as many rounds as the budget needs; arguments as in volume.render_rays."""
    return in_blocks(lambda block: _in_rounds(query, block, occupied, plan), rays, keys, light, chunk)


def render_some(
    query: Callable, rays: Rays, occupied: Bool[Array, "r r r"], plan: Occupancy, *, keys: Array | None = None
) -> tuple[Render, Bool[Array, " n"], Float[Array, ""]]:
    """One round of n rays: the picture, which rays are in it (the others are 0), and samples wanted over the budget."""
    block = Bundle(rays.origins, rays.directions, keys, None)
    t, wanted = _candidates(block, occupied, plan)
    sums, done, demand = _round(query, block, t, wanted, jnp.ones(t.shape[0], bool), plan)
    return _picture(sums), done, demand


def _in_rounds(query: Callable, block: Bundle, occupied: Array, plan: Occupancy) -> Render:
    t, wanted = _candidates(block, occupied, plan)

    def one_round(state):
        waiting, total = state
        sums, done, _ = _round(query, block, t, wanted, waiting, plan)
        return waiting & ~done, jnp.where(done[:, None], sums, total)

    waiting = jnp.ones(t.shape[0], bool)
    shape = jax.eval_shape(lambda: _round(query, block, t, wanted, waiting, plan)[0])
    start = waiting, jnp.zeros(shape.shape, shape.dtype)
    _, total = jax.lax.while_loop(lambda state: jnp.any(state[0]), one_round, start)
    return _picture(total)


def _candidates(block: Bundle, occupied: Array, plan: Occupancy) -> tuple[Array, Array]:
    """For each ray and step the distance of a sample [n, steps], and whether it lies in an occupied cell."""
    near, far = jax.vmap(Box(plan.half))(block.origin, block.direction)
    offset = 0.5 if block.key is None else uniform_each(block.key)
    t = near[:, None] + plan.step * (jnp.arange(plan.steps) + jnp.broadcast_to(offset, near.shape)[:, None])
    points = block.origin[:, None] + t[..., None] * block.direction[:, None]
    size = occupied.shape[0]
    cell = jnp.clip(((points / plan.half + 1) * (0.5 * size)).astype(jnp.int32), 0, size - 1)
    inside = (
        occupied.reshape(-1)
        .at[(cell[..., 0] * size + cell[..., 1]) * size + cell[..., 2]]
        .get(mode="promise_in_bounds")
    )
    return t, inside & (t < far[:, None])


def _round(
    query: Callable, block: Bundle, t: Array, wanted: Array, waiting: Array, plan: Occupancy
) -> tuple[Array, Array, Array]:
    """Sums [n, 5 or 9] over the samples of the first waiting rays that fit, else 0; which these are; the demand."""
    count = jnp.where(waiting, jnp.sum(wanted, axis=-1), 0)
    upto = jnp.cumsum(count)
    done = waiting & (upto <= plan.budget)
    flat, filled = true_positions((wanted & done[:, None]).reshape(-1), plan.budget)
    filled = jnp.arange(plan.budget) < filled
    ray = flat // plan.steps
    at, origin, direction = t.reshape(-1)[flat], block.origin[ray], block.direction[ray]
    points = jnp.where(filled[:, None], origin + at[:, None] * direction, 0.0)
    seen = query(points[:, None], direction[:, None])
    density, color, normal = jax.tree.map(lambda leaf: leaf[:, 0], (seen.density, seen.color, seen.normal))
    if block.light is not None:
        color = shade(color, normal, points, jax.tree.map(lambda leaf: leaf[ray], block.light))

    depth = jnp.where(filled, density * plan.step, 0.0)
    first = jnp.concatenate([jnp.ones(1, bool), ray[1:] != ray[:-1]])
    before = jnp.where(first, 0.0, jnp.roll(_running_sum(depth, first), 1))
    weights = jnp.exp(-before) * -jnp.expm1(-depth)
    terms = [weights[:, None] * color, (weights * at)[:, None], depth[:, None]]
    if normal is not None:
        away = jnp.maximum(linalg.dot(normal, direction, keepdims=True), 0.0) ** 2
        terms += [weights[:, None] * normal, jax.lax.stop_gradient(weights)[:, None] * away]
    sums = _running_sum(jnp.concatenate(terms, axis=-1), first)[jnp.clip(upto - 1, 0, plan.budget - 1)]
    return jnp.where((done & (count > 0))[:, None], sums, 0.0), done, upto[-1] / plan.budget


def _picture(sums: Array) -> Render:
    normals = sums.shape[-1] > 5
    return Render(
        rgb=sums[:, :3],
        opacity=-jnp.expm1(-sums[:, 4]),
        depth=sums[:, 3],
        normal=sums[:, 5:8] if normals else jnp.zeros_like(sums[:, :3]),
        extras={"orientation": sums[:, 8]} if normals else {},
    )


def _running_sum(values: Array, first: Array) -> Array:
    """Inclusive sums that begin anew where `first`; no difference of large sums, so no cancellation."""

    def join(left, right):
        begins = jnp.expand_dims(right[1], range(1, values.ndim))
        return jnp.where(begins, right[0], left[0] + right[0]), left[1] | right[1]

    # Without the barrier XLA fuses the field into every level of the scan and asks it again each time: 3 x slower.
    return jax.lax.associative_scan(join, jax.lax.optimization_barrier((values, first)))[0]
