"""What the hot programs take on an accelerator, and their share of its measured ceilings.

    python benchmarks/gpu.py [--only NAME ...] [--small] [--jobs N] [--seconds 110] [--out FILE.json]

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
the first call took; N sections build side by side after the ceilings, and what is measured afterwards is alone. FLOP
are counted in the traced program, with plain attention: 2 a multiply-add of products and convolutions, zeros of the
padding too (1.8 % above XLA's own count for the UNet, 0.804 TFLOP an example). The bytes of the hash grid are 2^18
points x 16 levels x 8 corners x 2 features x 4, once read forward, and once read and once written more by the scatter
of the gradient; its table, 47 MiB, may fit a cache, so that the share may exceed 1. Rays of `nerf` count where the
budget had room for them; its occupancy grid knows a shell and is not updated. A section that fails says so, those not
built after so many seconds are left out. --small: all sizes such that a CPU does it in a minute or two.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import functools
import importlib
import json
import math
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

UNITS = {"TFLOP/s": 1e12, "GB/s": 1e9, "Mray/s": 1e6}
HALF, SINGLE, MEMORY = "bf16 product", "f32 product", "f32 copy"
MARGIN = 25  # seconds kept for measuring
MODULES = (
    *("stable_diffusion", "nerf", "splat", "raster", "jax3d.cli", "jax3d.diffusion", "jax3d.prior.folder"),
    *("jax3d.methods.reconstruct", "jax3d.nn.encoded_field", "jax3d.train.parallel", "jax3d.render.splat"),
)


@dataclasses.dataclass
class Row:
    """A program to be measured, or without `call` a finding."""

    name: str
    call: Callable[[], Any] | None = None
    build: float = 0.0
    work: Callable[[float], float] | None = None
    """Seconds a call -> how much a call does, in `unit` x s without its power of ten."""
    unit: str = ""
    ceiling: str = ""
    """The row of `ceilings` whose rate bounds this one's."""
    inner: int = 1
    """Calls that are waited for together."""
    note: str = ""


def compiled(name: str, function: Callable, *arguments: Any, **about: Any) -> Row:
    """The row of a function of arrays."""
    start = time.perf_counter()
    program = jax.jit(function).lower(*arguments).compile()
    jax.block_until_ready(program(*arguments))
    row = Row(name, lambda: program(*arguments), time.perf_counter() - start, **about)
    return dataclasses.replace(row, note=f"{_temporaries(program)} {row.note}".strip())


def _temporaries(program: Any) -> str:
    try:
        return f"{program.memory_analysis().temp_size_in_bytes / 2**20:.0f} MiB"
    except Exception:  # not every backend knows
        return ""


def constant(amount: float) -> Callable[[float], float]:
    return lambda seconds: amount


def median(row: Row) -> float:
    """Seconds a call of a row that was called before."""
    seconds: list[float] = []
    while len(seconds) < 5 or (sum(seconds) < 0.3 / row.inner and len(seconds) < 50):
        start = time.perf_counter()
        for _ in range(row.inner):
            result = row.call()
        jax.block_until_ready(result)
        seconds.append((time.perf_counter() - start) / row.inner)
    return statistics.median(seconds)


def flop(function: Callable, *arguments: Any) -> float:
    """FLOP of a function of arrays (their shapes are enough), with attention as plain products."""
    plain = {"fused_applies": lambda *_: False, "PLAIN_SCORES": dict.fromkeys(("cpu", "gpu", "tpu"), 2**62)}
    with mock.patch.multiple("jax3d.nn.attention", **plain):
        return _flop(jax.make_jaxpr(lambda *arguments: function(*arguments))(*arguments).jaxpr)


def _flop(jaxpr: Any) -> float:
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
            parts = jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns"))
            inner = [getattr(part, "jaxpr", part) for part in parts]
            total += eqn.params.get("length", 1) * sum(_flop(part) for part in inner if hasattr(part, "eqns"))
    return total


def weights(form: Any) -> Any:
    """Random bfloat16 parameters, each leaf 1 / sqrt(fan in) wide; a million numbers over and over."""
    block = np.random.default_rng(0).standard_normal(1_000_003, np.float32)

    @functools.cache
    def scaled(fan: int) -> np.ndarray:
        return (block / np.sqrt(fan)).astype(jnp.bfloat16)

    def leaf(like: Any) -> jax.Array:
        return jax.device_put(np.resize(scaled(max(math.prod(like.shape[:-1]), 1)), like.shape))

    return jax.tree.map(leaf, form)


