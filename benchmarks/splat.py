"""Splatting: milliseconds by Gaussians and pixels, against a splatting of plain PyTorch operations.

    python benchmarks/splat.py [--counts 1000 5000 20000 50000 200000] [--sizes 128 256 512] [--repeat 5]
    python benchmarks/splat.py --peer PYTHON [--counts 5000 20000] [--sizes 128 256]

A ball of Gaussians, each about as wide as its three nearest neighbours are far, opacities 0.1 to 0.9, harmonics of
degree 1, over half of the picture, float32, room for all pairs. Prints for a forward pass, and for one with the
gradient in all arrays, medians of wall and of processor time, and the peak of temporary memory of the latter.

PYTHON is the interpreter of an environment with torch. The peer sorts all Gaussians by depth once, and then takes tile
after tile of 16 x 16 pixels those whose three deviations touch it, all at once, with autograd: what a program without
a compiled extension does. Both draw the same Gaussians; the greatest difference of the pictures is printed.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

POSE = [[0.0, 0.0, -1.0, 2.5], [1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]  # on +x, looking back
FOCAL, NEAR, BLUR, TILE = 1.2, 0.1, 0.3, 16
Y_00, Y_1 = 0.28209479, 0.48860251


def ball(count: int) -> dict[str, np.ndarray]:
    """The arrays of `Splats`."""
    from scipy.spatial import cKDTree

    rng = np.random.default_rng(0)
    way = rng.normal(size=(count, 3))
    positions = 0.8 * way / np.linalg.norm(way, axis=1, keepdims=True) * rng.uniform(size=(count, 1)) ** (1 / 3)
    near = cKDTree(positions).query(positions, 4)[0][:, 1:].mean(axis=1, keepdims=True)
    turn = rng.normal(size=(count, 4))
    arrays = {
        "positions": positions,
        "scales": near * np.exp(0.3 * rng.normal(size=(count, 3))),
        "rotations": turn / np.linalg.norm(turn, axis=1, keepdims=True),
        "opacities": rng.uniform(0.1, 0.9, count),
        "harmonics": 0.3 * rng.normal(size=(count, 4, 3)),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def timed(work: Callable[[], None], repeat: int) -> tuple[float, float]:
    """Medians of wall and processor time of work that waits for its result, ms, without the first."""
    walls, cores = [], []
    for _ in range(repeat + 1):
        wall, core = time.perf_counter(), time.process_time()
        work()
        walls.append(1e3 * (time.perf_counter() - wall))
        cores.append(1e3 * (time.process_time() - core))
    return statistics.median(walls[1:]), statistics.median(cores[1:])


def ours(count: int, size: int, repeat: int) -> tuple[dict[str, float], np.ndarray]:
    """Times, and the picture."""
    import jax
    import jax.numpy as jnp

    from jax3d.math.camera import Camera
    from jax3d.render.splat import draw, room
    from jax3d.types import Splats

    splats = Splats(*(jnp.asarray(array) for array in ball(count).values()))
    camera = Camera(jnp.asarray(POSE), jnp.full(2, FOCAL), jnp.full(2, 0.5))
    target = jnp.asarray(np.random.default_rng(1).normal(size=(size, size, 3)).astype(np.float32))
    pairs = room(count, size, size)
    look = lambda splats, pairs: draw(splats, camera, height=size, width=size, pairs=pairs)  # noqa: E731
    demand = float(jax.jit(look, static_argnums=1)(splats, pairs).extras["demand"])
    while demand > 1:
        pairs = room(count, size, size, int(1.1 * demand * pairs))
        demand = float(jax.jit(look, static_argnums=1)(splats, pairs).extras["demand"])
    forward = jax.jit(lambda splats: look(splats, pairs).rgb)
    gradient = jax.jit(jax.grad(lambda splats: jnp.sum(look(splats, pairs).rgb * target)))
    memory = gradient.lower(splats).compile().memory_analysis().temp_size_in_bytes / 2**20
    times = [timed(lambda work=work: jax.block_until_ready(work(splats)), repeat) for work in (forward, gradient)]
    (wall, core), (wall_both, core_both) = times
    row = {"pairs": int(demand * pairs), "forward": wall, "cpu": core, "both": wall_both, "both cpu": core_both}
    return row | {"MiB": memory}, np.asarray(forward(splats))


def theirs(folder: Path, size: int, repeat: int) -> None:
    """Run by PYTHON: the same with plain PyTorch; leaves times and the picture in the folder."""
    import torch

    arrays = {name: torch.from_numpy(array) for name, array in np.load(folder / "splats.npz").items()}
    target = torch.from_numpy(np.random.default_rng(1).normal(size=(size, size, 3)).astype(np.float32))
    pose = torch.tensor(POSE)
    for leaf in arrays.values():
        leaf.requires_grad_()

    def project() -> tuple:
        toward = arrays["positions"] - pose[:3, 3]
        x, y, z = (toward @ pose[:3, :3]).T
        w, i, j, k = arrays["rotations"].T
        turn = torch.stack(
            [
                *(1 - 2 * (j * j + k * k), 2 * (i * j - w * k), 2 * (i * k + w * j)),
                *(2 * (i * j + w * k), 1 - 2 * (i * i + k * k), 2 * (j * k - w * i)),
                *(2 * (i * k - w * j), 2 * (j * k + w * i), 1 - 2 * (i * i + j * j)),
            ],
            dim=-1,
        ).reshape(-1, 3, 3)
        axes = pose[:3, :3].T @ (turn * arrays["scales"][:, None, :])
        zero, focal = torch.zeros_like(z), FOCAL * size
        slope = torch.stack([focal / z, zero, -focal * x / z**2, zero, focal / z, -focal * y / z**2], -1)
        flat = slope.reshape(-1, 2, 3) @ axes
        covariance = flat @ flat.transpose(1, 2) + BLUR * torch.eye(2)
        centre = focal * torch.stack([x / z, y / z], -1) + size / 2
        way = toward / toward.norm(dim=1, keepdim=True)
        basis = torch.stack([torch.full_like(z, Y_00), -Y_1 * way[:, 1], Y_1 * way[:, 2], -Y_1 * way[:, 0]], -1)
        color = (0.5 + (arrays["harmonics"] * basis[..., None]).sum(1)).clamp(min=0)
        return centre, covariance, color, z

    def picture() -> torch.Tensor:
        centre, covariance, color, depth = project()
        order = torch.argsort(depth)
        centre, covariance, color, opacity = (v[order] for v in (centre, covariance, color, arrays["opacities"]))
        conic = torch.linalg.inv(covariance)
        with torch.no_grad():
            reach = torch.sqrt(2 * torch.log((255 * opacity).clamp(min=1)))[:, None]
            half = reach * torch.sqrt(torch.diagonal(covariance, dim1=1, dim2=2))
        rows = []
        for top in range(0, size, TILE):
            columns = []
            for left in range(0, size, TILE):
                corner = torch.tensor([left, top])
                touches = ((centre + half > corner) & (centre - half < corner + TILE)).all(1)
                here = torch.nonzero(touches)[:, 0]
                x, y = left + torch.arange(TILE) + 0.5, top + torch.arange(TILE) + 0.5
                pixel = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1).reshape(-1, 1, 2)
                d = pixel - centre[here]
                q = conic[here]
                power = (
                    q[:, 0, 0] * d[..., 0] ** 2 + q[:, 1, 1] * d[..., 1] ** 2 + 2 * q[:, 0, 1] * d[..., 0] * d[..., 1]
                )
                alpha = (opacity[here] * torch.exp(-power / 2)).clamp(max=0.99)
                alpha = torch.where(alpha >= 1 / 255, alpha, 0.0)
                before = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha[:, :-1]], 1), 1)
                columns.append(((alpha * before) @ color[here]).reshape(TILE, TILE, 3))
            rows.append(torch.cat(columns, 1))
        return torch.cat(rows, 0)

    def forward() -> None:
        with torch.no_grad():
            picture()

    (wall, core), (wall_both, core_both) = (
        timed(work, repeat) for work in (forward, lambda: (picture() * target).sum().backward())
    )
    times = {"forward": wall, "cpu": core, "both": wall_both, "both cpu": core_both}
    (folder / "times.json").write_text(json.dumps(times))
    np.save(folder / "picture.npy", picture().detach().numpy())


def peer(python: str, count: int, size: int, repeat: int) -> tuple[dict[str, float], np.ndarray]:
    """The peer's times and picture."""
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "splats.npz", **ball(count))
        command = [python, __file__, "--theirs", folder, "--sizes", str(size), "--repeat", str(repeat)]
        subprocess.run(command, check=True)
        return json.loads((Path(folder) / "times.json").read_text()), np.load(Path(folder) / "picture.npy")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 5000, 20000, 50000, 200000])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--peer")
    parser.add_argument("--theirs", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.theirs:
        theirs(options.theirs, options.sizes[0], options.repeat)
        return
    for size in options.sizes:
        for count in options.counts:
            row, image = ours(count, size, options.repeat)
            print(count, size, " ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
            if options.peer:
                other, picture = peer(options.peer, count, size, max(options.repeat // 2, 1))
                print("  peer", " ".join(f"{name} {value:.4g}" for name, value in other.items()), end=" ")
                ratios = {name: row[name] / other[name] for name in ("forward", "both", "both cpu")}
                print("ratio", ratios, f"pictures differ by {np.abs(image - picture).max():.2g}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
