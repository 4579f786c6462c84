"""What a run of `jax3d.generate` would be, without running it; `sample.py --dry-run` prints it."""

import time
from pathlib import Path

import jax
import jax.numpy as jnp

from jax3d.api import Method, Part, parts
from jax3d.methods.dreamfusion import DreamFusion
from jax3d.methods.dreamgaussian import Paint
from jax3d.prior import stable_diffusion
from jax3d.prior.stable_diffusion import StableDiffusion
from jax3d.types import Params


def estimate(prompt: str, *, method: Method | None = None, model: str | Path | None = None) -> str:
    """What a run would be, without running it: config, parameters, memory and time.

    The step is compiled, not executed; its time is its arithmetic over the rate of a matrix product measured here.
    """
    method = method or DreamFusion()
    coarse, fine = parts(method)
    prior = stable_diffusion.load(model or coarse.model)
    known = [part for part in (coarse, fine) if part and not isinstance(part, Paint)]  # its mesh is not there yet
    return "\n".join([str(method), *(_cost(part, prior, prompt) for part in known)])


def _cost(method: Part, prior: StableDiffusion, prompt: str) -> str:
    task = method.task(prior, prompt)
    params = jax.eval_shape(task.init, jax.random.key(0))
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), task.batch_size))
    gradient = jax.jit(jax.value_and_grad(task.loss, has_aux=True))
    step = gradient.lower(params, task.frozen, (), keys, jnp.int32(0)).compile()
    flops, memory = step.cost_analysis().get("flops", 0.0), step.memory_analysis()
    arrays = 3 * _size(params) + _size(task.frozen)
    total = (arrays + getattr(memory, "temp_size_in_bytes", 0)) / 2**30
    seconds = method.steps * flops / _matrix_rate()
    trained, frozen = (sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (params, task.frozen))
    return (
        f"parameters: {trained:,} optimised, {frozen:,} frozen\n"
        f"memory: about {total:.2f} GiB of arrays\n"
        f"time: about {seconds / 60:.1f} min for {method.steps} steps ({flops / 1e9:.1f} GFLOP each) "
        f"on {jax.devices()[0].device_kind}, and the compilation"
    )


def _size(tree: Params) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _matrix_rate(edge: int = 2048) -> float:
    """Floating-point operations a second of a matrix product, half of it: other work runs at that at best."""
    product = jax.jit(lambda a: a @ a)
    a = jnp.ones((edge, edge))
    product(a).block_until_ready()
    start = time.perf_counter()
    product(a).block_until_ready()
    return 0.5 * 2 * edge**3 / (time.perf_counter() - start)
