"""The radiance-field scene: cameras in, images out; export of shapes whose answer is known."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from jax3d.math import linalg, quadrature
from jax3d.math.camera import Rays, orbit
from jax3d.nn.field import ConeBlob, FieldSample, Sky, Voxels
from jax3d.render import volume
from jax3d.render.shade import point_light
from jax3d.scene.nerf import NeRF

CENTRE = np.array([0.1, -0.2, 0.15], np.float32)


class Ball(nn.Module):
    """An analytic ball with density 25 on its surface and colour (x + 1) / 2."""

    radius: float = 0.5

    @nn.compact
    def __call__(self, points, directions=None):
        self.param("unused", nn.initializers.zeros, (1,))
        density = 25.0 * jnp.exp(8 * (self.radius - linalg.safe_norm(points - CENTRE)))
        return density, 0.5 * (jnp.clip(points, -1, 1) + 1)

    def sample(self, points, directions=None, normals=False):
        density, color = self(points, directions)
        return FieldSample(density, color, linalg.normalize(points - CENTRE) if normals else None)


def solid(mesh):
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def test_a_ball_is_exported_where_it_is():
    scene = NeRF(field=Ball())
    mesh = scene.export(scene.init(jax.random.key(0)), resolution=48, threshold=25.0)
    radius = np.linalg.norm(mesh.vertices - CENTRE, axis=-1)
    np.testing.assert_allclose(radius, 0.5, atol=2e-3)
    body = solid(mesh)
    assert body.is_watertight and body.euler_number == 2
    np.testing.assert_allclose(body.volume, 4 / 3 * np.pi * 0.125, rtol=0.02)  # positive: the faces look outwards
    np.testing.assert_allclose(body.area, np.pi, rtol=0.02)
    np.testing.assert_allclose(body.center_mass, CENTRE, atol=2e-3)
    outward = (mesh.vertices - CENTRE) / radius[:, None]
    assert np.min(np.sum(mesh.normals * outward, axis=-1)) > 0.99
    np.testing.assert_allclose(mesh.colors, 0.5 * (mesh.vertices + 1), atol=1e-5)


def test_a_decimated_ball_is_still_one():
    scene = NeRF(field=Ball())
    mesh = scene.export(scene.init(jax.random.key(0)), resolution=32, threshold=25.0, max_faces=400)
    body = solid(mesh)
    assert len(mesh.faces) <= 400 and body.is_watertight and len(mesh.colors) == len(mesh.vertices)
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices - CENTRE, axis=-1), 0.5, atol=0.02)
    np.testing.assert_allclose(body.volume, 4 / 3 * np.pi * 0.125, rtol=0.04)
    assert np.min(np.sum(mesh.normals * (mesh.vertices - CENTRE), axis=-1)) > 0.45


def test_a_textured_ball_has_the_colours_of_the_field():
    scene = NeRF(field=Ball())
    params = scene.init(jax.random.key(0))
    mesh = scene.export(params, resolution=32, threshold=25.0, texture=128)
    assert len(mesh.faces) <= 2 * 25**2 and mesh.texture.shape == mesh.normal_map.shape == (128, 128, 3)
    places = np.floor(mesh.uv * [128, -128] + [0, 128]).clip(0, 127).astype(int)
    seen = mesh.texture[places[:, 1], places[:, 0]]
    assert np.abs(seen - mesh.colors).mean() < 0.03
    np.testing.assert_allclose(np.linalg.norm(mesh.normal_map, axis=-1), 1, atol=1e-4)
    assert mesh.normal_map[..., 2].min() > 0.8  # the mesh's own normals are nearly right


def test_render_shapes_keys_and_light():
    scene = NeRF(field=Voxels(resolution=8, bias=ConeBlob()), samples=8, chunk=50)
    params = scene.init(jax.random.key(0))
    cameras = orbit(jnp.array([0.0, 1.0, 2.0]), 0.2, 3.0, 0.7)
    keys = jax.random.split(jax.random.key(1), 3)
    light = point_light(cameras.position)
    draw = jax.jit(lambda camera, key, light: scene.render(params, camera, key, height=6, width=5, light=light))
    out = draw(cameras, keys, light)
    chex.assert_shape((out.rgb, out.normal), (3, 6, 5, 3))
    chex.assert_shape((out.opacity, out.depth, out.extras["orientation"]), (3, 6, 5))
    pick = lambda tree: jax.tree.map(lambda leaf: leaf[1], tree)  # noqa: E731
    alone = draw(pick(cameras), keys[1], pick(light))
    chex.assert_trees_all_close(alone, pick(out), atol=1e-5)  # an image depends on its own key alone
    outward = -jnp.sum(out.normal[:, 2:4, 2] * cameras.world_from_camera[:, None, :3, 2], axis=-1)
    assert jnp.all(outward > 0.1), "a blob in the middle faces the camera"
    with pytest.raises(ValueError, match="one key or one a camera"):
        scene.render(params, cameras, keys[:2], height=2, width=2)


def test_gradients_reach_every_parameter():
    scene = NeRF(field=Voxels(resolution=8), samples=8, sky=Sky(width=4))
    params = scene.init(jax.random.key(0))
    camera = orbit(0.3, 0.2, 3.0, 0.7)

    def loss(params):
        out = scene.render(params, camera, None, height=6, width=6, normals=True)
        sky = scene.backdrop(params, camera, height=6, width=6)
        return jnp.mean((out.rgb + (1 - out.opacity)[..., None] * sky - 0.2) ** 2) + out.extras["orientation"].mean()

    gradient = jax.jit(jax.grad(loss))(params)
    chex.assert_tree_all_finite(gradient)
    assert all(jnp.abs(gradient["field"]["grid"][..., c]).max() > 0 for c in range(4))
    assert jnp.abs(gradient["sky"]["color"]["kernel"]).max() > 0


def test_a_scene_without_sky_says_so():
    scene = NeRF(field=Ball())
    with pytest.raises(ValueError, match=r"NeRF\(sky=Sky\(\)\)"):
        scene.backdrop({}, orbit(0.0, 0.0, 3.0, 0.7), height=2, width=2)


def test_an_unbounded_scene_shows_what_lies_beyond_the_cube():
    """A field that is dense in a ball of the contracted cube about y = (0.75, 0, 0), which is x = (2, 0, 0)."""

    def bump(inside):
        return 60 * (0.1 - jnp.linalg.norm(inside - jnp.array([0.75, 0.0, 0.0]), axis=-1))

    scene = NeRF(
        field=Voxels(resolution=32, bias=bump, noise=0.0),
        samples=96,
        region=volume.Shell(0.1, 20.0),
        spacing=quadrature.by_disparity,
        unbounded=True,
    )
    params = scene.init(jax.random.key(0))
    rays = Rays(jnp.zeros((2, 3)), jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    out = jax.jit(lambda: scene.trace(params, rays, None, normals=True))()
    front = 0.5 / (1 - 0.65)  # y = 0.65 is the ball's near side, at x = 1 / (2 (1 - y))
    assert out.opacity[0] > 0.99 and out.opacity[1] < 0.05
    assert front < out.depth[0] < 2.0
    assert linalg.normalize(out.normal[0])[0] < -0.95  # faces the camera at the origin