def noise(seed: int, *shape: int, dtype: Any = jnp.float32) -> jax.Array:
    return jax.device_put(np.random.default_rng(seed).standard_normal(shape, np.float32).astype(dtype))


def ceilings(small: bool) -> list[Row]:
    """What products and memory reach."""
    size, count = (512, 2**20) if small else (8192, 2**28)
    rows = []
    for name, dtype in ((HALF, jnp.bfloat16), (SINGLE, jnp.float32)):
        a, b = jax.jit(lambda dtype=dtype: jax.random.normal(jax.random.key(0), (2, size, size), dtype))()
        rows.append(compiled(name, jnp.matmul, a, b, work=constant(2 * size**3), unit="TFLOP/s", inner=8))
    x = jax.jit(lambda: jnp.ones(count))()
    return [*rows, compiled(MEMORY, lambda x: x + 1, x, work=constant(8 * count), unit="GB/s", inner=8)]


def _networks(small: bool) -> tuple[Any, Any]:
    """UNet and VAE."""
    from stable_diffusion import UNET, VAE

    from jax3d.nn.unet import UNet, UNetConfig
    from jax3d.nn.vae import VAE as Autoencoder
    from jax3d.nn.vae import VAEConfig

    less = {"block_out_channels": [32, 64, 64, 64]} if small else {}
    heads = {"attention_head_dim": [1, 2, 2, 2]} if small else {}
    return UNet(UNetConfig.from_json(UNET | less | heads)), Autoencoder(VAEConfig.from_json(VAE | less))


def _latents(small: bool) -> int:
    return 16 if small else 64


def unet(small: bool) -> list[Row]:
    """A forward pass."""
    from jax3d.prior.folder import unet_form

    network, _ = _networks(small)
    batch, size = 8, _latents(small)
    params = weights(unet_form(network.config))
    latents, context = noise(0, batch, size, size, 4), noise(1, batch, 77, 1024, dtype=jnp.bfloat16)
    arguments = params, latents, jnp.full((batch,), 500.0), context
    forward = lambda p, z, t, c: network.apply({"params": p}, z, t, c)  # noqa: E731
    count = functools.cache(lambda: flop(forward, *arguments))  # when nobody else is tracing
    name = f"batch {batch}, {size} x {size}"
    return [compiled(name, forward, *arguments, work=lambda _: count(), unit="TFLOP/s", ceiling=HALF)]


def vae(small: bool) -> list[Row]:
    """Encode and the gradient to the picture."""
    from jax3d.prior.folder import vae_form

    _, network = _networks(small)
    size = network.config.factor * _latents(small)
    params, image = weights(vae_form(network.config)), jnp.full((1, size, size, 3), 0.3)

    def loss(x: jax.Array, params: Any) -> jax.Array:
        return jnp.sum(network.apply({"params": params}, x, method="encode")[0].astype(jnp.float32) ** 2)

    return [compiled(f"encode + gradient, {size} x {size}", jax.grad(loss), image, params)]


def sds(small: bool) -> list[Row]:
    """From the field to its gradient; field and rendering in float32."""
    from jax3d.diffusion import from_eps, guide_batched, scaled_linear
    from jax3d.diffusion import sds as distill
    from jax3d.math.orbit import turntable
    from jax3d.nn.field import Voxels
    from jax3d.prior.folder import unet_form, vae_form
    from jax3d.scene.nerf import NeRF

    network, autoencoder = _networks(small)
    size = autoencoder.config.factor * _latents(small)
    scene, schedule, camera = NeRF(field=Voxels(32 if small else 64)), scaled_linear(), turntable(1)
    field = jax.jit(scene.init)(jax.random.key(0))
    unet_params, vae_params = weights(unet_form(network.config)), weights(vae_form(autoencoder.config))
    context = noise(1, 2, 77, 1024, dtype=jnp.bfloat16)

    def loss(field: Any, unet_params: Any, vae_params: Any, context: jax.Array) -> jax.Array:
        out = scene.render(field, camera, None, height=64, width=64)
        image = jax.image.resize(2 * out.rgb - 1, (1, size, size, 3), "bilinear")
        x = autoencoder.apply({"params": vae_params}, image, method="encode")[0].astype(jnp.float32)
        denoise = from_eps(lambda z, t: network.apply({"params": unet_params}, z, t, context), schedule)
        return distill(guide_batched(denoise, 7.5), x, jnp.ones(1), jnp.ones_like(x), 1.0)[0]

    return [compiled(f"step, {size} x {size}", jax.grad(loss), field, unet_params, vae_params, context)]


