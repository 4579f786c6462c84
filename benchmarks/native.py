"""3D-native denoisers on CPUs: ours against the survey's PyTorch listings, and cost over size.

    python benchmarks/native.py points --peer PYTHON      set transformer, 4 clouds of 2,048 points: forward and step
    python benchmarks/native.py grids --peer PYTHON       3D U-Net, 4 grids of 32^3 of one channel
    python benchmarks/native.py sizes                     seconds of a forward pass over the number of points and nodes
    python benchmarks/native.py devices                   weak scaling over 1 to 8 devices that the host pretends to be

PYTHON is the interpreter of an environment with torch. The listing's transformer has dropout 0 here, with which PyTorch
takes its fused attention (six times faster than the listing's 0.1). A training step is noise, loss, gradient and Adam.
The 3D U-Net, which the survey's listing hardly is, is ours in plain PyTorch.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

BATCH, POINTS, NODES = 4, 2048, 32


def timed(work: Callable[[], Any], repeat: int) -> dict[str, float]:
    """First and median seconds of a function that waits for its result."""
    seconds = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return {"first": round(seconds[0], 2), "median": round(float(np.median(seconds[1:])), 3)}


def peak() -> float:
    """GiB that this process has held at most."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def our_network(what: str) -> tuple[Any, tuple[int, ...]]:
    """The network of the survey's size, and the shape of a batch."""
    from jax3d.nn.set_transformer import SetTransformer
    from jax3d.nn.unet3d import UNet3D

    if what == "points":
        return SetTransformer(width=256, layers=6, heads=8), (BATCH, POINTS, 3)
    return UNet3D(width=32, multipliers=(1, 2, 4), attention_from=0), (BATCH, NODES, NODES, NODES, 1)


def ours(options: argparse.Namespace) -> dict[str, Any]:
    """Forward pass and training step."""
    import jax
    import jax.numpy as jnp
    import optax

    from jax3d.cli import keep_freed_memory
    from jax3d.diffusion.denoiser import edm
    from jax3d.diffusion.loss import denoising_loss, edm_weight, log_normal, noise_like

    keep_freed_memory()
    network, shape = our_network(options.what)
    x, none = jax.random.normal(jax.random.key(0), shape), jnp.zeros((BATCH, 0))
    params = jax.jit(network.init)(jax.random.key(1), x, jnp.zeros(BATCH), none)["params"]
    optimizer = optax.adam(1e-4)
    apply = lambda params, x, t: network.apply({"params": params}, x, t, none)  # noqa: E731

    def loss(params, key):
        k_sigma, k_noise = jax.random.split(key)
        sigma = log_normal(jax.random.split(k_sigma, BATCH))
        denoise = edm(lambda x, t: apply(params, x, t))
        return denoising_loss(denoise, x, sigma, noise_like(k_noise, x), edm_weight(sigma))

    @jax.jit
    def step(params, state, key):
        value, gradient = jax.value_and_grad(loss)(params, key)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    state = optimizer.init(params)
    forward = jax.jit(apply)
    return {
        "weights": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "forward": timed(lambda: jax.block_until_ready(forward(params, x, jnp.zeros(BATCH))), options.repeat),
        "step": timed(lambda: jax.block_until_ready(step(params, state, jax.random.key(2))), options.repeat),
        "peak_gib": peak(),
    }


def survey_torch(what: str) -> tuple[Any, tuple[int, ...]]:
    """The survey's listing of points made to run, and a 3D U-Net."""
    import torch
    from torch import nn

    class Points(nn.Module):
        def __init__(self, width=256, layers=6, heads=8):
            super().__init__()
            self.time = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, width))
            self.embed = nn.Linear(3, width)
            layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True)
            self.transformer = nn.TransformerEncoder(layer, layers)
            self.out = nn.Linear(width, 3)

        def forward(self, x, t):
            angles = t[:, None] * torch.exp(torch.linspace(0, -9.2, 64))
            e = self.time(torch.cat([angles.sin(), angles.cos()], -1))
            return self.out(self.transformer(self.embed(x) + e[:, None]))

    class Grids(nn.Module):
        """The blocks, levels and channels of ours."""

        def __init__(self, widths=(32, 64, 128)):
            super().__init__()
            self.time = nn.Sequential(nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU())
            self.first = nn.Conv3d(1, widths[0], 3, padding=1)
            self.down = nn.ModuleList(Block(before, width) for before, width in zip((widths[0], *widths), widths))  # noqa: B905
            self.shrink = nn.ModuleList(nn.Conv3d(width, width, 3, 2, 1) for width in widths[:-1])
            self.middle = nn.ModuleList([Block(widths[-1], widths[-1]) for _ in range(2)])
            self.up = nn.ModuleList(Block(2 * width, width) for width in reversed(widths))
            pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
            self.grow = nn.ModuleList(nn.Conv3d(width, after, 3, padding=1) for width, after in pairs)
            self.norm, self.out = nn.GroupNorm(8, widths[0]), nn.Conv3d(widths[0], 1, 3, padding=1)

        def forward(self, x, t):
            angles = t[:, None] * torch.exp(torch.linspace(0, -9.2, 64))
            e = self.time(torch.cat([angles.sin(), angles.cos()], -1))
            x, skips = self.first(x), []
            for k, block in enumerate(self.down):
                x = block(x, e)
                skips.append(x)
                x = self.shrink[k](x) if k < len(self.shrink) else x
            for block in self.middle:
                x = block(x, e)
            for k, block in enumerate(self.up):
                x = block(torch.cat([x, skips.pop()], 1), e)
                x = self.grow[k](nn.functional.interpolate(x, scale_factor=2.0)) if k < len(self.grow) else x
            return self.out(nn.functional.silu(self.norm(x)))

    class Block(nn.Module):
        def __init__(self, before, width):
            super().__init__()
            self.norm1, self.conv1 = nn.GroupNorm(8, before), nn.Conv3d(before, width, 3, padding=1)
            self.norm2, self.conv2 = nn.GroupNorm(8, width), nn.Conv3d(width, width, 3, padding=1)
            self.told = nn.Linear(128, 2 * width)
            self.short = nn.Conv3d(before, width, 1) if before != width else nn.Identity()

        def forward(self, x, e):
            h = self.conv1(nn.functional.silu(self.norm1(x)))
            scale, shift = self.told(e)[:, :, None, None, None].chunk(2, 1)
            return self.short(x) + self.conv2(nn.functional.silu(self.norm2(h) * (1 + scale) + shift))

    return (Points(), (BATCH, POINTS, 3)) if what == "points" else (Grids(), (BATCH, 1, NODES, NODES, NODES))


