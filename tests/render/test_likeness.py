"""The terms against the formulas in NumPy: pictures premultiplied, over a background of their own each."""

import jax.numpy as jnp
import numpy as np

from jax3d.render.likeness import unlikeness
from jax3d.types import Render


def test_both_terms_are_mean_absolute_differences_over_the_background():
    rng = np.random.default_rng(0)
    alphas, colors = rng.random((2, 3, 4, 5)), rng.random((2, 3, 4, 5, 3))
    background = rng.random((3, 1, 1, 3))
    over = [a[..., None] * c + (1 - a[..., None]) * background for a, c in zip(alphas, colors, strict=True)]
    (a, b), (rgb, other) = (
        (jnp.asarray(x, jnp.float32) for x in alphas),
        (jnp.asarray(a[..., None] * c, jnp.float32) for a, c in zip(alphas, colors, strict=True)),
    )
    out = Render(rgb, a, jnp.zeros_like(a), jnp.zeros_like(rgb))
    terms = unlikeness(out, other, b, jnp.asarray(background, jnp.float32))
    np.testing.assert_allclose(terms["color"], np.abs(over[0] - over[1]).mean(), rtol=1e-5)
    np.testing.assert_allclose(terms["silhouette"], np.abs(alphas[0] - alphas[1]).mean(), rtol=1e-5)