def hash_grid(small: bool) -> list[Row]:
    """The encoding's gathers and scatters."""
    from jax3d.math.hash_grid import HashLevels, encode

    levels, count = HashLevels(log2_size=14 if small else 19), 2 ** (12 if small else 18)
    table, weight = noise(0, *levels.shape), noise(1, count, levels.count * levels.features)
    points = jax.device_put(np.random.default_rng(2).uniform(-1, 1, (count, 3)).astype(np.float32))
    touched = count * levels.count * 8 * levels.features * 4
    loss = lambda table, points, weight: jnp.sum(encode(table, points, levels) * weight)  # noqa: E731
    about = {"unit": "GB/s", "ceiling": MEMORY}
    return [
        compiled("forward", lambda t, x: encode(t, x, levels), table, points, work=constant(touched), **about),
        compiled(
            "forward + gradient", jax.value_and_grad(loss), table, points, weight, work=constant(3 * touched), **about
        ),
    ]


def _training(name: str, method: Any, prepare: Callable[[Any], Any]) -> Row:
    """The trainer's own step on eight pictures of noise."""
    from jax3d.math.orbit import turntable
    from jax3d.train import parallel
    from jax3d.train import state as states

    start = time.perf_counter()
    task = method.task(np.random.default_rng(0).integers(0, 255, (8, 128, 128, 4), np.uint8), turntable(8))
    devices = parallel.choose(task.batch_size, devices=jax.devices()[:1])
    fresh = jax.jit(lambda key: states.init(prepare(task.init(key)), task.optimizer))(jax.random.key(0))
    state = parallel.own(fresh, devices)
    frozen, seed = parallel.replicate((task.frozen, np.uint32(0)), devices)
    step, box = parallel.make_step(task, devices), [state]

    def once() -> Any:
        box[0], metrics = step(box[0], frozen, (), seed)
        return box[0], metrics

    _, metrics = jax.block_until_ready(once())
    build, share = time.perf_counter() - start, float(metrics.get("rendered", 1.0))
    note = f"loss {float(metrics['loss']):.3g}, {share:.0%} of {method.rays} rays fit"
    if "demand" in metrics:
        note += f", demand {float(metrics['demand']):.2f}"
    return Row(name, once, build, constant(share * method.rays), "Mray/s", note=note)


def shell(params: Any) -> Any:
    """An occupancy grid that knows matter 0.64 to 0.76 from the centre."""
    resolution = len(params["scene"]["occupancy"])
    axis = (jnp.arange(resolution) + 0.5) * (2 / resolution) - 1
    radius = jnp.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    occupancy = jnp.where(jnp.abs(radius - 0.7) < 0.06, 1e3, 0.0)
    return params | {"scene": params["scene"] | {"occupancy": occupancy}}