def theirs(options: argparse.Namespace) -> dict[str, Any]:
    """Forward pass and training step in PyTorch."""
    import torch

    torch.manual_seed(0)
    network, shape = survey_torch(options.what)
    x = torch.randn(shape)
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)

    def forward():
        with torch.no_grad():
            network(x, torch.zeros(BATCH))

    def step():
        sigma = torch.exp(1.2 * torch.randn(BATCH) - 1.2)
        noise = torch.randn_like(x)
        wide = sigma.reshape(-1, *(1,) * (x.ndim - 1))
        loss = ((network((x + wide * noise) / (1 + wide**2).sqrt(), sigma.log() / 4) - noise) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return {
        "weights": sum(each.numel() for each in network.parameters()),
        "forward": timed(forward, options.repeat),
        "step": timed(step, options.repeat),
        "peak_gib": peak(),
    }


def sizes(options: argparse.Namespace) -> None:
    """Seconds of a forward pass of one example over its size."""
    import jax
    import jax.numpy as jnp

    from jax3d.cli import keep_freed_memory
    from jax3d.nn.set_transformer import LatentSetTransformer, SetTransformer
    from jax3d.nn.unet3d import UNet3D

    keep_freed_memory()
    sets = {"set transformer": SetTransformer(), "with latents": LatentSetTransformer()}
    work = [(name, net, (1, n, 6)) for name, net in sets.items() for n in (1024, 2048, 4096, 8192, 16384)]
    grids = {"3D U-Net": UNet3D(), "3D U-Net, patch 2": UNet3D(patch=2)}
    work += [(name, net, (1, r, r, r, 4)) for name, net in grids.items() for r in (16, 32, 64)]
    none = jnp.zeros((1, 0))
    for name, network, shape in work:
        x = jnp.zeros(shape)
        params = jax.jit(network.init)(jax.random.key(0), x, jnp.zeros(1), none)["params"]
        forward = jax.jit(lambda params, x, network=network: network.apply({"params": params}, x, jnp.zeros(1), none))
        memory = forward.lower(params, x).compile().memory_analysis().temp_size_in_bytes / 2**20
        seconds = timed(lambda: jax.block_until_ready(forward(params, x)), options.repeat)["median"]  # noqa: B023
        print(f"{name:20} {str(shape):24} {seconds:8.3f} s {memory:8.0f} MiB", flush=True)


def devices(options: argparse.Namespace) -> None:
    """Seconds of a step, 2 examples a device; the pretended devices share the cores, so n should take n times one's."""
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
    import jax

    from jax3d.codec.points import PointCloud
    from jax3d.data.batches import shuffled
    from jax3d.methods.native import Native
    from jax3d.nn.set_transformer import LatentSetTransformer
    from jax3d.train import parallel
    from jax3d.train import state as states

    alone = None
    for count in (1, 2, 4, 8):
        size = 2 * count
        method = Native(PointCloud(1024), LatentSetTransformer(), batch_size=size)
        data = {"kept": np.zeros((16, 2048, 6), np.float16), "condition": np.zeros((16, 1, 4), np.float16)}
        task = method.task(shuffled(data, size, seed=0), 10)
        chosen = parallel.choose(size, devices=jax.devices()[:count])
        box = [parallel.own(states.init(jax.jit(task.init)(jax.random.key(0)), task.optimizer), chosen)]
        frozen, seed = parallel.replicate((task.frozen, np.uint32(0)), chosen)
        step, batch = parallel.make_step(task, chosen), parallel.shard(task.batches(0), chosen)

        def once(step=step, box=box, batch=batch, frozen=frozen, seed=seed):
            box[0], metrics = step(box[0], frozen, batch, seed)
            jax.block_until_ready((box[0], metrics))

        seconds = timed(once, options.repeat)["median"]
        alone = alone or seconds
        print(f"{count} devices: {seconds:.3f} s a step, efficiency {alone * count / seconds:.0%}", flush=True)


def main() -> None:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("points", "grids", "sizes", "devices"))
    parser.add_argument("--peer", help="python of an environment with torch")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--part", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what in ("sizes", "devices"):
        globals()[options.what](options)
    elif options.part:
        print(json.dumps(globals()[options.part](options)))
    else:
        found = {}
        for part, python in (("ours", sys.executable), ("theirs", options.peer)):
            if python:
                words = [python, __file__, options.what, "--part", part, "--repeat", str(options.repeat)]
                done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
                found[part] = json.loads(done.stdout.splitlines()[-1])
                print(f"{part:7}", json.dumps(found[part]), flush=True)
        if len(found) == 2:
            for what in ("forward", "step"):
                ratio = found["ours"][what]["median"] / found["theirs"][what]["median"]
                print(f"{what}: ours / theirs {ratio:.2f}")


if __name__ == "__main__":
    main()
