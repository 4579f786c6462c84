"""The hash encoding: ours against the obvious program (one stacked gather, autodiff), same points, same process.

    python benchmarks/hash_grid.py [--log2-points 17] [--repeat 7]

2^17 points, 16 levels of 2 features from 16 to 2048 cells, tables of 2^15, 2^17 and 2^19 rows, float32. Prints for

    forward          the features
    backward         the features and the gradient of a weighted sum in the table
    backward points  the same in the table and in the points

milliseconds (medians; the two programs take turns, so that a busy machine disturbs both alike), the seconds that
tracing and compiling took, the peak of temporary memory and the ratio naive / ours.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jax3d.cli import keep_freed_memory
from jax3d.math.hash_grid import PRIMES, HashLevels, encode


def naive(table: jax.Array, points: jax.Array, levels: HashLevels) -> jax.Array:
    """All eight corners of a level in one gather [n, 8, F], hashed levels or dense, for autodiff."""
    corners = np.array(list(itertools.product((0, 1), repeat=3)), np.uint32)
    features, offset = [], 0
    for n, size in zip(levels.resolutions, levels.sizes, strict=True):
        position = (jnp.clip(points, -1, 1) + 1) * (n / 2)
        low = jnp.clip(position.astype(jnp.int32), 0, n - 1)
        place = (position - low)[:, None]
        x, y, z = jnp.moveaxis(low.astype(jnp.uint32)[:, None] + corners, -1, 0)
        hashed = (x ^ y * np.uint32(PRIMES[1]) ^ z * np.uint32(PRIMES[2])) & np.uint32(size - 1)
        row = (x * (n + 1) + y) * (n + 1) + z if (n + 1) ** 3 <= size else hashed
        weight = jnp.prod(jnp.where(corners == 1, place, 1 - place), axis=-1)
        features.append(jnp.sum(weight[..., None] * table[offset + row], axis=1))
        offset += size
    return jnp.concatenate(features, axis=-1)


def programs(levels: HashLevels) -> dict[str, dict[str, Callable]]:
    """What is measured: functions of (table, points, weight)."""

    def variants(encoder: Callable) -> dict[str, Callable]:
        loss = lambda table, points, weight: jnp.sum(encoder(table, points, levels) * weight)  # noqa: E731
        return {
            "forward": lambda table, points, weight: encoder(table, points, levels),
            "backward": jax.value_and_grad(loss),
            "backward points": jax.value_and_grad(loss, argnums=(0, 1)),
        }

    mine, other = variants(encode), variants(naive)
    return {name: {"ours": mine[name], "naive": other[name]} for name in mine}


def measure(pair: dict[str, Callable], arguments: tuple, repeat: int) -> dict[str, tuple[float, float, float]]:
    """Of each program: median milliseconds, seconds to compile, MiB of temporaries."""
    compiled, first, seconds = {}, {}, {name: [] for name in pair}
    for name, function in pair.items():
        start = time.perf_counter()
        compiled[name] = jax.jit(function).lower(*arguments).compile()
        first[name] = time.perf_counter() - start
        jax.block_until_ready(compiled[name](*arguments))
    for _ in range(repeat):
        for name, program in compiled.items():
            start = time.perf_counter()
            jax.block_until_ready(program(*arguments))
            seconds[name].append(time.perf_counter() - start)
    memory = {name: program.memory_analysis().temp_size_in_bytes / 2**20 for name, program in compiled.items()}
    return {name: (1000 * statistics.median(seconds[name]), first[name], memory[name]) for name in pair}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log2-points", type=int, default=17)
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    keep_freed_memory()
    print(f"{'rows':6}{'program':18}{'ours ms':>9}{'naive ms':>10}{'ratio':>7}{'compile s':>18}{'temporary MiB':>18}")
    for log2_size in (15, 17, 19):
        levels = HashLevels(log2_size=log2_size)
        keys = jax.random.split(jax.random.key(0), 3)
        table = jax.random.normal(keys[0], levels.shape)
        points = jax.random.uniform(keys[1], (2**options.log2_points, 3), minval=-1.0, maxval=1.0)
        weight = jax.random.normal(keys[2], (len(points), levels.count * levels.features))
        for name, pair in programs(levels).items():
            found = measure(pair, (table, points, weight), options.repeat)
            (ours, first, memory), (theirs, their_first, their_memory) = found["ours"], found["naive"]
            print(
                f"2^{log2_size:<4}{name:18}{ours:9.1f}{theirs:10.1f}{theirs / ours:7.1f}"
                f"{first:10.1f} /{their_first:5.1f} {memory:10.0f} /{their_memory:5.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