def nerf(small: bool) -> list[Row]:
    """Forward, loss, gradient and optimizer."""
    from nerf import SAMPLES, survey_method

    from jax3d.math.hash_grid import HashLevels
    from jax3d.nn.encoded_field import EncodedField, HashGrid
    from jax3d.nn.field import Haze
    from jax3d.render.packed import Occupancy
    from jax3d.scene.nerf import NeRF

    budget, survey = 2**13 if small else 2**18, survey_method()
    # configs/nerf.py's, which itself needs what writes videos
    field = EncodedField(encoder=HashGrid(HashLevels(12, log2_size=16, finest=512)), bias=Haze())
    scene, rays = NeRF(field=field, occupancy=Occupancy(budget=budget)), 5 * budget // 64  # what the shell has room for
    method = dataclasses.replace(survey, scene=scene, rays=rays, random_background=True)
    survey = dataclasses.replace(survey, rays=budget // SAMPLES)
    return [
        _training(f"hash grid, {budget} samples", method, shell),
        _training(f"survey's MLP, {budget} samples", survey, lambda params: params),
    ]


def _splat(count: int, size: int) -> tuple[Callable, Any]:
    """(splats, pairs) -> picture and demand, and the splats."""
    from splat import FOCAL, POSE, ball

    from jax3d.math.camera import Camera
    from jax3d.render.splat import draw
    from jax3d.types import Splats

    camera = Camera(jnp.asarray(POSE), jnp.full(2, FOCAL), jnp.full(2, 0.5))

    def look(splats: Any, pairs: int | None) -> tuple[jax.Array, jax.Array]:
        out = draw(splats, camera, height=size, width=size, pairs=pairs)
        return out.rgb, jnp.asarray(out.extras["demand"])

    return look, Splats(*ball(count).values())


def splat(small: bool) -> list[Row]:
    """All pairs of a tile and a Gaussian have room."""
    from jax3d.render.splat import room

    rows = []
    for count, size in ((500, 64), (1000, 64)) if small else ((20000, 256), (200000, 512)):
        look, splats = _splat(count, size)
        splats, target, pairs, demand = jax.device_put(splats), noise(1, size, size, 3), room(count, size, size), 2.0
        while demand > 1:

            def loss(splats: Any, target: jax.Array, pairs: int = pairs, look: Callable = look) -> tuple:
                rgb, demand = look(splats, pairs)
                return jnp.sum(rgb * target), demand

            row = compiled(f"{count} at {size} x {size}", jax.value_and_grad(loss, has_aux=True), splats, target)
            demand = float(row.call()[0][1])
            row.note += f", {demand * pairs:.0f} pairs"
            pairs = room(count, size, size, max(1, int(1.1 * demand * pairs)))
        rows.append(row)
    return rows


def raster(small: bool) -> list[Row]:
    """Pictures of benchmarks/raster.py and the gradient in vertices and colours."""
    from raster import ball, bumpy, edges, picture, values

    rows = []
    size = 64 if small else 512
    for level in (2, 3) if small else (5, 6):
        base, faces = ball(level)
        vertices, outline, weight = bumpy(base, jnp.zeros(11)), edges(faces), noise(0, size, size, 4)

        def loss(vertices: Any, colors: Any, weight: Any, faces: Any, outline: Any) -> jax.Array:
            return jnp.sum(weight * picture(vertices, colors, faces, outline, size))

        arguments = vertices, values(base), weight, jnp.asarray(faces), jax.tree.map(jnp.asarray, outline)
        rows.append(compiled(f"{len(faces)} at {size} x {size}", jax.value_and_grad(loss, (0, 1)), *arguments))
    return rows


def _functions(small: bool) -> dict[str, tuple[Callable, Any]]:
    """Of `agree`: functions and their arguments, arrays of the host."""
    import raster as meshes

    import jax3d
    from jax3d.math.hash_grid import HashLevels, encode
    from jax3d.nn.unet import UNet, UNetConfig
    from jax3d.prior.folder import read_network, unet_form

    folder, rng = Path(jax3d.__file__).parent / "assets" / "tiny-sd" / "unet", np.random.default_rng(0)
    normal = lambda *shape: rng.standard_normal(shape, np.float32)  # noqa: E731
    config, params = read_network(UNetConfig, unet_form, folder, "diffusion_pytorch_model", dict, jnp.float32)
    levels = HashLevels(log2_size=14 if small else 19)
    points = rng.uniform(-1, 1, (2**12, 3)).astype(np.float32)
    size = 64 if small else 128
    look, splats = _splat(500 if small else 5000, size)
    base, faces = meshes.ball(2 if small else 4)
    outline = meshes.edges(faces)
    network = lambda p, z, t, c: UNet(config).apply({"params": p}, z, t, c)  # noqa: E731
    times, context = np.full(2, 500, np.float32), normal(2, 77, config.cross_attention_dim)
    drawn = lambda v, c: meshes.picture(v, c, faces, outline, size)  # noqa: E731
    return {
        "tiny-sd UNet": (network, (params, normal(2, 16, 16, 4), times, context)),
        "hash grid": (lambda table, x: encode(table, x, levels), (normal(*levels.shape), points)),
        "splats": (lambda splats: look(splats, None)[0], (splats,)),
        "raster": (drawn, (meshes.bumpy(base, jnp.zeros(11)), meshes.values(base))),
    }


def _differences(found: Any, reference: Any) -> str:
    found, reference = (np.asarray(x, np.float64) for x in (found, reference))
    gap, most = np.abs(found - reference), max(np.abs(reference).max(), 1e-30)
    return f"max {gap.max() / most:.2g}, mean {gap.mean() / most:.2g}"


def agree(small: bool) -> list[Row]:
    """The same program on both devices; and 16-bit attention, cuDNN's on GPUs, against the definition in float32."""
    from jax3d.nn.attention import attention, plain

    rows, start = [], time.perf_counter()

    def add(name: str, found: Callable[[], Any]) -> None:
        nonlocal start
        try:
            note = found()
        except Exception as error:
            note = told(error)
        rows.append(Row(name, build=time.perf_counter() - start, note=note))
        start = time.perf_counter()

    def both(function: Callable, arguments: Any) -> str:
        results = []
        for device in (jax.devices()[0], jax.devices("cpu")[0]):
            with jax.default_device(device), jax.default_matmul_precision("highest"):
                results.append(np.asarray(jax.jit(function)(*jax.device_put(arguments, device))))
        return _differences(*results)

    for name, (function, arguments) in _functions(small).items():
        add(name, functools.partial(both, function, jax.tree.map(np.asarray, arguments)))
    q, k, v = (noise(seed, 2, 256 if small else 1024, 5, 64, dtype=jnp.bfloat16) for seed in range(3))
    weight = noise(3, *q.shape)

    def gradients(attend: Callable, *arrays: jax.Array) -> Any:
        loss = lambda q, k, v: jnp.sum(attend(q, k, v).astype(jnp.float32) * weight)  # noqa: E731
        return jax.jit(lambda *arrays: (attend(*arrays), *jax.grad(loss, (0, 1, 2))(*arrays)))(*arrays)

    def sixteen() -> str:
        with jax.default_matmul_precision("highest"):
            single = (x.astype(jnp.float32) for x in (q, k, v))
            exact = gradients(lambda q, k, v: plain(q, k, v, False, 64**-0.5), *single)
        pairs = zip(("y", "dq", "dk", "dv"), gradients(attention, q, k, v), exact, strict=True)
        return "; ".join(f"{name} {_differences(found, reference)}" for name, found, reference in pairs)

    add("attention, bfloat16", sixteen)
    return rows


SECTIONS = {f.__name__: f for f in (ceilings, unet, vae, sds, hash_grid, nerf, splat, raster, agree)}


def without_broken_kernel(report: "Report") -> None:
    """Try cuDNN's attention with the UNet's odd number of tokens, and have none where it fails."""
    from jax3d.nn import attention

    if jax.default_backend() != "gpu":
        return
    q, kv = jnp.ones((2, 64, 5, 64), jnp.bfloat16), jnp.ones((2, 77, 5, 64), jnp.bfloat16)
    try:
        gap = float(jnp.max(jnp.abs(jax.jit(attention.attention)(q, kv, kv).astype(jnp.float32) - 1)))
        if not gap < 0.1:
            raise ArithmeticError(f"the mean of ones is off by {gap}")
    except Exception as error:
        report.failed("cuDNN's attention (does without)", error)
        attention.fused_applies = lambda *_: False


def told(error: BaseException) -> str:
    """An error in a line."""
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0][:300]}"


