"""What the hot programs take on an accelerator, and their share of its measured ceilings.

    python benchmarks/gpu.py [--only NAME ...] [--small] [--out FILE.json]

    ceilings   products of 8192 x 8192 in bfloat16 and float32 (TF32 by default), x + 1 on 2^28 floats (read + write)
    unet       Stable Diffusion 2.1-base's UNet, bfloat16, batch 8, 64 x 64 latents, 77 tokens
    vae        its encoder with the gradient to a 512 x 512 picture, bfloat16
    sds        a step of benchmarks/stable_diffusion.py: render, encode + gradient, guided UNet in bfloat16
    hash_grid  16 levels of 2 features, T = 2^19, 2^18 points, float32: forward; with the gradient in the table
    nerf       whole training steps of about 2^18 samples: the field of configs/nerf.py, and the survey's 8 x 256 units
    splat      forward and gradient: 20,000 Gaussians at 256 x 256, 200,000 at 512 x 512
    raster     the same for pictures of 20,480 and 81,920 faces at 512 x 512, outlines smoothed
    agree      max and mean |difference| / max |reference|, accelerator (highest precision) against this host's CPU

Medians of at least 5 calls and 0.3 s, each waited for (ceilings: of 8 in a row). `build` is what tracing, compiling and
the first call took, `MiB` the peak of temporary memory. FLOP are counted in the traced program, with plain attention: 2
a multiply-add of products and convolutions, zeros of the padding too. The hash grid reads 2^18 points x 16 levels x 8
corners x 2 features x 4 bytes, and its gradient reads and writes as many; a cache that holds the table, 47 MiB, may
raise the share above 1. Rays of `nerf` count where the budget had room for them; its occupancy grid knows a shell and
is not updated. A section that fails says why. --small: sizes that a CPU does in a minute or two.
"""

import argparse
import dataclasses
import functools
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import raster as meshes
import splat as gaussians
import stable_diffusion
from nerf import SAMPLES, survey_method

from jax3d import diffusion
from jax3d.cli import keep_freed_memory, load_config
from jax3d.math.camera import Camera
from jax3d.math.hash_grid import HashLevels, encode
from jax3d.math.orbit import turntable
from jax3d.nn.attention import attention, plain
from jax3d.nn.field import Voxels
from jax3d.nn.unet import UNet, UNetConfig
from jax3d.nn.vae import VAE, VAEConfig
from jax3d.prior.folder import read_network, unet_form, vae_form
from jax3d.render.packed import Occupancy
from jax3d.render.splat import draw, room
from jax3d.scene.nerf import NeRF
from jax3d.train import parallel
from jax3d.train import state as states
from jax3d.types import Splats

TINY = Path(__file__).parent.parent / "jax3d" / "assets" / "tiny-sd" / "unet"
UNITS = {"TFLOP/s": 1e12, "GB/s": 1e9, "Mray/s": 1e6}
HALF, SINGLE, MEMORY = "bf16 product", "f32 product", "f32 copy"


@dataclasses.dataclass(frozen=True)
class Row:
    """A program's `seconds` a call, which does `work`, and the row of `ceilings` that bounds its rate."""

    program: str
    build: float
    seconds: float | None = None
    memory: float | None = None
    work: float = 0.0
    unit: str = ""
    ceiling: str = ""
    note: str = ""

    @property
    def rate(self) -> float | None:
        return self.work / self.seconds / UNITS[self.unit] if self.unit else None


def measured(program: str, function: Callable, *arguments: Any, inner: int = 1, **about: Any) -> Row:
    """The row of a function of arrays."""
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    jax.block_until_ready(compiled(*arguments))
    build, memory = time.perf_counter() - start, compiled.memory_analysis().temp_size_in_bytes / 2**20
    return Row(program, build, median(lambda: compiled(*arguments), inner), memory, **about)


def median(call: Callable[[], Any], inner: int = 1) -> float:
    """Seconds of a call, `inner` of which are waited for together."""
    seconds: list[float] = []
    while len(seconds) < 5 or sum(seconds) < 0.3:
        start = time.perf_counter()
        for _ in range(inner):
            result = call()
        jax.block_until_ready(result)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) / inner


def flop(function: Callable, *arguments: Any) -> float:
    """FLOP of a function of arrays, with attention as plain products."""
    everywhere = {"fused_applies": lambda *_: False, "PLAIN_SCORES": {"gpu": 2**62}}  # "gpu" stands for the unknown too
    with mock.patch.multiple("jax3d.nn.attention", **everywhere):
        return inside(jax.make_jaxpr(lambda *arguments: function(*arguments))(*arguments).jaxpr)


