"""Magic3D's second stage: it begins at the field's surface with its colours; gradients reach all parts of the mesh."""

import dataclasses

import chex
import jax
import jax.numpy as jnp

from jax3d.math.ramp import ramp
from jax3d.methods.magic3d import Fairness, Refine
from jax3d.nn.field import Voxels
from jax3d.prior.guidance import Guidance
from jax3d.prior.views import ViewWords
from jax3d.render.shade import Shading
from jax3d.scene.dmtet import DMTet
from jax3d.scene.nerf import NeRF

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