class Report:
    """What was found, printed at once and kept as a file."""

    def __init__(self, out: Path | None):
        self.out, self.start = out, time.perf_counter()
        self.device, self.version = jax.devices()[0].device_kind, jax.__version__
        self.rows: list[dict[str, Any]] = []
        self.errors: dict[str, str] = {}
        print(f"{self.device}, jax {self.version}, backend {jax.default_backend()}", flush=True)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.start

    def failed(self, name: str, error: BaseException) -> None:
        """Say it and go on."""
        self.errors[name] = "".join(traceback.format_exception(error))
        print(f"[{self.seconds:5.1f} s] {name}: FAILED, {told(error)}", flush=True)
        self.save()

    def measure(self, section: str, rows: list[Row]) -> None:
        """Times and rates of a section's programs."""
        for row in rows:
            try:
                self.add(section, row)
            except Exception as error:
                self.failed(f"{section} {row.name}", error)

    def add(self, section: str, row: Row) -> None:
        """Measure a program; a rate that can't be told leaves the time."""
        found = {"section": section, "program": row.name, "build": round(row.build, 2), "note": row.note}
        if row.call is not None:
            seconds = median(row)
            found["ms"] = 1000 * seconds
            try:
                if row.work is not None:
                    found |= {"rate": row.work(seconds) / seconds / UNITS[row.unit], "unit": row.unit}
            except Exception as error:
                self.failed(f"{section} {row.name}, rate", error)
            bound = next((other.get("rate") for other in self.rows if other["program"] == row.ceiling), None)
            if bound and "rate" in found:
                found["share"] = found["rate"] / bound
        self.rows.append(found)
        print(f"[{self.seconds:5.1f} s] " + "  ".join(cells(found)), flush=True)
        self.save()

    def save(self) -> None:
        """Everything up to now."""
        if self.out:
            found = {"device": self.device, "jax": self.version, "rows": self.rows, "errors": self.errors}
            self.out.write_text(json.dumps(found, indent=1))

    def table(self) -> None:
        """In Markdown."""
        print("\n| section | program | build s | ms | rate | share | notes |\n|---|---|---|---|---|---|---|")
        for row in self.rows:
            print("| " + " | ".join(cells(row)) + " |")
        for name, error in self.errors.items():
            print(f"\n{name}: {error.strip().splitlines()[-1][:300]}")
        print(f"\n{self.device}, jax {self.version}, {self.seconds:.0f} s", flush=True)


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    time_ = f"{row['ms']:.3f}" if "ms" in row else ""
    rate = f"{row['rate']:.4g} {row['unit']}" if "rate" in row else ""
    share = f"{row['share']:.1%}" if "share" in row else ""
    return [row["section"], row["program"], f"{row['build']:.1f}", time_, rate, share, row["note"]]


