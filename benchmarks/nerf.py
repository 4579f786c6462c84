"""Radiance fields on CPUs: ours against the survey's PyTorch NeRF, and our fields and samplers against each other.

    python benchmarks/nerf.py step --peer PYTHON                     one training step of the survey's NeRF
    python benchmarks/nerf.py race --peer PYTHON --data FOLDER       wall time to 25 dB on the test views of a capture
    python benchmarks/nerf.py curves --data FOLDER [--seconds 300]   PSNR over wall time of every field and sampler

PYTHON is the interpreter of an environment with torch (this one need not have it). `step` times 1024 rays of 64 samples
through 8 x 256 units with loss, gradient and Adam. `race` stops the slower one at 20 times our time. Wall time counts
everything from the start of the process's work, compilation too, but not the evaluations.
"""

import argparse
import dataclasses
import functools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

RAYS, SAMPLES, NEAR, FAR = 1024, 64, 0.1, 4.0
GOAL = 25.0


def peak() -> float:
    """GiB that this process has held at most."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def median_step(step: Any, repeat: int) -> dict[str, float]:
    """First and median seconds of a function that waits for its result."""
    seconds = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    median = float(np.median(seconds[1:]))
    return {"first": round(seconds[0], 2), "median": round(median, 3), "rays_per_second": round(RAYS / median)}


def survey_method() -> Any:
    """The survey's network and sampling as a method of ours."""
    from jax3d.math.ramp import ramp
    from jax3d.methods.reconstruct import Reconstruct
    from jax3d.nn.field import NeRFMLP
    from jax3d.render.volume import Shell
    from jax3d.scene.nerf import NeRF

    scene = NeRF(field=NeRFMLP(), samples=SAMPLES, region=Shell(NEAR, FAR))
    return Reconstruct(scene=scene, rays=RAYS, learning_rate=ramp(5e-4), random_background=False)


