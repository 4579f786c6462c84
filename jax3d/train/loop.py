"""The training loop: one for every Task.

The host stays one step ahead of the device: it dispatches step k, then reads the figures of step k - 1, so no step
waits for the host; the batch of step k + 1 is made and copied by a thread meanwhile. Steps are counted by the updates
asked for: after the loop state.step = config.steps, unless Ctrl-C ended it early.

A run is a function of (task, config): keys come from the seed, the step and the example's number, batches from the
step. So a run that is killed and started again in the same workdir ends with the bits of an unbroken one.
"""

import contextlib
import dataclasses
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from jax3d.train import checkpoint, log, parallel
from jax3d.train import state as states
from jax3d.train.state import State
from jax3d.types import Key, Metrics, Task

Callback = Callable[[int, State, dict[str, float]], None]


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How to run a Task: everything about training that is not the method's own."""

    steps: int
    """Optimizer steps in all; a resumed run counts those it has done."""
    seed: int = 0
    """Of the initial weights and of every random number of every step."""
    ema_decay: float | None = None
    """Decay of the smoothed weights, e.g. 0.999; None keeps none."""
    accumulate: int = 1
    """Micro-batches a device walks through for one step; saves memory, changes nothing else."""
    clip_norm: float | None = None
    """Largest global norm of the gradient; None does not clip."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type the loss computes in; weights and optimizer stay float32."""
    checkpoint_every: int = 1000
    """Steps between checkpoints; 0 writes none. With a workdir the last step is always saved."""
    keep: int = 3
    """Checkpoints that stay on disk."""
    log_every: int = 50
    """Steps between lines in metrics.jsonl."""
    callback_every: int = 0
    """Steps between calls of the callback (pictures); 0 calls it with every logged step."""
    patience: int = 20
    """Steps in a row with a gradient that is not finite before the run stops."""
    progress: bool = True
    """Show a progress bar."""


INIT = 2**32 - 1  # the initial weights draw from fold_in(seed, INIT): no step has this number

FREE = ("steps", "checkpoint_every", "keep", "log_every", "callback_every", "patience", "progress")
"""Fields that may change when a run is resumed: they don't alter the numbers."""


def train(
    task: Task,
    config: TrainConfig,
    workdir: str | Path | None = None,
    callback: Callback | None = None,
    *,
    about: Mapping[str, Any] | None = None,
    devices: Sequence[jax.Device] | None = None,
    state: State | None = None,
) -> State:
    """Train a task to `config.steps` and return its state on one device.

    It begins with `state`, the end of an earlier stage with parameters of the same form, or with the task's own start.

    With a workdir (one that all hosts see) it resumes from the newest checkpoint there and leaves metrics.jsonl,
    checkpoints/ and config.json: TrainConfig and `about`, the caller's description of the run as dicts, dataclasses and
    values (no TrainConfig). A resumed run must bring the same, but for the fields in FREE.
    Without a workdir nothing is written.
    `callback(steps_done, state, figures)` may look at the state until it returns: the next step takes its buffers.
    Ctrl-C ends the run after the present step, saves and returns; a second one stops at once. FloatingPointError when
    no step has had a finite gradient for `patience` steps.
    """
    _check(config)
    if workdir is None:
        return _run(task, config, None, None, callback, devices, state)
    workdir = Path(workdir)
    _writable(workdir)
    with checkpoint.manager(workdir, config.keep) as checkpoints:
        fields = {k: v for k, v in dataclasses.asdict(config).items() if k not in FREE}
        checkpoint.check_config(workdir, {"train": fields} | dict(about or {}), bool(checkpoints.checkpoints))
        return _run(task, config, workdir, checkpoints, callback, devices, state)


