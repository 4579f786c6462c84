"""The record of a run: one JSON object a line in metrics.jsonl, and the figures beside the progress bar.

A resumed run first drops the lines past the step it resumes from, so that the file reads like that of an unbroken run.
A line is written whole or not at all as far as a reader can tell: a torn last line (power cut, SIGKILL) is dropped too.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

Record = Callable[[int, Mapping[str, Any]], None]

NAME = "metrics.jsonl"


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics as plain numbers; waits for the device."""
    return {name: float(np.asarray(value)) for name, value in metrics.items()}


def append(workdir: Path, step: int, figures: Mapping[str, float]) -> None:
    """Add one line. Values that JSON has no number for (nan, inf) are written as Python's json does: NaN, Infinity."""
    with open(workdir / NAME, "a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step} | dict(figures)) + "\n")


def read(workdir: Path) -> list[dict[str, Any]]:
    """All whole lines."""
    path, lines = workdir / NAME, []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def truncate(workdir: Path, step: int) -> None:
    """Forget what came after `step`."""
    kept = [line for line in read(workdir) if line["step"] <= step]
    if (workdir / NAME).exists():
        beside = workdir / (NAME + ".tmp")
        beside.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        os.replace(beside, workdir / NAME)


def short(figures: Mapping[str, float]) -> str:
    """The figures in a few characters each, for the progress bar; those of trouble only where there is some.

    Trouble is a step that was skipped, and a demand_... above 1: room that was wanted over the room there was.
    """
    fine = {"skipped": 0, "stuck": 0} | {name: 1 for name in figures if name.startswith("demand_")}
    shown = {name: value for name, value in figures.items() if name not in fine or value > fine[name]}
    return ", ".join(f"{name}={value:.3g}" for name, value in shown.items())


@contextlib.contextmanager
def recorder(workdir: Path | None, start: int, steps: int, every: int, progress: bool) -> Iterator[Record]:
    """record(steps_done, metrics): moves the progress bar; every `every` steps writes the metrics down.

    Only the first host shows and writes. A line's `steps_per_s` is over the time since the line before.
    """
    host = jax.process_index() == 0
    pace = 0.1 if sys.stderr.isatty() else 10.0  # seconds: a log file gets few lines
    bar = tqdm(
        initial=start, total=steps, unit="step", disable=not (progress and host), mininterval=pace, dynamic_ncols=True
    )
    before = (start, time.perf_counter())

    def record(done: int, metrics: Mapping[str, Any]) -> None:
        nonlocal before
        if host and (done % every == 0 or done == steps):
            figures, now = scalars(metrics), (done, time.perf_counter())
            bar.set_postfix_str(short(figures), refresh=False)
            if workdir:
                rate = (now[0] - before[0]) / (now[1] - before[1])
                append(workdir, done, figures | {"steps_per_s": round(rate, 4)})
            before = now
        bar.update(1)

    with bar:
        yield record
