"""The rasteriser: milliseconds by faces and pixels, and its gradient against finite differences.

    python benchmarks/raster.py [--repeat 7] [--faces 5120 20480 81920] [--sizes 128 256 512] [--check 64 128]

A bumpy ball that covers half of the image, faces turned away culled, float32, default room. Prints for

    visibility  the face of each pixel
    forward     three colours and the mask of the vertices, outlines smoothed
    backward    the same and the gradient in vertices and colours

medians of the wall time and, as a busy machine disturbs it less, of the processor time, in milliseconds, and the peak
of temporary memory of the last. Then, for the sizes to check, how far the gradient of a weighted sum of the image in
eleven degrees of freedom of the ball is from that of the image supersampled 8 x 8, with smoothed outlines and without:
the relative error and the cosine.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import trimesh

from jax3d.cli import keep_freed_memory
from jax3d.math.camera import orbit
from jax3d.render.antialias import antialias, edges
from jax3d.render.raster import interpolate, rasterise

CAMERA = orbit(0.4, 0.3, 3.0, 0.7)
FINER, STEP = 8, 0.015


def ball(level: int) -> tuple[jax.Array, np.ndarray]:
    """Points of the unit ball and its 20 * 4^level faces."""
    mesh = trimesh.creation.icosphere(level)
    return jnp.asarray(mesh.vertices, jnp.float32), mesh.faces.astype(np.int32)


def bumpy(base: jax.Array, freedom: jax.Array) -> jax.Array:
    """Where (3), how long along each axis (3), and five waves."""
    x, y, z = base.T
    waves = [jnp.sin(5 * x + 1), jnp.sin(6 * y), jnp.cos(7 * z), jnp.sin(4 * x + 4 * y), jnp.cos(5 * y - 5 * z)]
    radius = 0.8 * (1 + jnp.stack(waves, axis=-1) @ (0.06 + freedom[6:]))
    return base * radius[:, None] * (1 + freedom[3:6]) + freedom[:3]


def values(base: jax.Array) -> jax.Array:
    """Three colours and the mask."""
    return jnp.concatenate([0.5 + 0.4 * jnp.sin(3 * base), jnp.ones((len(base), 1))], axis=-1)


def picture(vertices: jax.Array, colors: jax.Array, faces: np.ndarray, outline, size: int) -> jax.Array:
    """With smoothed outlines where there is an outline."""
    triangles = jnp.asarray(faces)
    seen = rasterise(vertices, triangles, CAMERA, height=size, width=size, cull=True)
    image = interpolate(colors, triangles, seen)
    return image if outline is None else antialias(image, seen, vertices, outline, CAMERA)[0]


def measure(function: Callable, arguments: tuple, repeat: int) -> tuple[float, float, float]:
    """Median milliseconds of wall and processor time, and MiB of temporaries."""
    program = jax.jit(function).lower(*arguments).compile()
    jax.block_until_ready(program(*arguments))
    wall, processor = [], []
    for _ in range(repeat):
        start = time.perf_counter(), time.process_time()
        jax.block_until_ready(program(*arguments))
        wall.append(1000 * (time.perf_counter() - start[0]))
        processor.append(1000 * (time.process_time() - start[1]))
    memory = program.memory_analysis().temp_size_in_bytes / 2**20
    return statistics.median(wall), statistics.median(processor), memory


def speed(level: int, size: int, repeat: int) -> None:
    """A row of the first table."""
    base, faces = ball(level)
    vertices, outline = bumpy(base, jnp.zeros(11)), edges(faces)
    weight = jax.random.normal(jax.random.key(0), (size, size, 4))

    def loss(vertices: jax.Array, colors: jax.Array) -> jax.Array:
        return jnp.sum(weight * picture(vertices, colors, faces, outline, size))

    programs = (
        lambda v, _: rasterise(v, jnp.asarray(faces), CAMERA, height=size, width=size, cull=True).face,
        lambda v, c: picture(v, c, faces, outline, size),
        jax.value_and_grad(loss, (0, 1)),
    )
    found = [measure(program, (vertices, values(base)), repeat) for program in programs]
    times = "".join(f"{wall:10.1f} /{processor:6.1f}" for wall, processor, _ in found)
    print(f"{len(faces):7}{size:6}{times}{found[-1][2]:8.0f}", flush=True)


def check(level: int, size: int) -> None:
    """A row of the second table."""
    base, faces = ball(level)
    outline, colors = edges(faces), values(base)
    v, u = jnp.meshgrid(*[(jnp.arange(size) + 0.5) / size] * 2, indexing="ij")
    weight = jnp.stack([jnp.sin(9 * u + 3 * k) * jnp.cos(7 * v - 2 * k) + 0.3 * k for k in range(4)], axis=-1)

    def fine(freedom: jax.Array) -> jax.Array:
        image = picture(bumpy(base, freedom), colors, faces, None, FINER * size)
        return jnp.sum(weight * image.reshape(size, FINER, size, FINER, 4).mean((1, 3)))

    def gradient(outline) -> np.ndarray:
        def coarse(freedom: jax.Array) -> jax.Array:
            return jnp.sum(weight * picture(bumpy(base, freedom), colors, faces, outline, size))

        return np.asarray(jax.jit(jax.grad(coarse))(jnp.zeros(11)))

    steps = STEP * jnp.concatenate([jnp.eye(11), -jnp.eye(11)])
    totals = np.asarray(jax.jit(lambda steps: jax.lax.map(fine, steps))(steps))
    expected = (totals[:11] - totals[11:]) / (2 * STEP)
    norm = np.linalg.norm
    figures = [
        (norm(found - expected) / norm(expected), found @ expected / (norm(found) * norm(expected)))
        for found in (gradient(outline), gradient(None))
    ]
    print(f"{len(faces):7}{size:6}" + "".join(f"{error:10.3f} /{cosine:7.4f}" for error, cosine in figures), flush=True)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--faces", type=int, nargs="+", default=[5120, 20480, 81920], help="20 * 4^level each")
    parser.add_argument("--sizes", type=int, nargs="*", default=[128, 256, 512])
    parser.add_argument("--check", type=int, nargs="*", default=[64, 128])
    options = parser.parse_args()
    keep_freed_memory()
    levels = [round(np.log(faces / 20) / np.log(4)) for faces in options.faces]
    print(f"{'faces':>7}{'size':>6}{'visibility ms':>18}{'forward ms':>18}{'backward ms':>18}{'MiB':>8}")
    for level in levels:
        for size in options.sizes:
            speed(level, size, options.repeat)
    print(f"\n{'faces':>7}{'size':>6}{'error / cosine':>19}{'no outlines':>19}")
    for level in levels[:2]:
        for size in options.check:
            check(level, size)


if __name__ == "__main__":
    main()
