"""Checkpoints: WORKDIR/checkpoints/STEP by orbax, and WORKDIR/config.json that says what run they belong to.

A checkpoint is a flat table from names ("params/up/kernel", "opt_state/0/mu/up/kernel", "step") to arrays. orbax writes
it from a host copy in the background into a temporary folder and renames that when all is on disk: a folder with a
plain number is whole, and a kill at any instant costs at most the steps since the last one. The newest `keep` stay.

Restoring compares names, shapes and types with the abstract state (`jax.eval_shape` of the initialisation) before it
reads. The table carries a CRC-32 of each array, since orbax 0.12 gives back flipped bits without a word; a checkpoint
that is damaged or cannot be read is passed over for the one before, with a warning.
"""

import dataclasses
import json
import os
import warnings
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from jax3d.types import Params

CHECK = "crc32"
WAY_OUT = "take another workdir, or delete this one"


def manager(workdir: Path, keep: int = 3) -> ocp.training.Checkpointer:
    """The orbax checkpointer of a run; use as a context, leaving it waits for the last save."""
    if keep < 1:
        raise ValueError(f"keep must be at least 1, is {keep}; set checkpoint_every to 0 to write no checkpoints.")
    policy = ocp.training.preservation_policies.LatestN(keep)
    return ocp.training.Checkpointer(
        (workdir / "checkpoints").resolve(), preservation_policy=policy, cleanup_tmp_directories=True
    )


def save(checkpoints: ocp.training.Checkpointer, step: int, state: Params) -> None:
    """Begin to write the state; returns when it is copied to the host. A step already on disk is left alone."""
    if any(found.step == step for found in checkpoints.checkpoints):
        return
    table = {name: np.array(jax.device_get(leaf)) for name, leaf in _table(state).items()}
    checkpoints.save_async(step, table | {CHECK: _checksums(table)}, force=True)


def restore(checkpoints: ocp.training.Checkpointer, abstract: Params) -> Params | None:
    """The newest readable checkpoint as a tree of numpy arrays like `abstract`; None when there is none at all."""
    wanted, unreadable = _table(abstract), []
    for found in reversed(checkpoints.checkpoints):
        try:
            saved = checkpoints.metadata(found.step).metadata
            different = _first_difference(saved, wanted)
            table = {} if different else _load(checkpoints, found.step, wanted)
        except Exception as error:
            warnings.warn(
                f"Checkpoint {found.path} cannot be read ({_line(error)}); trying the one before.", stacklevel=2
            )
            unreadable.append(found.step)
            continue
        if different:
            raise ValueError(f"Checkpoint {found.path} is of another model: {different}; {WAY_OUT}.")
        for step in unreadable:
            checkpoints.delete(step)
        return jax.tree.unflatten(jax.tree.structure(abstract), [table[name] for name in wanted])
    if unreadable:
        raise ValueError(f"None of the checkpoints in {checkpoints.directory} can be read; {WAY_OUT}.")
    return None


def check_config(workdir: Path, config: Mapping[str, Any], resuming: bool) -> None:
    """Write config.json for a new run; for a resumed one, compare: the same fields must hold the same values."""
    path = workdir / "config.json"
    config = plain(config)
    if resuming and path.exists():
        old, new = _leaves(json.loads(path.read_text(encoding="utf-8"))), _leaves(config)
        for name in [*new, *sorted(set(old) - set(new))]:
            before, now = old.get(name, "nothing"), new.get(name, "nothing")
            if before != now:
                raise ValueError(f"{workdir} holds a run with {name} = {before}, this one has {now}; {WAY_OUT}.")
    elif jax.process_index() == 0:
        beside = path.with_suffix(".tmp")
        beside.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        os.replace(beside, path)


def plain(config: Any) -> Any:
    """A config as JSON has it: fields by name, functions by theirs."""
    return json.loads(json.dumps(config, default=_name))


def _load(checkpoints: ocp.training.Checkpointer, step: int, wanted: Mapping[str, Any]) -> dict[str, np.ndarray]:
    blank = {name: np.empty(x.shape, x.dtype) for name, x in wanted.items()}
    table = checkpoints.load(step, blank | {CHECK: np.empty(len(blank), np.uint32)})
    right = table.pop(CHECK) == _checksums({name: table[name] for name in wanted})
    if not right.all():
        raise ValueError(f"{list(wanted)[int(np.argmin(right))]} has a wrong checksum")
    return table


def _checksums(table: Mapping[str, np.ndarray]) -> np.ndarray:
    with ThreadPoolExecutor() as pool:  # crc32 releases the interpreter lock
        found = pool.map(lambda x: zlib.crc32(x.reshape(-1).view(np.uint8)), table.values())
        return np.array(list(found), np.uint32)


def _table(tree: Params) -> dict[str, Any]:
    """Every leaf under its path, in the order of the leaves."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _first_difference(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    for name in [*wanted, *sorted(set(saved) - set(wanted) - {CHECK})]:
        if name not in saved or name not in wanted:
            return f"{name} is {'missing there' if name in wanted else 'not part of this run'}"
        (old, new) = ((tuple(x.shape), np.dtype(x.dtype).name) for x in (saved[name], wanted[name]))
        if old != new:
            return f"{name} is {old[1]}{list(old[0])} there and {new[1]}{list(new[0])} here"
    return ""


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}"""
    if not isinstance(value, dict):
        return {path: value}
    return {
        name: leaf for key, part in value.items() for name, leaf in _leaves(part, f"{path}.{key}".strip(".")).items()
    }


def _name(value: Any) -> Any:
    """What stands in config.json for a value JSON has no form for: never an address in memory."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return (
        str(value) if isinstance(value, (Path, np.dtype)) else getattr(value, "__qualname__", type(value).__qualname__)
    )


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