def one_by_one(names: list[str], small: bool, limit: float, report: Report) -> None:
    """Build and measure section after section."""
    for name in names:
        try:
            if report.seconds > limit - MARGIN:
                raise TimeoutError(f"left out after {report.seconds:.0f} s")
            report.measure(name, SECTIONS[name](small))
        except Exception as error:
            report.failed(name, error)


def side_by_side(names: list[str], small: bool, limit: float, jobs: int, report: Report) -> None:
    """Build sections in threads, then measure one after another, those of which some still build last."""
    for module in MODULES:  # threads that import the same modules might see half of one
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    pool = concurrent.futures.ThreadPoolExecutor(jobs)
    futures = {name: pool.submit(SECTIONS[name], small) for name in names}
    for name, future in futures.items():
        future.add_done_callback(lambda _, name=name: print(f"[{report.seconds:5.1f} s] {name} built", flush=True))
    _, late = concurrent.futures.wait(futures.values(), max(limit - MARGIN - report.seconds, 1))
    if late:
        print(f"[{report.seconds:5.1f} s] measuring beside {len(late)} sections that still build", flush=True)
    for name in sorted(names, key=lambda name: not futures[name].done()):
        try:
            report.measure(name, futures[name].result(max(limit - report.seconds, 0)))
        except Exception as error:
            report.failed(name, error)
    pool.shutdown(wait=False, cancel_futures=True)


def main() -> None:
    """Run the sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="NAME")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--jobs", type=int, default=max(1, min(8, (os.cpu_count() or 1) // 2)))
    parser.add_argument("--seconds", type=float, help="110; with --small 600")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with contextlib.suppress(Exception):  # a package that it needs may lack here, and it is for CPUs
        importlib.import_module("jax3d.cli").keep_freed_memory()
    report, limit = Report(options.out), options.seconds or (600 if options.small else 110)
    names = [name for name in SECTIONS if name in options.only]
    if "ceilings" in names:
        names.remove("ceilings")
        one_by_one(["ceilings"], options.small, limit, report)
    try:
        without_broken_kernel(report)
    except Exception as error:
        report.failed("attention", error)
    if options.jobs == 1:
        one_by_one(names, options.small, limit, report)
    elif names:
        side_by_side(names, options.small, limit, options.jobs, report)
    report.table()
    sys.stdout.flush()
    os._exit(0)  # whatever still builds


if __name__ == "__main__":
    main()
