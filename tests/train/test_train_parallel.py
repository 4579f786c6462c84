import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import train_toy

from jax3d.train import parallel
from jax3d.train import state as states
from jax3d.train.loop import TrainConfig, train

QUIET = dict(progress=False)


def run(steps, devices, task=None, **config):
    return train(task or train_toy.task(), TrainConfig(steps=steps, **QUIET, **config), devices=jax.devices()[:devices])


def test_one_and_eight_devices_train_the_same():
    one, eight = (run(40, n, ema_decay=0.9, clip_norm=0.5) for n in (1, 8))
    chex.assert_trees_all_close(one.params, eight.params, atol=1e-6)
    chex.assert_trees_all_close(one.ema, eight.ema, atol=1e-6)


def test_step_is_plain_jax_of_the_whole_batch():
    """Three steps through pmap against value_and_grad and optax written out, with the documented keys."""
    task, seed = train_toy.task(), 5
    state = run(3, 8, seed=seed)
    params = task.init(jax.random.fold_in(jax.random.key(seed), 2**32 - 1))
    moments = task.optimizer.init(params)
    for k in range(3):
        key = jax.random.fold_in(jax.random.key(seed), k)
        keys = jnp.stack([jax.random.fold_in(key, i) for i in range(8)])
        gradient, _ = jax.grad(task.loss, has_aux=True)(params, task.frozen, task.batches(k), keys, k)
        updates, moments = task.optimizer.update(gradient, moments)
        params = optax.apply_updates(params, updates)
    chex.assert_trees_all_close(state.params, params, atol=1e-6)


def test_accumulation_is_the_big_batch():
    whole, parts = run(10, 2), run(10, 2, accumulate=4)
    chex.assert_trees_all_close(whole.params, parts.params, atol=1e-6)


def test_bfloat16_computes_low_and_stores_high():
    seen = []

    def loss(params, frozen, batch, keys, step):
        seen.extend([params["up"]["kernel"].dtype, batch["x"].dtype, batch["label"].dtype])
        return train_toy.loss(params, frozen, batch, keys, step)

    low = run(20, 1, train_toy.task(loss=loss), precision="bfloat16")
    assert seen[:3] == [jnp.bfloat16, jnp.bfloat16, jnp.int32]
    assert {x.dtype for x in jax.tree.leaves(low.params)} == {jnp.dtype("float32")}
    chex.assert_trees_all_close(low.params, run(20, 1).params, atol=0.1)
    # weights that moved by less than a bfloat16 can hold
    assert not np.array_equal(low.params["up"]["kernel"], low.params["up"]["kernel"].astype(jnp.bfloat16))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_keys_are_used_once(accumulate):
    def careless(params, frozen, batch, keys, step):
        value, metrics = train_toy.loss(params, frozen, batch, keys, step)
        return value + jax.vmap(jax.random.normal)(keys).mean(), metrics

    with jax.debug_key_reuse(True):
        run(2, 2, accumulate=accumulate)
        with pytest.raises(jax.errors.KeyReuseError):
            run(2, 2, train_toy.task(loss=careless), accumulate=accumulate)


def test_choose_takes_what_divides():
    devices = jax.devices()
    assert parallel.choose(8) == tuple(devices)
    with pytest.warns(UserWarning, match="uses 6 of 8"):
        assert parallel.choose(6) == tuple(devices[:6])
    with pytest.warns(UserWarning, match="uses 4 of 8"):
        assert len(parallel.choose(8, accumulate=2)) == 4
    assert parallel.choose(3, devices=devices[2:5]) == tuple(devices[2:5])
    with pytest.raises(ValueError, match="multiple of hosts x accumulate = 1 x 3, is 8"):
        parallel.choose(8, accumulate=3)


def test_the_callers_arrays_survive_donation():
    mine = train_toy.init(jax.random.key(0))
    train(train_toy.task(init=lambda key: mine), TrainConfig(steps=2, ema_decay=0.9, **QUIET))
    chex.assert_tree_all_finite(mine)


@pytest.mark.parametrize("size", [1, 8, 11])
def test_map_batch_is_the_plain_function(size):
    def fn(params, batch):
        return {"y": batch["x"] @ params, "n": batch["n"] + 1}

    params = jnp.arange(6.0).reshape(2, 3)
    batch = {"x": np.random.default_rng(0).normal(size=(size, 2)).astype(np.float32), "n": np.arange(size)}
    out = parallel.map_batch(fn, params, batch)
    chex.assert_trees_all_close(out, fn(params, batch), rtol=1e-6)


def test_map_batch_takes_keys():
    keys = jax.random.split(jax.random.key(0), 5)

    def draw(_, key):
        return jax.vmap(jax.random.normal)(key)

    chex.assert_trees_all_equal(parallel.map_batch(draw, (), keys), draw((), keys))


def test_shard_gives_rows_in_order():
    devices = tuple(jax.devices()[:4])
    x = np.arange(16).reshape(8, 2)
    placed = parallel.shard({"x": x}, devices)["x"]
    assert placed.shape == (4, 2, 2)
    for i, piece in enumerate(sorted(placed.addressable_shards, key=lambda s: s.index[0].start)):
        assert piece.device == devices[i]
        np.testing.assert_array_equal(piece.data[0], x[2 * i : 2 * i + 2])


def test_own_shares_no_buffer():
    zero = jnp.zeros(())
    tree = parallel.own(states.State(zero, zero, zero, zero, zero, zero), jax.devices()[:2])
    pointers = [s.data.unsafe_buffer_pointer() for x in jax.tree.leaves(tree) for s in x.addressable_shards]
    assert len(set(pointers)) == 12
