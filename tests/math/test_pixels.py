"""What each change of a picture keeps."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math import pixels

KEYS = jax.random.split(jax.random.key(0), 6)
IMAGES = jax.random.uniform(jax.random.key(1), (6, 8, 12, 3))


def test_over_a_background_opaque_pixels_stay():
    rgba = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 4), np.uint8)
    rgba[..., 3] = 255
    rgba[:, 0, :, 3] = 0
    image = pixels.over_random_background(rgba, KEYS)
    chex.assert_trees_all_close(image[:, 1:], jnp.asarray(rgba[:, 1:, :, :3], jnp.float32) / 255)
    assert jnp.ptp(image[:, 0], axis=1).max() == 0 and jnp.std(image[:, 0, 0], axis=0).min() > 0.05


def test_recoloring_is_a_symmetry_of_the_colour_cube():
    changed = pixels.recolor(IMAGES, KEYS)
    for before, after in zip(IMAGES.reshape(6, -1, 3), changed.reshape(6, -1, 3), strict=True):
        middle = lambda picture: jnp.sort(jnp.abs(picture - 0.5), axis=-1)  # noqa: E731
        chex.assert_trees_all_close(middle(before), middle(after), atol=1e-6)  # distances to the centre, axis by axis
    assert jnp.sum(jnp.abs(changed - IMAGES).max(axis=(1, 2, 3)) > 0.1) >= 5  # one in 48 changes nothing


def test_reshaping_keeps_the_colours():
    plain = jnp.broadcast_to(IMAGES[:, :1, :1], IMAGES.shape)
    chex.assert_trees_all_close(pixels.reshape(plain, KEYS), plain, atol=1e-6)
    moved = pixels.reshape(IMAGES, KEYS)
    assert jnp.abs(moved - IMAGES).mean() > 0.1 and moved.min() >= 0 and moved.max() <= 1


@pytest.mark.parametrize("change", [pixels.disturb, pixels.recolor, pixels.reshape])
def test_a_picture_depends_on_its_own_key_alone(change):
    chex.assert_trees_all_close(change(IMAGES, KEYS)[2:3], change(IMAGES[2:3], KEYS[2:3]), atol=1e-6)