def _run(
    task: Task,
    config: TrainConfig,
    workdir: Path | None,
    checkpoints: Any,
    callback: Callback | None,
    devices: Any,
    state: State | None,
) -> State:
    chosen = parallel.choose(task.batch_size, config.accumulate, devices)
    state, start = _begin(task, config, workdir, checkpoints, state)
    state = parallel.own(state, chosen)
    frozen, seed = parallel.replicate((task.frozen, np.uint32(config.seed)), chosen)
    step = parallel.make_step(task, chosen, config.accumulate, config.precision, config.clip_norm, config.ema_decay)
    batches = parallel.batches(task, chosen, start, config.steps)
    recorder = log.recorder(workdir, start, config.steps, config.log_every, config.progress)
    with contextlib.closing(batches), recorder as record, _interruptible() as interrupted:
        waiting = []  # the step whose figures have not been read
        for k, batch in batches:
            done = k + 1
            state, metrics = step(state, frozen, batch, seed)
            _settle(waiting, record, config.patience)
            waiting.append((done, metrics))
            if task.after:
                params = task.after(state.params, done, after_key(config.seed, k, task.batch_size))
                state = state.replace(params=parallel.replicate(params, chosen))
            if checkpoints and config.checkpoint_every and done % config.checkpoint_every == 0:
                _settle(waiting, record, config.patience)
                checkpoint.save(checkpoints, done, parallel.first(state))
            if callback and (done == config.steps or done % (config.callback_every or config.log_every) == 0):
                _settle(waiting, record, config.patience)
                callback(done, parallel.first(state), log.scalars(metrics))
            if interrupted():
                break
        _settle(waiting, record, config.patience)
    state = parallel.first(state)
    if checkpoints:
        checkpoint.save(checkpoints, int(state.step), state)
    return state


def after_key(seed: int, step: int, batch_size: int) -> Key:
    """The key of Task.after: the one behind those of the step's examples."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), step), batch_size)


def _begin(
    task: Task, config: TrainConfig, workdir: Path | None, checkpoints: Any, state: State | None
) -> tuple[State, int]:
    """The newest checkpoint's state, or the given one, or a new one, and the number of steps it has had."""

    def fresh() -> State:
        key = jax.random.fold_in(jax.random.key(config.seed), INIT)
        return states.init(task.init(key), task.optimizer, config.ema_decay is not None)

    found = bool(checkpoints and checkpoints.checkpoints)
    if found:
        state = checkpoint.restore(checkpoints, jax.eval_shape(fresh))
    elif state is None:
        state = jax.jit(fresh)()
    if workdir and jax.process_index() == 0:
        log.truncate(workdir, int(state.step))
    return state, int(state.step)


def _settle(waiting: list[tuple[int, Metrics]], record: log.Record, patience: int) -> None:
    """Wait for a step dispatched earlier, stop a run that is stuck, record the figures."""
    while waiting:
        done, metrics = waiting.pop()
        if int(np.asarray(metrics["stuck"])) >= patience:
            raise FloatingPointError(
                f"The gradient was not finite for {patience} steps in a row up to step {done} "
                f"({log.short(log.scalars(metrics))}); the weights are those before them: "
                "lower the learning rate, set clip_norm, or compute in float32."
            )
        record(done, metrics)


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C into a question the loop can ask; the second is a KeyboardInterrupt as ever."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread() or jax.process_count() > 1:
        yield asked.is_set  # handlers belong to the main thread; one host of several must not leave alone
        return

    def ask(*_: Any) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _writable(workdir: Path) -> None:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir):
            pass
    except OSError as error:
        raise ValueError(f"workdir {workdir} cannot be written ({error.strerror}); take another folder.") from None


def _check(config: TrainConfig) -> None:
    least = {"steps": 0, "log_every": 1, "patience": 1, "checkpoint_every": 0, "callback_every": 0}
    for name, low in least.items():
        if getattr(config, name) < low:
            raise ValueError(f"{name} must be at least {low}, is {getattr(config, name)}; set it so.")
    if not 0 <= config.seed < 2**32:
        raise ValueError(f"seed must lie in 0..{2**32 - 1}, is {config.seed}; choose another.")
    if config.ema_decay is not None and not 0 <= config.ema_decay < 1:
        raise ValueError(f"ema_decay must lie in [0, 1), is {config.ema_decay}; leave it out to keep no average.")
    if config.clip_norm is not None and not config.clip_norm > 0:
        raise ValueError(f"clip_norm must be positive, is {config.clip_norm}; leave it out not to clip.")
