"""Named tensors on disk: safetensors (whole or sharded) read and written, PyTorch files read.

A safetensors file is `uint64 n, n bytes of JSON, data`; the JSON maps each name to {dtype, shape, data_offsets}
(github.com/huggingface/safetensors). It is memory-mapped here: tensors are views, so a 5 GB file costs nothing until a
tensor is converted. A sharded model is an `*.index.json` whose `weight_map` sends each name to the file that holds it.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from jax3d.io.atomic import replacing
from jax3d.io.torch_file import read_torch_file

AGAIN = "download the file again"
DTYPES = {
    **{"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "BOOL": np.bool_},
    **{"I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8},
    **{"U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8},
    **{"F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2},
}


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Every tensor of a .safetensors file, of the shards of an *.index.json, or of a PyTorch file.

    Arrays are read-only views of the files. ValueError, one sentence that names file and tensor, for whatever is
    missing, cut off or contradicts itself.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give a .safetensors, .index.json, .ckpt, .pt, .pth or .bin file.")
    if path.suffix == ".json":
        return _read_shards(path)
    return read_safetensors(path) if path.suffix == ".safetensors" else read_torch_file(path)


def find_weights(folder: str | Path, stem: str) -> Path:
    """The weight file of a published model folder: full precision before half, safetensors before pickles.

    `stem` is "diffusion_pytorch_model" (diffusers) or "model" (transformers, whose pickle is pytorch_model.bin).
    """
    folder = Path(folder)
    pickle_stem = "pytorch_model" if stem == "model" else stem
    names = []
    for kind, first in ((".safetensors", stem), (".bin", pickle_stem)):
        for variant in ("", ".fp16", ".bf16"):
            whole = f"{first}{variant}{kind}"
            names += [whole, f"{whole}.index.json", f"{first}{kind}.index{variant}.json"]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"{folder} holds no {stem}.safetensors (nor .fp16, .bin, .index.json); {AGAIN} or fix the path.")


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Every tensor of one .safetensors file, as read-only views; the contract of `read_weights`."""
    path = Path(path)
    size = path.stat().st_size
    data = np.memmap(path, np.uint8, "r") if size else np.zeros(0, np.uint8)
    length = int.from_bytes(bytes(data[:8]), "little")
    if size < 8 or 8 + length > size:
        raise ValueError(f"{path} is cut off or is no safetensors file ({size} bytes); {AGAIN}.")
    try:
        header = json.loads(bytes(data[8 : 8 + length]))
        entries = {name: _entry(entry) for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} has no valid safetensors header ({type(error).__name__}); {AGAIN}.") from None
    return {name: _view(path, data[8 + length :], name, *entry) for name, entry in entries.items()}


def write_weights(path: str | Path, tensors: Mapping[str, Any], dtype: Any = None) -> None:
    """Write a .safetensors file, floating-point tensors in `dtype` where given; whole or not at all.

    ValueError where a finite number does not fit into `dtype`.
    """
    arrays = {name: _cast(path, name, np.asarray(tensor), dtype) for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        mode = temporary.stat().st_mode
        save_file(arrays, temporary, metadata={"format": "pt"})  # transformers refuses files without this mark
        temporary.chmod(mode)  # which save_file narrows to the owner


def read_json(path: str | Path) -> dict[str, Any]:
    """A JSON object from a file; ValueError names the file."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; {AGAIN} or fix the path.") from None
    except (ValueError, OSError, RecursionError) as error:
        raise ValueError(f"{path} is not readable JSON ({str(error).splitlines()[0]}); {AGAIN}.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a JSON {type(content).__name__} where an object is needed; {AGAIN}.")
    return content


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """A JSON object as the published programs write it: indented by 2, keys sorted, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _read_shards(path: Path) -> dict[str, np.ndarray]:
    places = read_json(path).get("weight_map")
    if not isinstance(places, dict) or any(Path(str(place)).name != place for place in places.values()):
        raise ValueError(f"{path} has no weight_map of names to files beside it; {AGAIN}.")
    shards = {place: read_weights(path.with_name(place)) for place in sorted(set(places.values()))}
    for name, place in places.items():
        if name not in shards[place]:
            raise ValueError(f"{path.with_name(place)} lacks tensor {name}, which {path.name} places there; {AGAIN}.")
    return {name: shards[place][name] for name, place in places.items()}


def _entry(entry: Mapping[str, Any]) -> tuple[str, tuple[int, ...], int, int]:
    shape, (start, end) = tuple(entry["shape"]), entry["data_offsets"]
    if any(type(n) is not int or n < 0 for n in (*shape, start, end)):
        raise ValueError("shapes and offsets are natural numbers")
    return str(entry["dtype"]), shape, start, end


def _view(path: Path, data: np.ndarray, name: str, kind: str, shape: tuple, start: int, end: int) -> np.ndarray:
    if kind not in DTYPES:
        raise ValueError(f"{path}: tensor {name} has type {kind}, but only {', '.join(DTYPES)} are read.")
    dtype = np.dtype(DTYPES[kind])
    if end - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(
            f"{path}: tensor {name} has {end - start} bytes, which is not {kind} of shape {shape}; {AGAIN}."
        )
    if end > len(data):
        raise ValueError(f"{path} is cut off: tensor {name} ends {end - len(data)} bytes behind its end; {AGAIN}.")
    return np.asarray(data[start:end]).view(dtype).reshape(shape)


def _cast(path: str | Path, name: str, array: np.ndarray, dtype: Any) -> np.ndarray:
    if dtype is None or not (array.dtype.kind == "f" or array.dtype == ml_dtypes.bfloat16):
        return np.ascontiguousarray(array).reshape(array.shape)
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(array.astype(dtype))
    if not np.isfinite(cast).all() and np.isfinite(array).all():
        raise ValueError(f"{path}: tensor {name} has numbers beyond the range of {np.dtype(dtype)}; write float32.")
    return cast.reshape(array.shape)
