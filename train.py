"""Train a model of the project: python train.py CONFIG [--workdir DIR] [field overrides].

CONFIG is a name under configs/ (the docstring there says what it makes, how long it takes and what to expect) or a path
to such a file. The same command in the same workdir resumes where it stopped.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from jax3d import cli
from jax3d.train.loop import FREE, train


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of train.py."""

    workdir: Path | None = None
    """Folder for checkpoints and metrics; runs/CONFIG by default."""


def suits(config: Any) -> bool:
    """Whether this program has something to do with a config."""
    return hasattr(config, "train")


def main(argv: list[str]) -> None:
    """Train, then let the config write what it makes."""
    if not argv or argv[0].startswith("-"):
        print(__doc__.strip(), "\n\nConfigs:", ", ".join(cli.config_names()))
        sys.exit(0 if argv else 2)
    options, config, name = cli.parse(Options, "", argv, suits, "sample.py")
    workdir = options.workdir or Path("runs") / Path(name).stem
    about = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    about = {name: value for name, value in about.items() if name not in ("train", *FREE)}
    state = train(config.task(), config.train, workdir, about={"config": about})
    if int(state.step) == config.train.steps:
        config.finish(state, workdir)


if __name__ == "__main__":
    cli.run(main)
