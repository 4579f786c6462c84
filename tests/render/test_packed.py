"""Packed samples against plain volume rendering: the same picture from the same places, whatever the budget."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math import camera as cameras
from jax3d.math import linalg
from jax3d.nn.field import FieldSample
from jax3d.render import packed, volume
from jax3d.render.packed import Occupancy
from jax3d.render.shade import point_light

PLAN = Occupancy(resolution=16, steps=64, budget=512)
EVERYWHERE = jnp.ones((16, 16, 16), bool)


def ball(strength, normals=True):
    """A query: a ball of radius 1/2 with soft border and position-dependent colour."""

    def query(points, directions):
        radius = linalg.safe_norm(points)
        density = strength * jnp.maximum(0.5 - radius, 0.0)
        return FieldSample(density, 0.5 + 0.4 * jnp.sin(3 * points), linalg.normalize(points) if normals else None)

    return query


def rays(height=6, width=8):
    return cameras.rays(cameras.orbit(0.4, 0.3, 3.0, 0.5), height, width)


def near_the_ball(resolution=16):
    line = (np.arange(resolution) + 0.5) * 2 / resolution - 1
    radius = np.linalg.norm(np.stack(np.meshgrid(line, line, line), axis=-1), axis=-1)
    return jnp.asarray(radius < 0.5 + 2 / resolution)  # a cell's half diagonal is 0.87 of its edge


@pytest.fixture(scope="module")
def render():
    return jax.jit(
        lambda strength, rays, occupied, plan, light=None: packed.render_packed(
            ball(strength), rays, occupied, plan, light=light
        ),
        static_argnums=3,
    )


def test_the_picture_is_that_of_plain_sampling(render):
    """On a common step the samples are the same, so the sums are: a loop over rays says so."""
    bundle = rays()
    out = render(20.0, bundle, EVERYWHERE, PLAN)
    for i, j in [(2, 4), (3, 3), (0, 0), (5, 2)]:
        o, d = np.asarray(bundle.origins[i, j], np.float64), np.asarray(bundle.directions[i, j], np.float64)
        near, far = (float(value) for value in volume.Box()(bundle.origins[i, j], bundle.directions[i, j]))
        rgb, depth, transmittance = np.zeros(3), 0.0, 1.0
        for k in range(PLAN.steps):
            t = near + (k + 0.5) * PLAN.step
            if t >= far:
                break
            x = o + t * d
            alpha = 1 - np.exp(-20.0 * max(0.5 - np.linalg.norm(x), 0.0) * PLAN.step)
            rgb += transmittance * alpha * (0.5 + 0.4 * np.sin(3 * x))
            depth += transmittance * alpha * t
            transmittance *= 1 - alpha
        np.testing.assert_allclose(out.rgb[i, j], rgb, atol=2e-5)
        np.testing.assert_allclose([out.opacity[i, j], out.depth[i, j]], [1 - transmittance, depth], atol=5e-5)


def test_the_grid_and_the_budget_change_nothing_but_the_work(render):
    light = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (6, 8, *leaf.shape)), point_light(jnp.array([2.0, 1, 3])))
    full = render(20.0, rays(), EVERYWHERE, PLAN, light)
    chex.assert_trees_all_close(full, render(20.0, rays(), near_the_ball(), PLAN, light), atol=1e-5)
    tight = Occupancy(resolution=16, steps=64, budget=64)
    chex.assert_trees_all_close(full, render(20.0, rays(), near_the_ball(), tight, light), atol=1e-5)
    assert full.opacity.max() > 0.9 and jnp.abs(full.normal).max() > 0.5


def test_a_round_renders_rays_whole_or_not_at_all(render):
    bundle = jax.tree.map(lambda leaf: leaf.reshape(-1, 3), rays())
    whole = render(20.0, bundle, near_the_ball(), PLAN)
    tight = Occupancy(resolution=16, steps=64, budget=128)
    some, done, demand = jax.jit(lambda: packed.render_some(ball(20.0), bundle, near_the_ball(), tight))()
    assert 0.1 < done.mean() < 1 and demand > 1
    chex.assert_trees_all_close(some.rgb, jnp.where(done[:, None], whole.rgb, 0.0), atol=1e-6)
    chex.assert_trees_all_close(some.opacity, jnp.where(done, whole.opacity, 0.0), atol=1e-6)


def test_gradients_are_those_of_finite_differences():
    bundle = jax.tree.map(lambda leaf: leaf.reshape(-1, 3), rays())

    @jax.jit
    def brightness(strength):
        return jnp.sum(packed.render_some(ball(strength, False), bundle, near_the_ball(), PLAN)[0].rgb ** 2)

    slope = jax.grad(brightness)(5.0)
    difference = (brightness(5.1) - brightness(4.9)) / 0.2
    chex.assert_trees_all_close(slope, difference, rtol=2e-3)
    assert abs(slope) > 0.01


def test_the_estimate_finds_matter_and_forgets_slowly():
    plan = Occupancy(resolution=16, steps=64, budget=512)
    density = lambda points: jnp.where(linalg.safe_norm(points) < 0.4, 50.0, 0.0)  # noqa: E731
    start = plan.init()
    assert plan.occupied(start).all()
    found = plan.update(start, density, jax.random.key(0), 0.0)
    occupied = plan.occupied(found)
    assert occupied[7:9, 7:9, 7:9].all() and not occupied[near_the_ball() == 0].any()
    kept = plan.update(found, lambda points: 0 * points[..., 0], jax.random.key(1), plan.decay)
    chex.assert_trees_all_close(kept, plan.decay * found)


def test_steps_must_fit_the_budget():
    with pytest.raises(ValueError, match="multiple of 32 and no more than the budget"):
        Occupancy(steps=64, budget=63)