def step_ours(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a step of the trainer, in one piece and in micro-batches that stay in the cache."""
    import jax

    from jax3d.cli import keep_freed_memory
    from jax3d.math.orbit import turntable
    from jax3d.train import parallel
    from jax3d.train import state as states

    keep_freed_memory()
    results = {}
    rng = np.random.default_rng(0)
    for accumulate in (1, 16):
        task = survey_method().task(rng.integers(0, 255, (8, 100, 100, 4), np.uint8), turntable(8))
        devices = parallel.choose(task.batch_size, accumulate)
        state = parallel.own(states.init(task.init(jax.random.key(0)), task.optimizer), devices)
        frozen, seed = parallel.replicate((task.frozen, np.uint32(0)), devices)
        step, box = parallel.make_step(task, devices, accumulate), [state]

        def once(step=step, box=box, frozen=frozen, seed=seed):
            box[0], metrics = step(box[0], frozen, (), seed)
            jax.block_until_ready((box[0], metrics))

        results[f"accumulate {accumulate}"] = median_step(once, options.repeat)
    return results | {"peak_gib": peak()}


def survey_torch() -> Any:
    """The survey's listing made to run: the network, and rendering with white behind.

    Its relu density died at once on the white background, from every seed tried; softplus lives.
    """
    import torch
    from torch import nn

    def encoded(x, frequencies):
        waves = [f(2**i * torch.pi * x) for i in range(frequencies) for f in (torch.sin, torch.cos)]
        return torch.cat([x, *waves], -1)

    class Field(nn.Module):
        def __init__(self):
            super().__init__()
            widths = [63, 256, 256, 256, 256 + 63, 256, 256, 256]
            self.trunk = nn.ModuleList(nn.Linear(width, 256) for width in widths)
            self.density, self.feature = nn.Linear(256, 1), nn.Linear(256, 256)
            self.color = nn.Sequential(nn.Linear(256 + 27, 128), nn.ReLU(), nn.Linear(128, 3), nn.Sigmoid())

        def forward(self, points, directions):
            seen, h = encoded(points, 10), None
            for i, layer in enumerate(self.trunk):
                h = torch.relu(layer(seen if h is None else torch.cat([h, seen], -1) if i == 4 else h))
            color = self.color(torch.cat([self.feature(h), encoded(directions, 4)], -1))
            return color, nn.functional.softplus(self.density(h))

    def render(field, origins, directions):
        t = torch.linspace(NEAR, FAR, SAMPLES).expand(len(origins), SAMPLES)
        middle = 0.5 * (t[:, 1:] + t[:, :-1])
        low, high = torch.cat([t[:, :1], middle], -1), torch.cat([middle, t[:, -1:]], -1)
        t = low + (high - low) * torch.rand_like(t)
        points = origins[:, None] + t[..., None] * directions[:, None]
        color, density = field(points.reshape(-1, 3), directions.repeat_interleave(SAMPLES, 0))
        delta = torch.cat([t[:, 1:] - t[:, :-1], torch.full_like(t[:, :1], 1e10)], -1)
        alpha = 1 - torch.exp(-density.reshape(t.shape) * delta)
        through = torch.cumprod(1 - alpha + 1e-10, 1)
        weights = alpha * torch.cat([torch.ones_like(through[:, :1]), through[:, :-1]], 1)
        return (weights[..., None] * color.reshape(*t.shape, 3)).sum(1) + (1 - weights.sum(1))[:, None]

    return Field, render


def torch_trainer(origins: Any, directions: Any, colors: Any) -> tuple[Any, Any]:
    """(one training step on random rays, the renderer of the field as it stands)."""
    import torch

    field_class, render = survey_torch()
    torch.manual_seed(0)
    field = field_class()
    optimizer = torch.optim.Adam(field.parameters(), lr=5e-4)

    def step():
        rows = torch.randint(0, len(colors), (RAYS,))
        loss = ((render(field, origins[rows], directions[rows]) - colors[rows]) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def view(origins, directions):
        with torch.no_grad():
            parts = zip(origins.split(4096), directions.split(4096), strict=True)
            return torch.cat([render(field, *part) for part in parts])

    return step, view


def step_theirs(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of the PyTorch step."""
    import torch

    unit = torch.nn.functional.normalize(torch.randn(10000, 3), dim=-1)
    step, _ = torch_trainer(-3 * unit, unit, torch.rand(10000, 3))
    return {"step": median_step(step, options.repeat), "peak_gib": peak()}


def race_ours(options: argparse.Namespace) -> dict[str, Any]:
    """The default of train.py nerf until it has reached the goal; leaves the rays for the peer."""
    import jax

    from jax3d.cli import load_config
    from jax3d.data.posed_images import load
    from jax3d.math.camera import rays

    arrays = {}
    for split in ("train", "test"):
        data = load(options.data, split)
        bundle = jax.jit(jax.vmap(lambda camera, data=data: rays(camera, *data.rgba.shape[1:3])))(data.camera)
        rgba = data.rgba.astype(np.float32) / 255
        arrays |= {f"{split}_origins": bundle.origins, f"{split}_directions": bundle.directions}
        arrays[f"{split}_colors"] = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    np.savez(options.folder / "rays.npz", **arrays)
    curve = fit(load_config("nerf")[0], options, goal=GOAL, every=25)
    return {"curve": curve, "seconds": curve[-1][0], "psnr": curve[-1][1], "peak_gib": peak()}


def race_theirs(options: argparse.Namespace) -> dict[str, Any]:
    """The PyTorch NeRF on the same rays until the goal or the limit."""
    import torch

    arrays = {name: torch.from_numpy(value) for name, value in np.load(options.folder / "rays.npz").items()}
    start, evaluations, curve = time.time(), 0.0, []
    step, view = torch_trainer(
        *(arrays[f"train_{name}"].reshape(-1, 3) for name in ("origins", "directions", "colors"))
    )
    views = range(0, len(arrays["test_colors"]), 5)
    while True:
        for _ in range(50):
            step()
        seconds, begin = time.time() - start - evaluations, time.time()
        errors = []
        for k in views:
            picture = view(*(arrays[f"test_{name}"][k].reshape(-1, 3) for name in ("origins", "directions")))
            errors.append(float(((picture - arrays["test_colors"][k].reshape(-1, 3)) ** 2).mean()))
        evaluations += time.time() - begin
        curve.append((round(seconds, 1), round(float(np.mean(-10 * np.log10(errors))), 2)))
        if curve[-1][1] >= GOAL or seconds > options.limit:
            return {"curve": curve, "seconds": curve[-1][0], "psnr": curve[-1][1], "peak_gib": peak()}


class _Reached(Exception):
    pass


def fit(capture: Any, options: argparse.Namespace, goal: float, every: int) -> list[tuple[float, float]]:
    """[(seconds, test PSNR)] of a config until it reaches the goal or the time is over."""
    import jax
    import jax.numpy as jnp

    from jax3d.cli import keep_freed_memory
    from jax3d.data.posed_images import load
    from jax3d.math.metrics import psnr
    from jax3d.reconstruction import viewer
    from jax3d.train.loop import train

    keep_freed_memory()
    start, curve, evaluations = time.time(), [], [0.0]
    data, test = load(options.data, "train"), load(options.data, "test")
    rgba = jnp.asarray(test.rgba, jnp.float32) / 255
    truth = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    look = viewer(capture.scene, *test.rgba.shape[1:3])

    def watch(step, state, figures):
        seconds, begin = time.time() - start - evaluations[0], time.time()
        errors = []
        for k in range(0, len(truth), 5):
            camera = jax.tree.map(lambda leaf: leaf[k], test.camera)  # noqa: B023
            errors.append(float(psnr(look(state.params["scene"], camera)[0], truth[k])))
        curve.append((round(seconds, 1), round(float(np.mean(errors)), 2)))
        print(step, *curve[-1], file=sys.stderr, flush=True)
        evaluations[0] += time.time() - begin
        if curve[-1][1] >= goal or seconds > options.seconds:
            raise _Reached

    config = dataclasses.replace(capture.train, progress=False, log_every=every, checkpoint_every=0)
    try:
        train(capture.method.task(data.rgba, data.camera), config, None, watch)
    except _Reached:
        pass
    return curve


def contestants() -> dict[str, Any]:
    """Every field and every sampler, as configs."""
    import jax

    from jax3d.cli import load_config
    from jax3d.math import planes
    from jax3d.math.hash_grid import HashLevels
    from jax3d.math.ramp import ramp
    from jax3d.nn.encoded_field import VM, EncodedField, HashGrid, Triplane
    from jax3d.nn.field import Haze, NeRFMLP, Voxels

    default = load_config("nerf")[0]
    encoded = lambda encoder: EncodedField(encoder=encoder, bias=Haze())  # noqa: E731
    grid = encoded(HashGrid(HashLevels(12, log2_size=16, finest=512)))
    small = encoded(HashGrid(HashLevels(5, log2_size=14, finest=64)))
    voxels = {"field": Voxels(resolution=96, bias=Haze())}

    def changed(scene: dict[str, Any], accumulate: int = 1, **method: Any) -> Any:
        """The default config with other fields of its scene and method."""
        scene = dataclasses.replace(default.scene, **scene)
        method = dataclasses.replace(default.method, scene=scene, **method)
        return dataclasses.replace(default, method=method, accumulate=accumulate)

    plain = {"field": grid, "occupancy": None}
    fast = {"learning_rate": ramp(0.2, 0.02)}
    mlp = functools.partial(NeRFMLP, activation=jax.nn.squareplus)
    return {
        "hash grid, occupancy": default,
        "hash grid, stratified 48": changed(plain | {"samples": 48}, rays=2048),
        "hash grid, itself 32 then 32": changed(plain | {"samples": 32, "proposals": 32}, rays=2048),
        "hash grid, proposal network 48 then 24": changed(
            plain | {"samples": 24, "proposals": 48, "proposer": small}, rays=2048, interlevel=1.0, distortion=1e-3
        ),
        "triplane, occupancy": changed({"field": encoded(Triplane(128, 16))}),
        "triplane product, occupancy": changed({"field": encoded(Triplane(128, 16, planes.multiply, 1.0))}),
        "VM, occupancy": changed({"field": encoded(VM(128, 8))}),
        "voxels 96, occupancy": changed(voxels, **fast),
        "voxels 96, stratified 64": changed(voxels | {"occupancy": None, "samples": 64}, rays=4096, **fast),
        "survey's MLP, occupancy": load_config("nerf_survey")[0],
        "survey's MLP, coarse and fine": changed(
            {"field": mlp(), "occupancy": None, "samples": 48, "proposals": 32, "proposer": mlp(width=64, layers=4)},
            8,
            rays=512,
            coarse=1.0,
            learning_rate=ramp(5e-4),
        ),
    }


def curves_ours(options: argparse.Namespace) -> dict[str, Any]:
    """The curve of one contestant."""
    every = 200 if "MLP" in options.only else 50  # those are slow to render
    return {"curve": fit(contestants()[options.only], options, goal=99.0, every=every), "peak_gib": peak()}


def plot(curves: dict[str, Any], path: Path) -> None:
    """PSNR over wall time as a picture, by Pillow alone."""
    from PIL import Image, ImageDraw

    width, height, left, low, high = 960, 540, 50, 15.0, 35.0
    end = max(point[0] for each in curves.values() for point in each["curve"])
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    spot = lambda s, db: (left + (width - left - 10) * s / end, height - 30 - (height - 50) * (db - low) / (high - low))  # noqa: E731
    for db in range(int(low), int(high) + 1, 5):
        draw.line([spot(0, db), spot(end, db)], "#dddddd")
        draw.text((10, spot(0, db)[1] - 6), f"{db} dB", "black")
    for s in range(0, int(end) + 1, 60):
        draw.text((spot(s, low)[0], height - 22), f"{s} s", "black")
    for k, (name, each) in enumerate(curves.items()):
        color = f"hsl({360 * k // len(curves)}, 80%, {35 + 15 * (k % 2)}%)"
        points = [spot(s, max(db, low)) for s, db in each["curve"]]
        draw.line(points, color, 3) if len(points) > 1 else None
        draw.text((width - 330, height - 45 - 16 * (len(curves) - k)), f"{each['curve'][-1][1]:.1f}  {name}", color)
    image.save(path)


def run_part(python: str, part: str, options: argparse.Namespace, folder: str, **extra: Any) -> dict[str, Any]:
    """One part in a process of its own, so that its time and memory are its own."""
    given = {"data": options.data, "seconds": options.seconds, "repeat": options.repeat, "folder": folder, **extra}
    words = [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
    done = subprocess.run([python, __file__, options.what, "--part", part, *words], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{options.what} of {part} failed.")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("step", "race", "curves"))
    parser.add_argument("--peer", help="python of an environment with torch")
    parser.add_argument("--data", help="folder of a capture")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("outputs/nerf_curves.png"))
    parser.add_argument("--only", help="one contestant of curves")
    parser.add_argument("--part", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=float, default=600.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(globals()[f"{options.what}_{options.part}"](options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "curves":
            names = [options.only] if options.only else list(contestants())
            curves = {name: run_part(sys.executable, "ours", options, folder, only=name) for name in names}
            for name, each in curves.items():
                reached = {goal: next((s for s, db in each["curve"] if db >= goal), None) for goal in (25, 27, 30)}
                print(f"{name:40} last {each['curve'][-1]}  seconds to dB {reached}  peak {each['peak_gib']} GiB")
            options.out.parent.mkdir(parents=True, exist_ok=True)
            plot(curves, options.out)
            return
        mine = run_part(sys.executable, "ours", options, folder)
        print("ours  ", json.dumps(mine))
        if options.peer:
            other = run_part(options.peer, "theirs", options, folder, limit=20 * mine.get("seconds", 0))
            print("theirs", json.dumps(other))
            best = mine.get("seconds") or min(each["median"] for name, each in mine.items() if name != "peak_gib")
            slow = other.get("seconds") or other["step"]["median"]
            short = "" if other.get("psnr", GOAL) >= GOAL else f" or more: it had reached {other['psnr']} dB"
            print(f"theirs / ours {slow / best:.2f}{short}")


if __name__ == "__main__":
    main()
