"""Point-E's meshes against a stored one of the published code, and of a distance that is known."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jax3d.io.weights import read_weights
from jax3d.nn.names import from_published
from jax3d.nn.point_e import PointSDF
from jax3d.nn.point_e_config import PointSDFConfig
from jax3d.scene.point_e import surface
from jax3d.types import Points


def test_a_mesh_equals_the_published_one(shared):
    folder = shared / "golden" / "native" / "point_e_tiny"
    config = PointSDFConfig.from_json(json.loads((folder / "manifest.json").read_text())["sdf"]["config"])
    z, module = np.load(folder / "sdf_mesh.npz"), PointSDF(config)
    cloud = jnp.moveaxis(jnp.asarray(z["in_point_clouds"]), 1, -1)
    like = jax.eval_shape(module.init, jax.random.key(0), cloud, cloud)["params"]
    params = {"params": from_published(read_weights(folder / "sdf_mesh.safetensors"), like)}
    latents = jax.jit(lambda cloud: module.apply(params, cloud, method="encode"))(cloud)
    mesh = surface(
        Partial(lambda places: module.apply(params, latents, places[None], method="decode")[0]),
        Points(np.asarray(cloud[0]), z["in_rgb"].T),
        resolution=24,
    )
    assert mesh.vertices.shape == z["out_verts"].shape
    np.testing.assert_allclose(mesh.vertices, z["out_verts"], atol=1e-4)
    np.testing.assert_allclose(mesh.normals, z["out_normals"], atol=1e-3)
    turned = lambda f: np.unique([np.roll(t, -np.argmin(t)) for t in f], axis=0)  # noqa: E731
    np.testing.assert_array_equal(turned(mesh.faces), turned(z["out_faces"]))
    np.testing.assert_allclose(mesh.colors, z["out_vrgb"].T)


def test_a_ball_has_its_radius_its_normals_and_the_nearest_colours():
    cloud = Points(np.float32([[1, 0, 0], [-1, 0, 0]]) * 0.4, np.float32([[1, 0, 0], [0, 0, 1]]))
    mesh = surface(Partial(lambda x: 0.4 - jnp.linalg.norm(x, axis=-1)), cloud, resolution=32)
    out = mesh.vertices / np.linalg.norm(mesh.vertices, axis=-1, keepdims=True)
    np.testing.assert_allclose(mesh.vertices, 0.4 * out, atol=2e-3)
    assert np.sum(mesh.normals * out, -1).min() > 0.95
    first, second, third = (mesh.vertices[mesh.faces[:, i]].astype(np.float64) for i in range(3))
    assert np.sum(first * np.cross(second, third)) / 6 == pytest.approx(4 / 3 * np.pi * 0.4**3, rel=0.02)
    right = mesh.vertices[:, 0] > 1e-3
    np.testing.assert_array_equal(mesh.colors[right], np.tile([1, 0, 0], (right.sum(), 1)))


def test_a_distance_without_a_zero_is_refused():
    with pytest.raises(ValueError, match="the cloud gives no surface: its signed distances reach from 1 to 1"):
        surface(Partial(lambda x: jnp.ones(len(x))), Points(np.zeros((1, 3), np.float32)), resolution=4)
