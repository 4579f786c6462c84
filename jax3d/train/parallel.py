"""Data parallelism: the only file that knows devices and the name of their axis.

A step of the whole batch of B examples on n devices is, with L_i the loss of example i and k_i its key,

    k_i = fold_in(fold_in(seed, step), i),   i = 0 .. B-1 over all devices and hosts
    g = mean_devices grad mean_{i on the device} L_i(w, k_i)  =  grad mean_i L_i(w, k_i)

so the number of devices changes the order of a sum and nothing else. `jax.pmap` runs it: the state goes in and comes
out unmapped (the same on every device, no leading axis, donated), frozen weights go in unmapped, examples are mapped.
Every host calls the step with the rows of its own devices and `jax.pmap` joins them (its docstring, "Multi-process").

With accumulation a device walks through its examples in equal micro-batches under `lax.scan` and averages their
gradients in the type of the weights: memory of one micro-batch, gradient of the whole batch.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jax3d.train.state import State, advance, cast
from jax3d.types import Metrics, Params, Task

Devices = tuple[jax.Device, ...]
Step = Callable[[State, Params, Any, Any], tuple[State, Metrics]]

AXIS = "devices"


def connect(coordinator: str, processes: int, process: int) -> None:
    """Join this process to a run on several hosts; call it before anything else touches a device.

    `coordinator` is the host:port of process 0. On clusters that JAX knows (TPU pods, Slurm, Kubernetes) call
    `jax.distributed.initialize()` instead, which finds the three values itself.
    """
    if not 0 <= process < processes:
        raise ValueError(f"process must lie in 0..{processes - 1}, is {process}; give each host its own number.")
    jax.distributed.initialize(coordinator, processes, process)


def choose(batch_size: int, accumulate: int = 1, devices: Sequence[jax.Device] | None = None) -> Devices:
    """The devices that share a batch evenly: as many of each host's as divide its part of the batch.

    A batch of 6 uses 6 of 8 devices, a batch of 1 one of them: the same run, only slower, so this warns and goes on.
    """
    hosts = jax.process_count()
    if batch_size < 1 or accumulate < 1 or batch_size % (hosts * accumulate):
        raise ValueError(
            f"batch_size must be a multiple of hosts x accumulate = {hosts} x {accumulate}, is {batch_size}; "
            f"choose batch_size {hosts * accumulate * max(1, round(batch_size / (hosts * accumulate)))} "
            "or another accumulate."
        )
    devices = tuple(devices or (d for host in range(hosts) for d in jax.local_devices(host)))
    rows = [[d for d in devices if d.process_index == host] for host in range(hosts)]
    least = min(len(row) for row in rows)
    if not least:
        raise ValueError("devices must hold some of every host; leave `devices` out to use all of them.")
    share = batch_size // (hosts * accumulate)
    used = max(n for n in range(1, least + 1) if share % n == 0)
    if used < least:
        warnings.warn(
            f"A batch of {batch_size} uses {used} of {least} devices of a host; "
            f"a batch_size that is a multiple of {hosts * least * accumulate} uses all.",
            stacklevel=2,
        )
    return tuple(d for row in rows for d in row[:used])


def replicate(tree: Params, devices: Sequence[jax.Device]) -> Params:
    """The tree on each of this host's devices; leaves that are there already are not copied."""
    return jax.device_put(tree, _sharding(_local(devices), PartitionSpec()))


def own(tree: Params, devices: Sequence[jax.Device]) -> Params:
    """Like `replicate`, in new buffers that nothing else holds, so that they may be donated."""
    # jax 0.10: device_put shares buffers between CPU devices even with may_alias=False; a compiled copy never does
    return _copy(replicate(tree, devices))


def first(tree: Params) -> Params:
    """A replicated tree as plain arrays on one device (no copy)."""
    return jax.tree.map(lambda x: x.addressable_shards[0].data, tree)


