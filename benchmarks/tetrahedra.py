"""Tetrahedral grids and their surfaces: time and memory of each part, for a ball that fills most of the cube.

    python benchmarks/tetrahedra.py [--cells 32 64 96] [--repeat 7]

For Kuhn grids of 32, 64 and 96 cells along an axis, a ball of radius 0.7 and room for a fifth more vertices and faces
than it has, float32. Prints

    grid        making the grid, on the host
    march       the surface: vertices, faces, counts
    backward    the surface and the gradient of a function of its vertices in distances and nodes, with the terms of
                math/fairing of the mesh and of the cut edges
    eikonal     that term of all nodes and its gradient

in milliseconds (medians), the MiB of temporary memory of the last three and of the grid's arrays. Set JAX_PLATFORMS to
choose the device.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jax3d.cli import keep_freed_memory
from jax3d.math import fairing
from jax3d.math.marching import demand, march
from jax3d.math.tetrahedra import kuhn

RADIUS = 0.7


def programs(vertex_capacity: int, face_capacity: int) -> dict[str, Callable]:
    """What is measured: functions of (distances, nodes, grid)."""
    room = {"vertex_capacity": vertex_capacity, "face_capacity": face_capacity}

    def loss(distance, nodes, grid):
        surface = march(grid, distance, nodes, **room)
        mesh = surface.vertices, surface.faces
        fair = fairing.laplacian(*mesh) + fairing.normal_variation(*mesh) + fairing.edge_length(*mesh)
        return jnp.sum(jnp.sin(3 * surface.vertices)) + fair + fairing.sign_entropy(distance, surface)

    return {
        "march": lambda distance, nodes, grid: march(grid, distance, nodes, **room),
        "backward": jax.value_and_grad(loss, argnums=(0, 1)),
        "eikonal": jax.value_and_grad(lambda distance, nodes, grid: fairing.eikonal(distance)),
    }


def milliseconds(function: Callable, repeat: int) -> float:
    """The median of some calls, after one that does not count."""
    jax.block_until_ready(function())
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[32, 64, 96])
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    keep_freed_memory()
    print(f"{'cells':6}{'tetrahedra':>11}{'vertices':>9}{'faces':>8}  {'program':10}{'ms':>8}{'MiB':>7}")
    for cells in options.cells:
        grid = kuhn(cells)
        distance = (np.linalg.norm(grid.vertices, axis=-1) - RADIUS).astype(np.float32)
        counts = demand(grid, distance)
        size = f"{cells:<6}{len(grid.tetrahedra):11,}{counts[0]:9,}{counts[1]:8,}  "
        host = milliseconds(lambda cells=cells: kuhn(cells).tetrahedra, options.repeat)
        print(f"{size}{'grid':10}{host:8.1f}{sum(array.nbytes for array in grid) / 2**20:7.0f}")
        arguments = jax.device_put((distance, grid.vertices, grid))
        for name, function in programs(*(count * 6 // 5 for count in counts)).items():
            program = jax.jit(function).lower(*arguments).compile()
            time_of = milliseconds(functools.partial(program, *arguments), options.repeat)
            memory = program.memory_analysis().temp_size_in_bytes / 2**20
            print(f"{'':{len(size)}}{name:10}{time_of:8.1f}{memory:7.0f}", flush=True)


if __name__ == "__main__":
    main()
