"""Shading is continuous between its modes; compositing is linear."""

import chex
import jax
import jax.numpy as jnp

from jax3d.render import shade


def test_half_way_between_albedo_and_lambertian_is_their_mean():
    k_albedo, k_normal, k_points = jax.random.split(jax.random.key(0), 3)
    albedo = jax.random.uniform(k_albedo, (7, 3))
    normal = jax.random.normal(k_normal, (7, 3))
    points = jax.random.normal(k_points, (7, 3))
    position = jnp.array([1.0, 2.0, 3.0])
    low, half, high = (shade.shade(albedo, normal, points, shade.point_light(position, s)) for s in (0.0, 0.5, 1.0))
    chex.assert_trees_all_close(low, albedo)
    chex.assert_trees_all_close(half, (low + high) / 2, atol=1e-6)
    white = shade.shade(albedo, normal, points, shade.point_light(position, 1.0, 1.0))
    chex.assert_trees_all_close(white * albedo, high, atol=1e-6)


def test_a_point_at_the_light_and_a_zero_normal_are_finite():
    def total(normal, point):
        return jnp.sum(shade.shade(jnp.ones(3), normal, point, shade.point_light(jnp.ones(3))))

    values = jax.value_and_grad(total, argnums=(0, 1))(jnp.zeros(3), jnp.ones(3))
    chex.assert_tree_all_finite(values)


def test_random_lights_have_the_distance_asked_for():
    keys = jax.random.split(jax.random.key(0), 200)
    lights = jax.vmap(lambda key: shade.near_camera(key, jnp.array([3.0, 0.0, 0.0])))(keys)
    distance = jnp.linalg.norm(lights, axis=-1)
    assert jnp.all((distance >= 0.8) & (distance <= 1.5))
    assert jnp.mean(lights[:, 0] > 0) > 0.95  # on the camera's side


def test_composite_over_backgrounds():
    opacity = jnp.array([[0.0, 0.25], [0.5, 1.0]])
    rgb = opacity[..., None] * jnp.array([1.0, 0.5, 0.0])
    chex.assert_trees_all_close(shade.composite(rgb, opacity, 0.0), rgb)
    white = shade.composite(rgb, opacity, 1.0)
    chex.assert_trees_all_close(white[..., 0], jnp.ones((2, 2)))
    chex.assert_trees_all_close(white[0, 0], jnp.ones(3))
    background = shade.random_background(jax.random.key(0), plain=0.0)
    chex.assert_trees_all_close(shade.composite(rgb, opacity, background)[0, 0], background[0, 0])
    chex.assert_trees_all_close(shade.random_background(jax.random.key(0), plain=1.0), jnp.ones((1, 1, 3)))