def inside(jaxpr: Any) -> float:
    """FLOP of the products and convolutions of a jaxpr and of those in it."""
    total = 0.0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (summed, _), _ = eqn.params["dimension_numbers"]
            left = eqn.invars[0].aval.shape
            total += 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(left[axis] for axis in summed)
        elif eqn.primitive.name == "conv_general_dilated":
            kernel, (out, *_) = eqn.invars[1].aval.shape, eqn.params["dimension_numbers"].rhs_spec
            total += 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(kernel) / kernel[out]
        else:
            leaves = jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns"))
            parts = [part for leaf in leaves if hasattr(part := getattr(leaf, "jaxpr", leaf), "eqns")]
            total += eqn.params.get("length", 1) * sum(map(inside, parts))
    return total


def noise(seed: int, *shape: int, dtype: Any = jnp.float32) -> jax.Array:
    """Normal numbers."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32), dtype)


def weights(form: Any) -> Any:
    """Random bfloat16 parameters, each leaf 1 / sqrt(fan in) wide; a million numbers over and over."""
    block = np.random.default_rng(0).standard_normal(1_000_003, np.float32)
    scaled = lambda shape: np.resize(block * max(math.prod(shape[:-1]), 1) ** -0.5, shape)  # noqa: E731
    return jax.tree.map(lambda like: jnp.asarray(scaled(like.shape), jnp.bfloat16), form)


def ceilings(small: bool) -> Iterator[Row]:
    """What products and memory reach."""
    size, count = (512, 2**20) if small else (8192, 2**28)
    for name, dtype in ((HALF, jnp.bfloat16), (SINGLE, jnp.float32)):
        a, b = jax.random.normal(jax.random.key(0), (2, size, size), dtype)
        yield measured(name, jnp.matmul, a, b, inner=8, work=2 * size**3, unit="TFLOP/s")
    yield measured(MEMORY, lambda x: x + 1, jnp.ones(count), inner=8, work=8 * count, unit="GB/s")


def denoiser(small: bool) -> tuple[Callable, Any]:
    """(parameters, latents, t, context) -> eps, and the parameters."""
    less = {"block_out_channels": [32, 64, 64, 64], "attention_head_dim": [1, 2, 2, 2]} if small else {}
    network = UNet(UNetConfig.from_json(stable_diffusion.UNET | less))
    return lambda params, *inputs: network.apply({"params": params}, *inputs), weights(unet_form(network.config))


def encoder(small: bool) -> tuple[Callable, Any]:
    """(parameters, picture) -> latents in float32, and the parameters."""
    less = {"block_out_channels": [32, 64, 64, 64]} if small else {}
    network = VAE(VAEConfig.from_json(stable_diffusion.VAE | less))
    means = lambda params, x: network.apply({"params": params}, x, method="encode")[0].astype(jnp.float32)  # noqa: E731
    return means, weights(vae_form(network.config))


def unet(small: bool) -> Iterator[Row]:
    """A forward pass."""
    (forward, params), size = denoiser(small), 16 if small else 64
    latents, context = noise(0, 8, size, size, 4), noise(1, 8, 77, 1024, dtype=jnp.bfloat16)
    arguments = params, latents, jnp.full(8, 500.0), context
    about = {"work": flop(forward, *arguments), "unit": "TFLOP/s", "ceiling": HALF}
    yield measured(f"batch 8, {size} x {size}", forward, *arguments, **about)


def vae(small: bool) -> Iterator[Row]:
    """Encode and the gradient to the picture."""
    (encode, params), size = encoder(small), 128 if small else 512
    gradient = jax.grad(lambda image, params: jnp.sum(encode(params, image) ** 2))
    yield measured(f"encode + gradient, {size} x {size}", gradient, jnp.full((1, size, size, 3), 0.3), params)


def sds(small: bool) -> Iterator[Row]:
    """From the field to its gradient; field and rendering in float32."""
    (predict, unet), (encode, vae), size = denoiser(small), encoder(small), 128 if small else 512
    scene, schedule, camera = NeRF(field=Voxels(32 if small else 64)), diffusion.scaled_linear(), turntable(1)
    context = noise(1, 2, 77, 1024, dtype=jnp.bfloat16)

    def loss(field: Any, unet: Any, vae: Any, context: jax.Array) -> jax.Array:
        out = scene.render(field, camera, None, height=64, width=64)
        x = encode(vae, jax.image.resize(2 * out.rgb - 1, (1, size, size, 3), "bilinear"))
        denoise = diffusion.from_eps(lambda z, t: predict(unet, z, t, context), schedule)
        return diffusion.sds(diffusion.guide_batched(denoise, 7.5), x, jnp.ones(1), jnp.ones_like(x), 1.0)[0]

    yield measured(f"step, {size} x {size}", jax.grad(loss), scene.init(jax.random.key(0)), unet, vae, context)


def hash_grid(small: bool) -> Iterator[Row]:
    """The encoding's gathers and scatters."""
    levels, count = HashLevels(log2_size=14 if small else 19), 2 ** (12 if small else 18)
    table, weight = noise(0, *levels.shape), noise(1, count, levels.count * levels.features)
    points = jax.random.uniform(jax.random.key(2), (count, 3), minval=-1.0)
    touched = count * levels.count * 8 * levels.features * 4
    about = {"unit": "GB/s", "ceiling": MEMORY}
    yield measured("forward", lambda t, x: encode(t, x, levels), table, points, work=touched, **about)
    both = jax.value_and_grad(lambda t, x, weight: jnp.sum(encode(t, x, levels) * weight))
    yield measured("forward + gradient", both, table, points, weight, work=3 * touched, **about)


