"""Point clouds as arrays and back."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.codec.points import PointCloud

RNG = np.random.default_rng(0)
NORMALS = RNG.normal(size=(3, 20, 3))
DATA = {
    "points": RNG.uniform(-1, 1, (3, 20, 3)),
    "colors": RNG.uniform(size=(3, 20, 3)),
    "normals": NORMALS / np.linalg.norm(NORMALS, axis=-1, keepdims=True),
}


@pytest.mark.parametrize("colors, normals, channels", [(False, False, 3), (True, False, 6), (True, True, 9)])
def test_a_cloud_comes_back_as_it_went_in(colors, normals, channels):
    codec = PointCloud(20, colors=colors, normals=normals)
    params, kept = codec.encode(DATA)
    assert codec.shape == (20, channels) == kept.shape[1:]
    cloud = codec.decode(params, kept[1])
    np.testing.assert_allclose(cloud.positions, DATA["points"][1], atol=1e-3)
    if colors:
        np.testing.assert_allclose(cloud.colors, DATA["colors"][1], atol=1e-3)
    if normals:
        np.testing.assert_allclose(cloud.normals, DATA["normals"][1], atol=2e-3)
    assert (cloud.colors is None, cloud.normals is None) == (not colors, not normals)


def test_a_draw_is_a_subset_without_repetition_and_new_with_every_key():
    codec = PointCloud(12, drawn=8)
    _, kept = codec.encode(DATA)
    first, second = (np.asarray(codec.draw(jnp.asarray(kept[0]), jax.random.key(k))) for k in (0, 1))
    chex.assert_shape(first, (8, 6))
    rows = [int(np.flatnonzero((kept[0].astype(np.float32) == row).all(-1))[0]) for row in first]
    assert len(set(rows)) == 8 and not np.array_equal(first, second)


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="21 points.*got 20"):
        PointCloud(21).encode(DATA)
