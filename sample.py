"""Make a 3D asset: python sample.py [CONFIG] --prompt "a red chair" [options] [field overrides].

CONFIG is a name under configs/ (dreamfusion by default) or a path to such a file; --help lists its fields. The folder
of a run holds the asset, turntable.mp4, preview.png, metrics.json, and config.json with the command that repeats it.
"""

import dataclasses
import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np

from jax3d import cli
from jax3d.api import Export, check_input, estimate, generate
from jax3d.io.atomic import replacing
from jax3d.io.image import contact_sheet, enlarge, write_image


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of sample.py."""

    prompt: str | None = None
    """What to make, in words."""
    image: Path | None = None
    """A picture of what to make, for methods that take one."""
    out: Path | None = None
    """Folder of the results; outputs/PROMPT-SEED by default. The same command resumes there."""
    seed: int = 0
    """Of all randomness; the same seed on the same device gives the same asset."""
    export: Export = "mesh"
    """mesh (GLB and PLY), point_cloud (PLY) or nerf (the field's weights)."""
    views_every: int = 200
    """Steps between pictures of the scene from four sides, in progress/."""
    dry_run: bool = False
    """Only print the resolved config, the number of parameters, and an estimate of memory and time."""


def main(argv: list[str]) -> None:
    """Generate, and leave everything in one folder."""
    options, config, name = cli.parse(Options, "dreamfusion", argv, needs="scene")
    check_input(options.prompt, options.image)
    if options.dry_run:
        print(estimate(options.prompt, method=config))
        return
    out = options.out or Path("outputs") / f"{slug(options.prompt)}-{options.seed}"
    record = {"command": shlex.join(["python", "sample.py", *argv]), "config": name, "fields": repr(config)}
    with replacing(out / "run.json") as path:
        path.write_text(json.dumps(record | {"seed": options.seed}, indent=2) + "\n")

    def show(step: int, views: np.ndarray, figures: dict[str, float]) -> None:
        write_image(contact_sheet(enlarge(views, 128), 4), out / "progress" / f"{step:06d}.png")

    asset = generate(
        options.prompt,
        method=config,
        export=options.export,
        seed=options.seed,
        workdir=out,
        callback=show,
        callback_every=options.views_every,
    )
    asset.save(out)
    print(f"wrote {out}: {', '.join(sorted(path.name for path in out.iterdir()))}", file=sys.stderr)


def slug(prompt: str) -> str:
    """A short file name for a prompt."""
    return re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:60] or "asset"


if __name__ == "__main__":
    cli.run(main)
