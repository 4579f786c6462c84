"""From a prompt to an asset: joins a method, a model and the training loop. `sample.py` calls it; so may you.

asset = jax3d.generate("a red chair")
asset.mesh, asset.render(turntable(8), 128)
asset.save("outputs/chair")
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jax3d.io.image import contact_sheet, write_image, write_video
from jax3d.io.mesh import save_mesh
from jax3d.io.points import save_points
from jax3d.io.weights import write_json, write_weights
from jax3d.math.camera import Camera
from jax3d.math.orbit import turntable
from jax3d.methods.dreamfusion import DreamFusion
from jax3d.prior.stable_diffusion import load
from jax3d.prior.tokenizer import unknown_words
from jax3d.render.shade import composite
from jax3d.train.loop import TrainConfig, train
from jax3d.types import Mesh, Params, Points, Scene

Export = Literal["mesh", "point_cloud", "nerf"]
Views = Callable[[int, np.ndarray, dict[str, float]], None]
SIDES = 4
WEIGHTS = "nerf.safetensors"
LEAST_OPACITY, EMPTY_AFTER = 2e-3, 0.2


@dataclasses.dataclass
class Asset:
    """A generated scene and what it was exported to."""

    scene: Scene
    params: Params
    mesh: Mesh | None
    points: Points | None
    metrics: dict[str, Any]

    def render(self, cameras: Camera, size: int, background: float = 1.0) -> np.ndarray:
        """Pictures [n, size, size, 3] of the field from a batch of cameras, one after the other."""
        picture = _picture(self.scene, size, background)
        return np.stack([np.asarray(picture(self.params, camera)) for camera in _each(cameras)])

    def save(self, folder: str | Path, *, frames: int = 48, size: int = 192) -> None:
        """Write the asset, turntable.mp4 of `frames` square pictures, preview.png of 8 of them, and metrics.json."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if self.mesh is not None:
            save_mesh(self.mesh, folder / "mesh.glb")
            save_mesh(self.mesh, folder / "mesh.ply")
        if self.points is not None:
            save_points(self.points, folder / "points.ply")
        if self.mesh is None and self.points is None:
            write_weights(folder / WEIGHTS, named(self.params))
        pictures = self.render(turntable(frames), size)
        write_image(contact_sheet(pictures[:: max(frames // 8, 1)], 4), folder / "preview.png")
        write_video(pictures, folder / "turntable.mp4", 20)
        write_json(folder / "metrics.json", self.metrics)


def named(params: Params) -> dict[str, Any]:
    """A tree's leaves under their dotted paths: what stands in nerf.safetensors."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {".".join(str(key.key) for key in path): leaf for path, leaf in leaves}


def unnamed(found: Mapping[str, np.ndarray], wanted: Params, path: Path) -> Params:
    """The tree of the form `wanted` from leaves by name (`named`); ValueError where they are of another."""
    for name, leaf in named(wanted).items():
        if name not in found or found[name].shape != leaf.shape:
            there = f"has the shape {list(found[name].shape)}" if name in found else "is missing"
            raise ValueError(
                f"{path} is of another model: {name} {there}, not {list(leaf.shape)}; give the config and the fields "
                "that it was trained with."
            )
    leaves = [jnp.asarray(found[name], leaf.dtype) for name, leaf in named(wanted).items()]
    return jax.tree.unflatten(jax.tree.structure(wanted), leaves)


def generate(
    prompt: str | None = None,
    *,
    image: str | Path | None = None,
    method: DreamFusion | None = None,
    model: str | Path | None = None,
    export: Export = "mesh",
    seed: int = 0,
    workdir: str | Path | None = None,
    callback: Views | None = None,
    callback_every: int = 100,
    progress: bool = True,
) -> Asset:
    """Turn a text into a 3D asset; no method takes an `image` yet.

    It writes nothing unless `workdir` is given: then checkpoints, from which it resumes.
    `callback(step, views [4, h, w, 3], figures)` sees the scene from four sides every `callback_every` steps. Ctrl-C
    ends the run early and returns what there is. ValueError, one sentence, for a prompt or a model that can't be used,
    and when the field becomes empty.
    """
    method = method or DreamFusion()
    check_input(prompt, image)
    plan = stages(method)
    clock = [time.time()]
    prior = load(model or method.model)
    _warn_unknown(prior.tokenizer, prompt)
    clock.append(time.time())
    config = TrainConfig(
        steps=method.steps,
        seed=seed,
        checkpoint_every=max(method.steps // 4, 1),
        keep=2,
        callback_every=callback_every,
        log_every=min(50, callback_every),
        progress=progress,
    )
    watch = _watch(method.scene, method.steps, callback)
    about = {"prompt": prompt, "model": str(model or method.model), "method": method}
    state = None
    for until, size in plan:
        stage, task = dataclasses.replace(config, steps=until), method.task(prior, prompt, size)
        state = train(task, stage, workdir, watch, about=about, state=state)
        if int(state.step) < until:
            break  # Ctrl-C
    clock.append(time.time())
    mesh, points = _export(method, state.averaged, export)
    clock.append(time.time())
    seconds = dict(zip(("load", "optimise", "export"), np.diff(clock).round(2).tolist(), strict=True))
    metrics = {"prompt": prompt, "seed": seed, "steps": int(state.step), "skipped_steps": int(state.skipped)}
    metrics |= {"seconds": seconds, "device": jax.devices()[0].device_kind} | _describe(mesh, points)
    return Asset(method.scene, state.averaged, mesh, points, metrics)


def check_input(prompt: str | None, image: str | Path | None) -> None:
    """ValueError for what no method can begin with."""
    if image is not None:
        raise ValueError(f"this method makes 3D from text only; describe {image} with --prompt.")
    if not prompt or not prompt.strip():
        raise ValueError("the prompt is empty; say what to make, for example --prompt 'a red chair'.")


def stages(method: DreamFusion) -> list[tuple[int, int]]:
    """(last step, pixels) of every stage of a run."""
    starts = [round(fraction * method.steps) for fraction, _ in method.stages]
    if starts != sorted(starts) or starts[0] != 0:
        raise ValueError(
            f"stages must begin at 0 and follow each other, are {method.stages}; write ((0, 32), (0.5, 64))."
        )
    return [(end, size) for end, (_, size) in zip([*starts[1:], method.steps], method.stages, strict=True)]


def _export(method: DreamFusion, params: Params, export: Export) -> tuple[Mesh | None, Points | None]:
    if export == "mesh":
        how = {"resolution": method.export_resolution, "max_faces": method.max_faces, "texture": method.texture}
        return method.scene.export(params, **how), None
    if export == "point_cloud":
        return None, method.scene.points(params, 16384, resolution=method.export_resolution)
    if export == "nerf":
        return None, None
    raise ValueError(f"export must be mesh, point_cloud or nerf, is '{export}'; choose one of them.")


def _describe(mesh: Mesh | None, points: Points | None) -> dict[str, Any]:
    if mesh is not None:
        return {"vertices": len(mesh.vertices), "faces": len(mesh.faces)}
    return {"points": len(points.positions)} if points is not None else {}


def _warn_unknown(tokenizer: Any, prompt: str) -> None:
    unknown = unknown_words(tokenizer, prompt)
    if unknown:
        words = {word.removesuffix("</w>") for word in tokenizer.get_vocab() if word.endswith("</w>")}
        known = ", ".join(sorted(word for word in words if word.isalpha() and len(word) > 2))
        print(
            f"warning: the bundled model does not know {', '.join(map(repr, unknown))}; it knows: {known}. "
            "For any other subject load a large model with --model FOLDER_OR_HUB_ID."
        )


def _each(cameras: Camera) -> list[Camera]:
    return [jax.tree.map(lambda x, i=i: x[i], cameras) for i in range(len(cameras.focal))]


def _picture(scene: Scene, size: int, background: float) -> Callable[[Params, Camera], jax.Array]:
    @jax.jit
    def picture(params, camera):
        out = scene.render(params, camera, None, height=size, width=size)
        return jnp.clip(composite(out.rgb, out.opacity, background), 0.0, 1.0)

    return picture


def _watch(scene: Scene, steps: int, callback: Views | None) -> Callable[[int, Any, dict[str, float]], None]:
    """The loop's callback: stops an empty run with a diagnosis and shows the scene from four sides."""
    cameras = _each(turntable(SIDES))
    picture = _picture(scene, 64, 1.0)

    def watch(step, state, figures):
        if step > EMPTY_AFTER * steps and figures.get("opacity", 1.0) < LEAST_OPACITY:
            _refuse_empty(scene, state.params, step, figures["opacity"])
        if callback:
            callback(step, np.stack([np.asarray(picture(state.params, camera)) for camera in cameras]), figures)

    return watch


def _refuse_empty(scene: Scene, params: Params, step: int, opacity: float) -> None:
    density = scene.density_grid(params, 32)
    raise ValueError(
        f"the field is empty at step {step}: mean opacity {opacity:.1e}, density {density.min():.2g} to "
        f"{density.max():.2g}; lower the opacity, sparsity and entropy terms or the learning rate, or try another seed."
    )


def estimate(prompt: str, *, method: DreamFusion | None = None, model: str | Path | None = None) -> str:
    """What a run would be, without running it: config, parameters, memory and time.

    The step is compiled, not executed; its time is its arithmetic over the rate of a matrix product measured here.
    """
    method = method or DreamFusion()
    task = method.task(load(model or method.model), prompt)
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
        f"{method}\nparameters: {trained:,} optimised, {frozen:,} frozen\n"
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
