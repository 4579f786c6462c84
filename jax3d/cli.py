"""The command line of `train.py` and `sample.py`: a config by name, its fields as options, one-sentence errors.

    PROGRAM [CONFIG] [options] [field overrides]

CONFIG names a file under `configs/` (or is a path to such a file) whose `config` is a frozen dataclass; `tyro` turns
its fields into options. A user's mistake ends the program with one sentence and exit code 2, never with a traceback.
"""

import contextlib
import ctypes
import dataclasses
import difflib
import importlib.util
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import jax
import tyro

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
Options = TypeVar("Options")


def config_names() -> list[str]:
    """Names of the configs that ship with the project."""
    return sorted(path.stem for path in CONFIGS.glob("*.py") if not path.stem.startswith("_"))


def load_config(name: str) -> tuple[Any, str]:
    """The value `config` of a config file and the file's docstring; ValueError names the nearest right name."""
    path = Path(name) if name.endswith(".py") else CONFIGS / f"{name}.py"
    if not path.is_file():
        raise ValueError(f"unknown config '{name}'{nearest(name, config_names())}.")
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if not dataclasses.is_dataclass(getattr(module, "config", None)):
        raise ValueError(f"a config file defines `config`, a dataclass; {path} does not.")
    return module.config, module.__doc__ or ""


def nearest(word: str, known: list[str]) -> str:
    """'; did you mean X? (known: ...)' for an error message."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return (f"; did you mean '{close[0]}'?" if close else "") + f" (known: {', '.join(known)})"


protocols = tyro.constructors.ConstructorRegistry()


@protocols.struct_rule
def _kind_of_default(info: tyro.constructors.StructTypeInfo) -> tyro.constructors.StructConstructorSpec | None:
    """A field whose type is a protocol has the options of what stands there."""
    if not getattr(info.type, "_is_protocol", False) or not dataclasses.is_dataclass(info.default):
        return None
    found = dataclasses.replace(info, type=type(info.default))
    return tyro.constructors.ConstructorRegistry.get_struct_spec(found)


def parse(
    options: Callable[..., Options], default: str, argv: list[str], suits: Callable[[Any], bool], other: str
) -> tuple[Options, Any, str]:
    """Options, config and the config's name from the command line.

    The name is the first word, or `default`. A config that does not suit this program is one for the `other`.
    """
    name, rest = (argv[0], argv[1:]) if argv and not argv[0].startswith("-") else (default, argv)
    config, description = load_config(name)
    if not suits(config):
        raise ValueError(f"config '{name}' is not one for this program; run: python {other} {name}.")
    arguments = dataclasses.make_dataclass(
        "Arguments",
        [
            ("options", Annotated[options, tyro.conf.arg(name="")]),
            ("config", Annotated[type(config), tyro.conf.arg(name="")], dataclasses.field(default=config)),
        ],
        frozen=True,
    )
    text = io.StringIO()
    try:
        with contextlib.redirect_stderr(text):
            kinds = (tyro.conf.AvoidSubcommands,)  # a field of several kinds keeps that of the config
            parsed, unknown = tyro.cli(
                arguments,
                args=rest,
                description=description,
                return_unknown_args=True,
                config=kinds,
                registry=protocols,
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ValueError(sentence(text.getvalue())) from None
    if unknown:
        raise ValueError(f"unknown option '{unknown[0]}'{_nearest_flag(unknown[0], options, config)}")
    return parsed.options, parsed.config, name


def _nearest_flag(word: str, options: type, config: Any) -> str:
    flags = [f"--{flag}" for source in (options, config) for flag in _flags(source)]
    close = difflib.get_close_matches(word.replace("_", "-"), flags, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else "; --help lists the options."


def _flags(source: Any, prefix: str = "") -> Iterator[str]:
    for field in dataclasses.fields(source):
        name = prefix + field.name.replace("_", "-")
        value = getattr(source, field.name, None)
        yield name
        if dataclasses.is_dataclass(value):
            yield from _flags(value, name + ".")


def sentence(box: str) -> str:
    """tyro's framed message as one line: its frame and its pointer to --help left out."""
    lines = [line.strip("│ ") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    words = " ".join(line for line in lines if line.strip("─ ") and "full helptext" not in line)
    return re.sub(r"\s+", " ", words.replace("Argument helptext:", "; the option is")).strip() or "see --help."


def run(main: Callable[[list[str]], None]) -> None:
    """Run a program; a user's mistake (ValueError, a missing file) becomes one line on stderr and exit code 2."""
    keep_freed_memory()
    jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "jax3d" / "xla"))
    try:
        main(sys.argv[1:])
    except (ValueError, FloatingPointError, OSError) as error:
        if os.environ.get("JAX3D_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def keep_freed_memory() -> None:
    """Tell glibc to keep what is freed: XLA frees and maps its buffers anew every step, and on CPUs the page faults of
    that cost a third of a rendering step (264 against 447 ms). What other threads than the main one free is given back
    all the same, so on CPUs programs run on the caller's. To be called before JAX looks for devices."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    m_trim_threshold, m_mmap_max = -1, -4  # mallopt(3)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # another C library
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)
