"""Make a 3D asset: python sample.py [CONFIG] --prompt "a red chair" [options] [field overrides].

    python sample.py pointcloud --prompt "a red chair" --count 16    draws from a 3D-native model
    python sample.py point_e --image chair.png                       makes points and a mesh with Point-E, shap_e a mesh
    python sample.py nerf --from DIR                                 renders what train.py nerf has made

CONFIG is a name under configs/ (dreamfusion by default) or a path to such a file; --help lists its fields. The folder
of a run holds the asset, turntable.mp4, preview.png, metrics.json, and config.json with the command that repeats it.
"""

import dataclasses
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from jax3d import cli
from jax3d.api import Export, Method, check_input, generate
from jax3d.cost import estimate
from jax3d.io.atomic import replacing
from jax3d.io.image import contact_sheet, enlarge, write_image
from jax3d.io.mesh import load_mesh
from jax3d.io.points import load_points
from jax3d.native import Half, NativeModel, describe, write_shapes
from jax3d.point_e import PointE, write_point_e
from jax3d.point_e import describe as describe_point_e
from jax3d.reconstruction import Capture, fly
from jax3d.shap_e import ShapE, write_shap_e
from jax3d.shap_e import describe as describe_shap_e


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of sample.py."""

    prompt: str | None = None
    """What to make, in words."""
    image: Path | None = None
    """A picture of what to make, for methods that take one."""
    out: Path | None = None
    """Folder of the results; outputs/PROMPT-SEED by default. The same command resumes there."""
    start: Path | None = None
    """A .ply, whose vertices count, or a mesh in [-1, 1]^3, z up, that dreamgaussian begins with; otherwise a ball."""
    seed: int = 0
    """Of all randomness; the same seed on the same device gives the same asset."""
    export: Export = "mesh"
    """mesh (GLB and PLY), point_cloud (PLY) or nerf (the field's weights)."""
    views_every: int = 200
    """Steps between pictures of the scene from four sides, in progress/."""
    dry_run: bool = False
    """Only print the resolved config, the number of parameters, and an estimate of memory and time."""
    source: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Make nothing: render the radiance field that train.py nerf left in this folder."""
    count: int = 1
    """Shapes to draw from a 3D-native model, Point-E or Shap-E."""
    between: bool = False
    """Draw the first and the last of --count shapes, and the others between them."""
    until: str | None = None
    """Prompt of the last shape, the others being between it and the first."""
    complete: Path | None = None
    """A mesh file, half of which is kept while a 3D-native model makes the other."""
    half: Half = "+x"
    """The half of --complete that is kept, by the sign of a coordinate; objects face +x."""
    path: Path | None = None
    """With --from: a transforms.json of the cameras to render; otherwise once around."""


def suits(config: Any) -> bool:
    """Whether this program has something to do with a config."""
    return isinstance(config, Method | NativeModel | PointE | ShapE | Capture)


def main(argv: list[str]) -> None:
    """Generate, and leave everything in one folder."""
    options, config, name = cli.parse(Options, "dreamfusion", argv, suits, "train.py")
    native, openai = isinstance(config, NativeModel), isinstance(config, PointE | ShapE)
    if options.source is not None:
        if native or openai:
            raise ValueError(
                f"--from renders radiance fields; draw from the model in a folder with {name} --model FOLDER."
            )
        out = options.out or options.source / "flight"
        fly(config.scene, options.source, options.path, out)
        print(f"wrote {out}: frames/ and path.mp4", file=sys.stderr)
        return
    if isinstance(config, Capture):
        raise ValueError(f"{name} is trained on pictures: python train.py {name}; then give its folder with --from.")
    if not openai and (options.image is not None or options.prompt is not None or not native):
        check_input(options.prompt, options.image)
    if options.dry_run:
        print(described(config, options))
        return
    called = options.prompt or (options.image.stem if options.image else name)
    out = options.out or Path("outputs") / f"{slug(called)}-{options.seed}"
    record = {"command": shlex.join(["python", "sample.py", *argv]), "config": name, "fields": repr(config)}
    if native:
        wanted = {field: getattr(options, field) for field in ("count", "seed", "between", "until", "complete", "half")}
        write_shapes(config, options.prompt, out, **wanted)
    if openai:
        wanted = {field: getattr(options, field) for field in ("count", "seed", "export")}
        write = write_point_e if isinstance(config, PointE) else write_shap_e
        write(config, options.prompt, options.image, out, **wanted)
    with replacing(out / "run.json") as path:
        path.write_text(json.dumps(record | {"seed": options.seed}, indent=2) + "\n")
    if not native and not openai:
        optimise(options, config, out)
    print(f"wrote {out}: {', '.join(sorted(path.name for path in out.iterdir()))}", file=sys.stderr)


def described(config: Any, options: Options) -> str:
    """What a run would do, without doing it."""
    if isinstance(config, PointE):
        return describe_point_e(config)
    if isinstance(config, ShapE):
        return describe_shap_e(config, options.image is not None)
    return describe(config) if isinstance(config, NativeModel) else estimate(options.prompt, method=config)


def optimise(options: Options, config: Method, out: Path) -> None:
    """Distil a scene from a prompt, with pictures of it on the way."""

    def show(step: int, views: np.ndarray, figures: dict[str, float]) -> None:
        write_image(contact_sheet(enlarge(views, 128), 4), out / "progress" / f"{step:06d}.png")

    start = None
    if options.start is not None:
        start = (load_points if options.start.suffix.lower() == ".ply" else load_mesh)(options.start)
    asset = generate(
        options.prompt,
        method=config,
        export=options.export,
        start=start,
        seed=options.seed,
        workdir=out,
        callback=show,
        callback_every=options.views_every,
    )
    asset.save(out)


def slug(prompt: str) -> str:
    """A short file name for a prompt."""
    return re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:60] or "asset"


if __name__ == "__main__":
    cli.run(main)
