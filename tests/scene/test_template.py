"""The template scene: a ball that cameras see, bent by gradients into a silhouette, and exported."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trimesh

from jax3d.math.even_adam import even_adam
from jax3d.math.orbit import turntable
from jax3d.nn.field import Voxels
from jax3d.scene.template import Template
from jax3d.types import Mesh

SCENE = Template(texture=Voxels(resolution=4), subdivisions=2)
SIZE = 32
CAMERAS = turntable(3, elevation=20.0)


@functools.partial(jax.jit, static_argnums=0)
def see(scene, params):
    return scene.render(params, CAMERAS, None, height=SIZE, width=SIZE)


@pytest.fixture(scope="module")
def params():
    return SCENE.init(jax.random.key(0))


def test_it_begins_as_the_template(params):
    vertices = SCENE.vertices(params)
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 0.6, atol=2e-3)
    box = trimesh.creation.box((0.5, 0.7, 0.9))
    mesh = Mesh(box.vertices.astype(np.float32), box.faces.astype(np.int32))
    begun = SCENE.begin(mesh, jax.random.key(0))
    np.testing.assert_allclose(SCENE.vertices(begun), box.vertices, atol=2e-3)
    back = SCENE.export(begun)
    assert (back.faces == mesh.faces).all() and back.colors.shape == (8, 3)
    assert (np.sum(back.normals * back.vertices, axis=1) > 0).all()


def test_gradients_bend_it_to_a_silhouette(params):
    def longer(x):
        return x * jnp.array([0.8, 1.3, 1.0]) + jnp.array([0.05, 0.0, 0.1])

    goal = SCENE.begin(
        Mesh(np.asarray(longer(SCENE.vertices(params))), np.asarray(params["fixed"]["faces"])), jax.random.key(0)
    )
    target = see(SCENE, goal).opacity
    adam = even_adam(0.02)

    @jax.jit
    def step(shape, state):
        def loss(shape):
            out = see(SCENE, params | {"shape": shape})
            return jnp.mean(jnp.abs(out.opacity - target)) + 1e-3 * out.extras["normal_variation"], out.opacity

        (_, opacity), gradient = jax.value_and_grad(loss, has_aux=True)(shape)
        updates, state = adam.update(gradient, state)
        return optax.apply_updates(shape, updates), state, jnp.abs(opacity - target).mean()

    shape, state, misses = params["shape"], adam.init(params["shape"]), []
    for _ in range(50):
        shape, state, miss = step(shape, state)
        misses.append(float(miss))
    assert misses[-1] < 0.15 * misses[0], (misses[0], misses[-1])
    body = SCENE.export(params | {"shape": shape})
    assert trimesh.Trimesh(body.vertices, body.faces, process=False).is_watertight