def shard(batch: Any, devices: Devices) -> Any:
    """This host's rows of a global batch, on its devices: [B, ...] -> [local devices, B / devices, ...]."""
    local = _local(devices)
    start = devices.index(local[0])

    def rows(x: Any) -> Any:
        x = x.reshape(len(devices), len(x) // len(devices), *x.shape[1:])
        return x[start : start + len(local)]

    return jax.device_put(jax.tree.map(rows, batch), _sharding(local, PartitionSpec(AXIS)))


def batches(task: Task, devices: Devices, start: int, stop: int) -> Iterator[tuple[int, Any]]:
    """(k, the sharded batch of step k), each made and copied by a thread while the one before is in use."""
    with ThreadPoolExecutor(1) as pool:
        coming = None
        for k in range(start, stop + 1):
            ready = coming
            coming = pool.submit(lambda k: shard(task.batches(k), devices), k) if k < stop else None
            if ready:
                yield k - 1, ready.result()


def make_step(
    task: Task,
    devices: Devices,
    accumulate: int = 1,
    precision: str = "float32",
    clip_norm: float | None = None,
    ema_decay: float | None = None,
) -> Step:
    """step(state, frozen, batch, seed) -> (state, metrics): one training step over all devices.

    `state` (donated: use the returned one), `frozen` and `seed` (a uint32 scalar) are replicated, `batch` is sharded.
    """

    def step(index: Any, state: State, frozen: Params, batch: Any, seed: Any) -> tuple[State, Metrics]:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(jax.random.key(seed), state.step), index)
        micro = jax.tree.map(lambda x: x.reshape(accumulate, len(x) // accumulate, *x.shape[1:]), (batch, keys))
        value = _mean_gradient(task, state, frozen, micro, precision)
        (loss, metrics), gradient = jax.lax.pmean(value, AXIS)
        state, figures = advance(state, loss, gradient, task.optimizer, clip_norm, ema_decay)
        return state, metrics | figures

    index = shard(np.arange(task.batch_size, dtype=np.uint32), devices)
    mapped = jax.pmap(step, AXIS, in_axes=(0, None, None, 0, None), out_axes=None, devices=devices, donate_argnums=(1,))
    return lambda state, frozen, batch, seed: mapped(index, state, frozen, batch, seed)


def map_batch(
    fn: Callable[[Params, Any], Any], params: Params, batch: Any, devices: Sequence[jax.Device] | None = None
) -> Any:
    """fn(params, batch) with the batch spread over this host's devices: sampling through the same door as training.

    `fn` maps a batch with leading axis b to a tree with leading axis b, each example by itself. A batch that does not
    divide is filled up with its last example and the answer cut. Give the same `fn` object again and it compiles once.
    """
    devices = tuple(devices or jax.local_devices())
    size = len(jax.tree.leaves(batch)[0])
    if not size:
        raise ValueError("map_batch needs at least one example, the batch has none; skip the call.")
    used = devices[: min(size, len(devices))]
    rows = -(-size // len(used))
    fill = np.minimum(np.arange(rows * len(used)), size - 1)
    split = jax.tree.map(lambda x: x[fill].reshape(len(used), rows, *x.shape[1:]), batch)
    placed = jax.device_put(split, _sharding(used, PartitionSpec(AXIS)))
    out = _mapped(fn, used)(placed, replicate(params, used))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:size], out)


def _mean_gradient(task: Task, state: State, frozen: Params, micro: Any, precision: str) -> Any:
    """((loss, metrics), gradient), each a mean over the leading axis of `micro`, the micro-batches of one device."""

    def loss(params: Params, batch: Any, keys: Any) -> tuple[Any, Metrics]:
        value, metrics = task.loss(cast(params, precision), frozen, cast(batch, precision), keys, state.step)
        return jnp.float32(value), cast(metrics, jnp.float32)

    def one(part: Any) -> Any:
        return jax.value_and_grad(loss, has_aux=True)(state.params, *part)

    parts = len(jax.tree.leaves(micro)[0])
    if parts == 1:
        return one(jax.tree.map(lambda x: x[0], micro))
    shapes = jax.eval_shape(lambda parts: one(jax.tree.map(lambda x: x[0], parts)), micro)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    total, _ = jax.lax.scan(lambda sums, part: (jax.tree.map(jnp.add, sums, one(part)), None), zeros, micro)
    return jax.tree.map(lambda x: x / parts, total)


@jax.jit
def _copy(tree: Params) -> Params:
    return jax.tree.map(jnp.copy, tree)


@lru_cache(maxsize=64)
def _mapped(fn: Callable[[Params, Any], Any], devices: Devices) -> Callable[[Any, Params], Any]:
    return jax.pmap(lambda batch, params: fn(params, batch), AXIS, in_axes=(0, None), devices=devices)


def _local(devices: Sequence[jax.Device]) -> Devices:
    return tuple(d for d in devices if d.process_index == jax.process_index())


@lru_cache(maxsize=64)
def _sharding(devices: Devices, spec: PartitionSpec) -> NamedSharding:
    return NamedSharding(Mesh(np.array(devices), (AXIS,)), spec)
