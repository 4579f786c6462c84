"""Magic3D's second stage: it begins at the field's surface with its colours and comes to look like it; gradients reach
all parts of the mesh, those of the distances spread."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import pytest

from jax3d.math.ramp import ramp
from jax3d.methods.magic3d import Fairness, Refine
from jax3d.nn.field import Voxels
from jax3d.prior.guidance import Guidance
from jax3d.prior.views import ViewWords
from jax3d.render.shade import Shading
from jax3d.scene.dmtet import DMTet
from jax3d.scene.nerf import NeRF
from jax3d.train.loop import TrainConfig, train

FIELD = Voxels(resolution=8)
TINY = Refine(
    scene=DMTet(texture=FIELD, cells=8),
    stages=((0.0, 16),),
    batch_size=2,
    steps=10,
    guidance=Guidance(views=ViewWords()),
    shading=Shading(lit=ramp(0.5)),
    fairness=Fairness(ramp(1.0), ramp(1.0), ramp(0.0, 1.0)),
)


def test_it_begins_where_the_field_is_with_its_colours():
    scene = NeRF(field=FIELD)
    params = scene.init(jax.random.key(0))
    begun, start = TINY.begin(scene, params)
    chex.assert_trees_all_equal(start["texture"], params["field"])
    assert begun.scene.room is not None and float(start["distance"].min()) < 0 < float(start["distance"].max())
    thinner = dataclasses.replace(TINY, share=1.0).begin(scene, params)[1]["distance"]
    assert (start["distance"] < 0).sum() > (thinner < 0).sum() > 0
    halved = dataclasses.replace(TINY, scene=dataclasses.replace(TINY.scene, halvings=1))
    finer, again = halved.begin(scene, params)
    assert finer.scene.spacing == begun.scene.spacing / 2 and finer.scene.room[1] > 2 * begun.scene.room[1]
    chex.assert_trees_all_equal(again["texture"], params["field"])


def test_the_first_surface_is_bent_until_it_looks_like_the_field():
    """A ball with soft edges, from the surface of a third of its density: too thick, until it is fitted."""
    scene = NeRF(field=FIELD)
    params = scene.init(jax.random.key(0))
    method = dataclasses.replace(TINY, fit_steps=30, share=0.01)
    begun, start = method.begin(scene, params)
    task = begun.fit(scene, params, start)
    seen, colors = [], []
    note = lambda step, state, figures: (seen.append(figures["silhouette"]), colors.append(figures["color"]))  # noqa: E731
    state = train(task, TrainConfig(steps=30, callback_every=1, progress=False), callback=note)
    assert sum(seen[-5:]) < 0.5 * sum(seen[:5]) and sum(colors[-5:]) < 0.5 * sum(colors[:5]), (seen, colors)
    assert set(state.params) == {"distance", "offset", "texture"}
    with pytest.raises(ValueError, match="must be 0 or more"):
        dataclasses.replace(method, spread=-1.0)


def test_halved_grids_spread_gradients_by_their_own_spacing():
    scene = dataclasses.replace(TINY.scene, halvings=1)
    params = scene.init(jax.random.key(0))
    one = jnp.argmin(jnp.sum((params["fixed"]["grid"].vertices - jnp.array([0.5, 0.0, 0.0])) ** 2, axis=-1))
    distance = lambda d, width: scene.spread(params | {"distance": d}, width)["distance"][one]  # noqa: E731
    far = jnp.linalg.norm(params["fixed"]["grid"].vertices - params["fixed"]["grid"].vertices[one], axis=-1)
    sharp, blurred = (jax.grad(distance)(params["distance"], width) for width in (0.0, 0.5))
    assert (sharp != 0).sum() == 1 and (blurred != 0).sum() > 7
    assert float(jnp.max(jnp.where(blurred != 0, far, 0.0))) <= 2 * 3**0.5 * scene.spacing + 1e-6
    assert float(jnp.argmax(blurred)) == one


def test_the_gradient_reaches_distances_offsets_and_texture(make_prior):
    task = TINY.task(make_prior(), "a red chair")
    params, keys = task.init(jax.random.key(0)), jax.random.split(jax.random.key(5), 2)
    assert set(params) == {"distance", "offset", "texture"}
    value = jax.jit(jax.value_and_grad(task.loss, has_aux=True))
    with jax.debug_key_reuse(True):
        (loss, metrics), gradient = value(params, task.frozen, (), keys, jnp.int32(0))
    chex.assert_tree_all_finite((loss, metrics, gradient))
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradient))
    assert 0 < metrics["opacity"] < 1 and 0 < metrics["demand_surface"] < 1
    assert float(metrics["sign_entropy"]) == 0 < float(metrics["laplacian"])
    updates, _ = task.optimizer.update(gradient, task.optimizer.init(params), params)
    chex.assert_trees_all_equal_shapes(updates, params)
