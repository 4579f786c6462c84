"""From a prompt to an asset: joins a method, a model and the training loop. `sample.py` calls it; so may you.

asset = jax3d.generate("a red chair")
asset.mesh, asset.render(turntable(8), 128)
asset.save("outputs/chair")
"""

import dataclasses
import functools
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from jax3d.asset import Asset, each, picture
from jax3d.math import triangles
from jax3d.math.orbit import turntable
from jax3d.methods.dreamfusion import DreamFusion
from jax3d.methods.dreamgaussian import Paint, Sketch
from jax3d.methods.magic3d import Refine
from jax3d.prior import stable_diffusion
from jax3d.prior.stable_diffusion import StableDiffusion
from jax3d.prior.tokenizer import unknown_words
from jax3d.train.loop import TrainConfig, train
from jax3d.train.state import State
from jax3d.types import Mesh, Params, Points, Scene

Export = Literal["mesh", "point_cloud", "nerf"]
Views = Callable[[int, np.ndarray, dict[str, float]], None]
SIDES = 4
LEAST_OPACITY, EMPTY_AFTER = 2e-3, 0.2
POINTS = 16384


@dataclasses.dataclass(frozen=True)
class Magic3D:
    """A radiance field by score distillation, then its surface as a mesh by more of it (arXiv 2211.10440)."""

    coarse: DreamFusion = DreamFusion()
    fine: Refine = Refine()

    def __post_init__(self):
        if self.coarse.scene.field != self.fine.scene.texture:
            raise ValueError(
                f"the mesh keeps the field's colours, so fine.scene.texture must be coarse.scene.field, "
                f"{self.coarse.scene.field}, is {self.fine.scene.texture}; give both the same."
            )


@dataclasses.dataclass(frozen=True)
class DreamGaussian:
    """Gaussians by score distillation, then their surface as a mesh with a repainted texture (arXiv 2309.16653)."""

    coarse: Sketch = Sketch()
    fine: Paint = Paint()


Method = DreamFusion | Magic3D | DreamGaussian
Part = DreamFusion | Sketch | Refine | Paint


def generate(
    prompt: str | None = None,
    *,
    image: str | Path | None = None,
    method: Method | None = None,
    model: str | Path | None = None,
    export: Export = "mesh",
    start: Points | Mesh | None = None,
    seed: int = 0,
    workdir: str | Path | None = None,
    callback: Views | None = None,
    callback_every: int = 100,
    progress: bool = True,
) -> Asset:
    """Turn a text into a 3D asset; no method takes an `image` yet.

    `start`: what DreamGaussian's Gaussians begin with, in [-1, 1]^3, for example of `sample_shapes`; a ball otherwise.
    It writes nothing unless `workdir` is given: then checkpoints, from which it resumes.
    `callback(step, views [4, h, w, 3], figures)` sees the scene from four sides every `callback_every` steps, counted
    over all stages. Ctrl-C ends the run early and returns what there is. ValueError, one sentence, for a prompt or a
    model that can't be used, and when the scene becomes empty.
    """
    method = method or DreamFusion()
    check_input(prompt, image)
    run = functools.partial(_distilled, prompt, seed, callback, callback_every, progress)
    coarse, fine = parts(method)
    for part in filter(None, (coarse, fine)):
        stages(part)  # so that a mistake in the second shows before the first has run
    if fine and export == "nerf":
        raise ValueError("this method ends with a mesh; export it as mesh or point_cloud, or take dreamfusion.")
    clock = [time.time()]
    prior = stable_diffusion.load(model or coarse.model)
    _warn_unknown(prior.tokenizer, prompt)
    clock.append(time.time())
    about = {"prompt": prompt, "model": str(model or coarse.model), "method": coarse}
    begin = None if start is None else _begin(coarse, start, seed)
    if begin is not None:
        about["start"] = hashlib.sha256(np.asarray(begin["positions"]).tobytes()).hexdigest()[:16]
    state = run(coarse, prior, workdir, about, start=begin)
    scene, params, before, steps = coarse.scene, state.averaged, None, int(state.step)
    clock.append(time.time())
    names = ["load", "optimise"]
    if fine and steps == coarse.steps:
        prior = stable_diffusion.load(fine.model) if fine.model and not model else prior
        about = about | {"model": str(model or fine.model or coarse.model), "method": fine}
        before = Asset(scene, params, None, None, {})
        begun, start = fine.begin(scene, params)
        start, state = _fitted(begun, scene, params, start, seed, workdir, about, progress)
        if state is None:
            state = run(begun, prior, workdir and Path(workdir) / "fine", about, start=start, done=steps)
        scene, params = begun.scene, state.averaged | {"fixed": start["fixed"]}
        steps += int(state.step)
        names.append("refine")
        clock.append(time.time())
    mesh, points = _export(fine if before else coarse, scene, params, export)
    clock.append(time.time())
    seconds = dict(zip([*names, "export"], np.diff(clock).round(2).tolist(), strict=True))
    metrics = {"prompt": prompt, "seed": seed, "steps": steps, "skipped_steps": int(state.skipped)}
    metrics |= {"seconds": seconds, "device": jax.devices()[0].device_kind} | _describe(mesh, points)
    return Asset(scene, params, mesh, points, metrics, before)