def shell(params: Any) -> Any:
    """Parameters whose occupancy grid knows matter 0.64 to 0.76 from the centre."""
    resolution = len(params["scene"]["occupancy"])
    axis = (jnp.arange(resolution) + 0.5) * (2 / resolution) - 1
    radius = jnp.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    occupancy = jnp.where(jnp.abs(radius - 0.7) < 0.06, 1e3, 0.0)
    return params | {"scene": params["scene"] | {"occupancy": occupancy}}


def training(program: str, method: Any, prepare: Callable[[Any], Any]) -> Row:
    """The trainer's own step on eight pictures of noise."""
    start = time.perf_counter()
    task = method.task(np.random.default_rng(0).integers(0, 255, (8, 128, 128, 4), np.uint8), turntable(8))
    devices = parallel.choose(task.batch_size, devices=jax.devices()[:1])
    fresh = jax.jit(lambda key: states.init(prepare(task.init(key)), task.optimizer))(jax.random.key(0))
    state = parallel.own(fresh, devices)
    frozen, seed = parallel.replicate((task.frozen, np.uint32(0)), devices)
    step = parallel.make_step(task, devices)

    def once() -> Any:
        nonlocal state
        state, metrics = step(state, frozen, (), seed)
        return state, metrics

    _, metrics = jax.block_until_ready(once())
    build, share = time.perf_counter() - start, float(metrics.get("rendered", 1.0))
    note = f"loss {float(metrics['loss']):.3g}, {share:.0%} of {method.rays} rays fit"
    return Row(program, build, median(once), work=share * method.rays, unit="Mray/s", note=note)


