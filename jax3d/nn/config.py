"""A published config.json <-> a frozen dataclass whose fields carry the published names.

The dataclass holds the values that choose a network we build. `fixed` holds the rest of the published file: values
that would choose another network, each with the only value we build. Reading refuses what is not supported, naming
field, value and what is; keys known to neither are of no consequence to the forward pass and are passed over.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any


def frozen(value: Any) -> Any:
    """JSON lists as tuples, so that the config hashes."""
    return tuple(frozen(v) for v in value) if isinstance(value, list | tuple) else value


def plain(value: Any) -> Any:
    """Tuples as JSON lists."""
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


def read(cls: type, data: Mapping[str, Any], fixed: Mapping[str, Any]) -> Any:
    """Build `cls` from a published dict; ValueError where `data` asks for what `fixed` does not allow."""
    for name, value in fixed.items():
        require(cls, name, frozen(data.get(name, value)), (frozen(value),))
    names = {f.name for f in dataclasses.fields(cls)}
    return cls(**{k: frozen(v) for k, v in data.items() if k in names})


def write(config: Any, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """The complete published dict of `config`."""
    fields = {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    return {**{k: plain(v) for k, v in fixed.items()}, **fields}


def require(cls: type, name: str, value: Any, supported: Sequence[Any]) -> None:
    """ValueError unless `value` of the field `name` is one of `supported`."""
    if not any(value == s and isinstance(value, bool) == isinstance(s, bool) for s in supported):
        wanted = " or ".join(repr(s) for s in supported)
        raise ValueError(f"{cls.__name__}.{name} is {value!r}, but only {wanted} is supported")
