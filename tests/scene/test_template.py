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


def test_remeshing_evens_out_what_bending_stretched(params):
    def stretched(x):
        return jnp.stack([x[:, 0] + 4 * jnp.maximum(x[:, 0] - 0.4, 0), x[:, 1], x[:, 2]], axis=-1)

    mesh = Mesh(np.asarray(stretched(SCENE.vertices(params))), np.asarray(params["fixed"]["faces"]))
    long = SCENE.begin(mesh, jax.random.key(0))
    even = SCENE.remeshed(long, 0.1)
    before, after = (SCENE.export(p) for p in (long, even))
    spread = lambda m: trimesh.Trimesh(*m[:2], process=False).edges_unique_length.std()  # noqa: E731
    body = trimesh.Trimesh(*after[:2], process=False)
    assert body.is_watertight and body.euler_number == 2 and spread(after) < 0.3 * spread(before)
    assert body.volume == pytest.approx(trimesh.Trimesh(*before[:2], process=False).volume, rel=0.05)
    assert even["texture"] is long["texture"]
    np.testing.assert_allclose(see(SCENE, even).opacity.sum(), see(SCENE, long).opacity.sum(), rtol=0.03)