def nerf(small: bool) -> Iterator[Row]:
    """Forward, loss, gradient and optimizer."""
    budget, method = 2**13 if small else 2**18, load_config("nerf")[0].method
    scene = dataclasses.replace(method.scene, occupancy=Occupancy(budget=budget))
    method = dataclasses.replace(method, scene=scene, rays=5 * budget // 64)  # what the shell has room for
    yield training(f"hash grid, {budget} samples", method, shell)
    survey = dataclasses.replace(survey_method(), rays=budget // SAMPLES)
    yield training(f"survey's MLP, {budget} samples", survey, lambda params: params)


def look(splats: Splats, size: int, pairs: int | None = None) -> tuple[jax.Array, jax.Array]:
    """The picture, and the share of the room that it needs."""
    camera = Camera(jnp.asarray(gaussians.POSE), jnp.full(2, gaussians.FOCAL), jnp.full(2, 0.5))
    out = draw(splats, camera, height=size, width=size, pairs=pairs)
    return out.rgb, out.extras["demand"]


def splat(small: bool) -> Iterator[Row]:
    """All pairs of a tile and a Gaussian have room."""
    for count, size in ((500, 64), (1000, 64)) if small else ((20000, 256), (200000, 512)):
        splats, target = jax.device_put(Splats(*gaussians.ball(count).values())), noise(1, size, size, 3)
        demand, pairs = jax.jit(look, static_argnums=(1, 2)), room(count, size, size)
        while (needed := float(demand(splats, size, pairs)[1])) > 1:
            pairs = room(count, size, size, int(1.1 * needed * pairs))
        loss = lambda splats, target, pairs=pairs: jnp.sum(look(splats, target.shape[0], pairs)[0] * target)  # noqa: E731
        note = f"{needed * pairs:.0f} pairs"
        yield measured(f"{count} at {size} x {size}", jax.value_and_grad(loss), splats, target, note=note)


def raster(small: bool) -> Iterator[Row]:
    """Pictures of benchmarks/raster.py and the gradient in vertices and colours."""
    size = 64 if small else 512
    for level in (2, 3) if small else (5, 6):
        base, faces = meshes.ball(level)
        outline, weight = jax.tree.map(jnp.asarray, meshes.edges(faces)), noise(0, size, size, 4)
        loss = lambda v, c, w, *topology: jnp.sum(w * meshes.picture(v, c, *topology, size))  # noqa: E731
        arguments = meshes.bumpy(base, jnp.zeros(11)), meshes.values(base), weight, jnp.asarray(faces), outline
        yield measured(f"{len(faces)} at {size} x {size}", jax.value_and_grad(loss, (0, 1)), *arguments)


def compared(program: str, function: Callable, *arguments: Any, reference: Callable | None = None) -> Row:
    """A function on the accelerator against it, or a reference, on the CPU."""
    start, results, arguments = time.perf_counter(), [], jax.tree.map(np.asarray, arguments)
    for device, work in ((jax.devices()[0], function), (jax.devices("cpu")[0], reference or function)):
        with jax.default_device(device), jax.default_matmul_precision("highest"):
            arrays = jax.tree.leaves(jax.jit(work)(*jax.device_put(arguments, device)))
            results.append([np.asarray(array, np.float64) for array in arrays])
    gaps = [np.abs(found - exact) / np.abs(exact).max() for found, exact in zip(*results, strict=True)]
    note = "; ".join(f"max {gap.max():.2g}, mean {gap.mean():.2g}" for gap in gaps)
    return Row(program, time.perf_counter() - start, note=note)


def attended(attend: Callable, *arrays: jax.Array) -> tuple[jax.Array, ...]:
    """y, dq, dk, dv of q, k, v and dy."""
    y, pull = jax.vjp(attend, *arrays[:3])
    return y, *pull(arrays[3])


def agree(small: bool) -> Iterator[Row]:
    """The same on both devices; and attention in bfloat16, cuDNN's on GPUs, against the definition in float32."""
    config, params = read_network(UNetConfig, unet_form, TINY, "diffusion_pytorch_model", dict, jnp.float32)
    predict = lambda params, *inputs: UNet(config).apply({"params": params}, *inputs)  # noqa: E731
    inputs = noise(0, 2, 16, 16, 4), jnp.full(2, 500.0), noise(1, 2, 77, config.cross_attention_dim)
    yield compared("tiny-sd UNet", predict, params, *inputs)
    levels, points = HashLevels(log2_size=14 if small else 19), jax.random.uniform(jax.random.key(2), (2**12, 3))
    yield compared("hash grid", lambda t, x: encode(t, 2 * x - 1, levels), noise(0, *levels.shape), points)
    count, level, size, tokens = (500, 2, 64, 256) if small else (5000, 4, 128, 1024)
    yield compared("splats", lambda splats: look(splats, size)[0], Splats(*gaussians.ball(count).values()))
    base, faces = meshes.ball(level)
    drawn = lambda v, c: meshes.picture(v, c, faces, meshes.edges(faces), size)  # noqa: E731
    yield compared("raster", drawn, meshes.bumpy(base, jnp.zeros(11)), meshes.values(base))
    arrays = [noise(seed, 2, tokens, 5, 64, dtype=jnp.bfloat16) for seed in range(4)]
    define = functools.partial(attended, lambda q, k, v: plain(q, k, v, False, 64**-0.5))
    exact = lambda *arrays: define(*(x.astype(jnp.float32) for x in arrays))  # noqa: E731
    yield compared("attention y; dq; dk; dv", functools.partial(attended, attention), *arrays, reference=exact)


SECTIONS = {f.__name__: f for f in (ceilings, unet, vae, sds, hash_grid, nerf, splat, raster, agree)}


def cells(section: str, row: Row, bound: float | None) -> list[str]:
    """A row of the table."""
    ms = f"{1000 * row.seconds:.3f}" if row.seconds else ""
    memory = f"{row.memory:.0f}" if row.memory is not None else ""
    rate = f"{row.rate:.4g} {row.unit}" if row.unit else ""
    share = f"{row.rate / bound:.1%}" if bound else ""
    return [section, row.program, f"{row.build:.1f}", ms, memory, rate, share, row.note]


def main() -> None:
    """Run the sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="NAME")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    keep_freed_memory()
    device, found, table, rates = jax.devices()[0].device_kind, [], [], {}
    for name in (name for name in SECTIONS if name in options.only):
        try:
            for row in SECTIONS[name](options.small):
                rates[row.program] = row.rate
                found.append({"section": name, **dataclasses.asdict(row), "rate": row.rate})
                table.append(cells(name, row, rates.get(row.ceiling)))
                print("  ".join(table[-1]), flush=True)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}", flush=True)
    print("\n| section | program | build s | ms | MiB | rate | share | notes |\n|---|---|---|---|---|---|---|---|")
    print("\n".join(f"| {' | '.join(row)} |" for row in table))
    print(f"\n{device}, jax {jax.__version__}")
    if options.out:
        options.out.write_text(json.dumps({"device": device, "jax": jax.__version__, "rows": found}, indent=1))


if __name__ == "__main__":
    main()