def _fitted(
    method: Refine | Paint,
    scene: Scene,
    params: Params,
    start: Params,
    seed: int,
    workdir: str | Path | None,
    about: dict[str, Any],
    progress: bool,
) -> tuple[Params, State | None]:
    """What the second stage begins with: `start`, where it has to look like the scene made to; and the state there if
    Ctrl-C ended the run.
    """
    if not isinstance(method, Refine) or not method.fit_steps:
        return start, None
    config = TrainConfig(method.fit_steps, seed, checkpoint_every=0, progress=progress)
    task = method.fit(scene, params, start)
    state = train(task, config, workdir and Path(workdir) / "surface", about=about)
    return state.params | {"fixed": start["fixed"]}, None if int(state.step) == method.fit_steps else state


def _distilled(
    prompt: str,
    seed: int,
    callback: Views | None,
    callback_every: int,
    progress: bool,
    method: Part,
    prior: StableDiffusion,
    workdir: str | Path | None,
    about: dict[str, Any],
    *,
    start: Params | None = None,
    done: int = 0,
) -> State:
    """The state at the end of one method, or where Ctrl-C ended it; `done` steps came before."""
    config = TrainConfig(
        steps=method.steps,
        seed=seed,
        checkpoint_every=max(method.steps // 4, 1),
        keep=2,
        callback_every=callback_every,
        log_every=min(50, callback_every),
        progress=progress,
    )
    fixed = {name: leaf for name, leaf in (start or {}).items() if name == "fixed"}
    begin = {} if start is None else {"start": start}
    watch = _watch(method.scene, fixed, method.steps, callback, done)
    state = None
    for until, size in stages(method):
        stage, task = dataclasses.replace(config, steps=until), method.task(prior, prompt, size, **begin)
        state = train(task, stage, workdir, watch, about=about, state=state)
        if int(state.step) < until:
            break  # Ctrl-C
    return state


def _begin(method: DreamFusion | Sketch, start: Points | Mesh, seed: int) -> Params:
    """Gaussians at the points of a shape, as many as the method begins with at most."""
    if not isinstance(method, Sketch):
        raise ValueError("only DreamGaussian begins with a shape; leave `start` out, or take method=DreamGaussian().")
    rng, count = np.random.default_rng(seed), method.scene.count
    cloud = triangles.points_on(start, count, rng) if isinstance(start, Mesh) else start
    rows = rng.permutation(len(cloud.positions))[:count]
    return method.scene.begin(Points(cloud.positions[rows], None if cloud.colors is None else cloud.colors[rows]))


def parts(method: Method) -> tuple[DreamFusion | Sketch, Refine | Paint | None]:
    """The one stage or the two of a method."""
    return (method, None) if isinstance(method, DreamFusion) else (method.coarse, method.fine)


def check_input(prompt: str | None, image: str | Path | None) -> None:
    """ValueError for what no method can begin with."""
    if image is not None:
        raise ValueError(f"this method makes 3D from text only; describe {image} with --prompt.")
    if not prompt or not prompt.strip():
        raise ValueError("the prompt is empty; say what to make, for example --prompt 'a red chair'.")


def stages(method: Part) -> list[tuple[int, int]]:
    """(last step, pixels) of every stage of a run."""
    starts = [round(fraction * method.steps) for fraction, _ in method.stages]
    if starts != sorted(starts) or starts[0] != 0:
        raise ValueError(
            f"stages must begin at 0 and follow each other, are {method.stages}; write ((0, 32), (0.5, 64))."
        )
    return [(end, size) for end, (_, size) in zip([*starts[1:], method.steps], method.stages, strict=True)]


def _export(method: Part, scene: Scene, params: Params, export: Export) -> tuple[Mesh | None, Points | None]:
    how = {} if isinstance(method, Refine | Paint) else {"resolution": method.export_resolution}
    if export == "mesh":
        return scene.export(params, **how, max_faces=method.max_faces, texture=method.texture), None
    if export == "point_cloud":
        return None, triangles.points_on(scene.export(params, **how), POINTS, np.random.default_rng(0))
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


def _watch(
    scene: Scene, fixed: Params, steps: int, callback: Views | None, before: int
) -> Callable[[int, Any, dict[str, float]], None]:
    """The loop's callback: stops an empty run with a diagnosis and shows the scene from four sides."""
    cameras = each(turntable(SIDES))
    look = picture(scene, 64, 1.0)

    def watch(step, state, figures):
        if step > EMPTY_AFTER * steps and figures.get("opacity", 1.0) < LEAST_OPACITY:
            raise ValueError(
                f"the scene is empty at step {step}: mean opacity {figures['opacity']:.1e}, "
                f"{scene.describe(state.params)}; lower the opacity, sparsity and entropy terms or the learning rate, "
                "or try another seed."
            )
        if callback:
            views = [np.asarray(look(state.params | fixed, camera)) for camera in cameras]
            callback(before + step, np.stack(views), figures)

    return watch
