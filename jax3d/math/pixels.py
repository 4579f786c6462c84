"""Pictures with transparency: composing them over backgrounds, and the disturbances that make a recogniser robust.

`disturb` keeps what a picture shows; `recolor` keeps its shapes alone and `reshape` its colours alone.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, UInt8

from jax3d.math.random import split_each, uniform_each


def over_random_background(
    rgba: UInt8[Array, "b h w 4"] | UInt8[np.ndarray, "b h w 4"], keys: Array
) -> Float[Array, "b h w 3"]:
    """Composite straight-alpha pictures over one random solid colour each; the result is in [0, 1]."""
    pixels = jnp.asarray(rgba, jnp.float32) / 255
    background = uniform_each(keys, (1, 1, 3))
    return pixels[..., :3] * pixels[..., 3:] + background * (1 - pixels[..., 3:])


def disturb(image: Float[Array, "b h w 3"], keys: Array, *, noise: float = 0.1) -> Float[Array, "b h w 3"]:
    """Random blur, exposure and pixel noise, as renders of a half-formed scene have them."""
    k_blur, k_gain, k_level, k_noise = split_each(keys, 4)
    blurred = _box_blur(_box_blur(image))
    amount = uniform_each(k_blur, (1, 1, 1))
    gain = uniform_each(k_gain, (1, 1, 1), 0.85, 1.15)
    level = uniform_each(k_level, (1, 1, 1), 0.0, noise)
    grain = jax.vmap(lambda key: jax.random.normal(key, image.shape[1:]))(k_noise)
    return jnp.clip(gain * (image + amount * (blurred - image)) + level * grain, 0.0, 1.0)


def recolor(image: Float[Array, "b h w 3"], keys: Array) -> Float[Array, "b h w 3"]:
    """Each picture under a random symmetry of the colour cube: channels permuted and inverted."""

    def one(picture: Array, key: Array) -> Array:
        k_order, k_invert = jax.random.split(key)
        picture = picture[..., jax.random.permutation(k_order, 3)]
        return jnp.where(jax.random.bernoulli(k_invert, shape=(3,)), 1.0 - picture, picture)

    return jax.vmap(one)(image, keys)


def reshape(image: Float[Array, "b h w 3"], keys: Array) -> Float[Array, "b h w 3"]:
    """Each picture turned by a random angle and stretched by 0.7 to 1.4 along two axes; the border goes on outwards."""

    def one(picture: Array, key: Array) -> Array:
        k_turn, k_axes, k_stretch = jax.random.split(key, 3)
        turn, axes = (_turn(jax.random.uniform(k, maxval=2 * jnp.pi)) for k in (k_turn, k_axes))
        stretch = jnp.exp2(jax.random.uniform(k_stretch, (2,), minval=-0.5, maxval=0.5))
        where = jnp.stack(jnp.mgrid[: image.shape[1], : image.shape[2]], axis=-1)
        middle = jnp.array([image.shape[1] - 1, image.shape[2] - 1]) / 2
        where = middle + (where - middle) @ (turn @ axes @ (stretch[:, None] * axes.T)).T
        sample = lambda channel: map_coordinates(channel, (where[..., 0], where[..., 1]), 1, mode="nearest")  # noqa: E731
        return jnp.stack([sample(picture[..., c]) for c in range(3)], axis=-1)

    return jax.vmap(one)(image, keys)


def _turn(angle: Array) -> Array:
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.array([[cos, -sin], [sin, cos]])


def _box_blur(image: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    padded = jnp.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    rows = (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) / 3
    return (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 3
