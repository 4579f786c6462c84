"""DreamGaussian's two stages on a random prior: gradients, the mesh between them, and the pull on its texture."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jax3d.math.orbit import OrbitSampler
from jax3d.methods.dreamgaussian import Paint, Sketch
from jax3d.prior.guidance import Guidance
from jax3d.prior.views import ViewWords
from jax3d.scene import gaussian_surface
from jax3d.scene.gaussians import Gaussians

GUIDANCE = Guidance(views=ViewWords())
SKETCH = Sketch(
    scene=Gaussians(count=400, capacity=500, opacity=0.8), stages=((0.0, 16),), batch_size=2, guidance=GUIDANCE
)
PAINT = Paint(
    stages=((0.0, 16),), batch_size=2, guidance=GUIDANCE, resolution=32, max_faces=500, texture=64, sample_steps=2
)


def test_the_gradient_reaches_all_that_is_seen(make_prior):
    task = SKETCH.task(make_prior(), "a red chair")
    params, keys = task.init(jax.random.key(0)), jax.random.split(jax.random.key(5), 2)
    value = jax.jit(jax.value_and_grad(task.loss, has_aux=True))
    with jax.debug_key_reuse(True):
        (loss, metrics), gradient = value(params, task.frozen, (), keys, jnp.int32(0))
    chex.assert_tree_all_finite((loss, metrics, gradient))
    for name in ("positions", "scales", "opacities", "base", "pull"):
        assert float(jnp.abs(gradient[name]).max()) > 0
    assert 0 < metrics["opacity"] < 1 and metrics["gaussians"] == 400
    updates, _ = task.optimizer.update(gradient, task.optimizer.init(params), params)
    assert not updates["alive"].any()


def test_the_mesh_shows_the_gaussians_and_its_texture_goes_to_the_goal(make_prior, monkeypatch):
    monkeypatch.setattr(gaussian_surface, "VIEWS", 8)
    monkeypatch.setattr(gaussian_surface, "SIZE", 48)
    prior, scene = make_prior(), SKETCH.scene
    params = scene.init(jax.random.key(0))
    params |= {"base": params["base"].at[:, 0].set(jnp.array([1.2, -1.0, 0.2]))}
    paint, start = PAINT.begin(scene, params)
    mesh = paint.scene.export(start)
    assert mesh.texture.shape == (64, 64, 3) and len(mesh.faces) <= 500
    wanted = 0.5 + 0.28209479 * np.array([1.2, -1.0, 0.2])
    chex.assert_trees_all_close(np.median(mesh.texture, axis=(0, 1)), wanted, atol=0.05)
    task = paint.task(prior, "a red chair", start=start)
    value = jax.jit(jax.value_and_grad(task.loss, has_aux=True))
    keys = jax.random.split(jax.random.key(5), 2)
    with jax.debug_key_reuse(True):
        (loss, metrics), gradient = value(task.init(jax.random.key(0)), task.frozen, (), keys, jnp.int32(0))
    chex.assert_tree_all_finite((loss, metrics, gradient))
    moved = jax.tree.map(lambda a, g: a - 20 * g, task.init(jax.random.key(0)), gradient)
    (less, _), _ = value(moved, task.frozen, (), keys, jnp.int32(0))
    assert float(jnp.abs(gradient["texture"]).max()) > 0 and less < loss


def test_a_picture_noised_a_little_comes_back(make_prior):
    """At time 0 what comes back is what the autoencoder makes of the picture."""
    prior = make_prior()
    frozen = GUIDANCE.frozen(prior, "a red chair")
    keys = jax.random.split(jax.random.key(0), 2)
    view = jax.vmap(OrbitSampler())(keys)
    image = jax.random.uniform(jax.random.key(3), (2, 16, 16, 3))
    again = jax.random.split(jax.random.key(7), 2)
    found = GUIDANCE.repainted(prior, frozen, image, view, again, 0.0, 1)
    plain = prior.decode(prior.params, prior.encode(prior.params, image))
    far = GUIDANCE.repainted(prior, frozen, image, view, again, 0.9, 2)
    assert float(jnp.abs(found - plain).mean()) < 0.5 * float(jnp.abs(far - plain).mean())
