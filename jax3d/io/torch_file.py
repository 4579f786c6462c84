"""Tensors of PyTorch files (.ckpt, .pt, .pth, .bin), read without torch and without running anything from them.

A pickle is a program: `GLOBAL name` pushes a callable, `REDUCE` calls it. Here every global becomes a `Record` class
made for this one reading, so a call only writes down its arguments; no import, no allow-list that could leak. When the
program has ended, the records named `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...)` are read as

    tensor[i, j, ...] = storage[offset + i stride_0 + j stride_1 + ...]

Two containers exist (torch/serialization.py of PyTorch 2.x): a zip of stored members `P/data.pkl`, `P/data/KEY`; and
the older stream of pickles (magic, protocol, system, object, storage keys), then `int64 count, raw data` per storage.
Arrays are read-only views of the memory-mapped file: nothing is copied before it is used.
"""

import math
import pickle
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
MAX_DEPTH, MAX_VISITS, MAX_EXPANDED = 32, 2_000_000, 2**20
DTYPES = {
    **{"torch.FloatStorage": np.float32, "torch.DoubleStorage": np.float64, "torch.HalfStorage": np.float16},
    **{"torch.BFloat16Storage": ml_dtypes.bfloat16, "torch.LongStorage": np.int64, "torch.IntStorage": np.int32},
    **{"torch.storage.UntypedStorage": np.uint8, "torch.UntypedStorage": np.uint8},
    **{"torch.ShortStorage": np.int16, "torch.CharStorage": np.int8, "torch.ByteStorage": np.uint8},
    **{"torch.BoolStorage": np.bool_, "torch.bfloat16": ml_dtypes.bfloat16, "torch.bool": np.bool_},
    **{f"torch.{name}": np.dtype(name).type for name in ("float16", "float32", "float64", "uint8", "uint16", "uint32")},
    **{f"torch.{name}": np.dtype(name).type for name in ("uint64", "int8", "int16", "int32", "int64")},
}


def read_torch_file(path: str | Path) -> dict[str, np.ndarray]:
    """Every tensor of a PyTorch file by its dotted name; those under `state_dict` alone when the file has one.

    Raises ValueError, one sentence that names the file, for anything which is not a readable PyTorch file.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give the path of a .ckpt, .pt, .pth or .bin file.")
    try:
        tree, storages = _read_zip(path) if zipfile.is_zipfile(path) else _read_stream(path)
        if isinstance(content := _entries(tree), dict) and isinstance(_entries(content.get("state_dict")), dict):
            tree = content["state_dict"]
        return {name: _array(name, tensor, storages) for name, tensor in _tensors(tree)}
    except Exception as error:  # a hostile file can raise anything; all of it means the same to the caller
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise ValueError(
            f"{path} is not a readable PyTorch file ({reason}); download it again or convert it to safetensors."
        ) from error


class Record:
    """A call that was written down instead of made: the global's name is on the class, its arguments here."""

    name = ""

    def __new__(cls, *args: Any, **kwargs: Any):
        self = object.__new__(cls)
        self.args, self.items, self.state = args, {}, None
        return self

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setstate__(self, state: Any):
        self.state = state

    def __setitem__(self, key: Any, value: Any):
        self.items[key] = value

    def append(self, value: Any):
        self.items[len(self.items)] = value

    def extend(self, values: Any):
        for value in values:
            self.append(value)


@dataclass(frozen=True)
class Storage:
    """A persistent id of the pickle: which raw bytes, of which type."""

    kind: str
    key: str
    count: int


class Reader(pickle._Unpickler):  # the pure Python one: its memo is a dict, so a huge memo index costs nothing
    """The pickle machine with its hands tied: globals are Records, persistent ids are Storages."""

    def __init__(self, file: BytesIO):
        super().__init__(file)
        self.storages: list[Storage] = []

    def find_class(self, module: str, name: str) -> type:
        return type("Record", (Record,), {"name": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Storage:
        tag, kind, key, _location, count, *view = pid
        if tag != "storage" or any(part is not None for part in view):
            raise ValueError("it has a storage of an unknown form")
        self.storages.append(Storage(kind.name, str(key), int(count)))
        return self.storages[-1]


def _read_zip(path: Path) -> tuple[Any, dict[str, np.ndarray]]:
    data = np.memmap(path, np.uint8, "r")
    with zipfile.ZipFile(path) as archive:
        infos = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in infos if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("the zip holds no single data.pkl")
    prefix = pickles[0].removesuffix("data.pkl")
    order = infos.get(prefix + "byteorder")
    if order is not None and bytes(_member(data, order)) != b"little":
        raise ValueError("it was written on a big-endian machine")
    tree = Reader(BytesIO(bytes(_member(data, infos[pickles[0]])))).load()
    inside = prefix + "data/"
    members = {name.removeprefix(inside): info for name, info in infos.items() if name.startswith(inside)}
    return tree, {key: _member(data, info) for key, info in members.items()}


def _member(data: np.ndarray, info: zipfile.ZipInfo) -> np.ndarray:
    """The bytes of a stored zip member, as a view (PyTorch never compresses; so no bomb can unfold)."""
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise ValueError(f"its member {info.filename} is compressed or encrypted")
    header = bytes(data[info.header_offset : info.header_offset + 30])
    if header[:4] != b"PK\3\4":
        raise ValueError(f"its member {info.filename} is missing")
    start = info.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    if start + info.file_size > len(data):
        raise ValueError(f"its member {info.filename} is cut off")
    return data[start : start + info.file_size]


def _read_stream(path: Path) -> tuple[Any, dict[str, np.ndarray]]:
    data = np.memmap(path, np.uint8, "r")
    stream = BytesIO(data)  # copies; the files of this form are old and small
    if Reader(stream).load() != MAGIC or Reader(stream).load() != 1001:
        raise ValueError("neither a zip nor a PyTorch pickle stream")
    Reader(stream).load()  # sizes and byte order of the writing machine
    reader = Reader(stream)
    tree = reader.load()
    widths = {storage.key: _dtype(storage.kind).itemsize for storage in reader.storages}
    storages = {}
    for key in Reader(stream).load():
        start = stream.tell() + 8
        size = int.from_bytes(stream.read(8), "little") * widths[str(key)]
        if start + size > len(data):
            raise ValueError(f"its storage {key} is cut off")
        storages[str(key)] = data[start : start + size]
        stream.seek(start + size)
    return tree, storages


def _dtype(kind: str) -> np.dtype:
    if kind not in DTYPES:
        raise ValueError(f"it holds numbers of type {kind}, which is not supported")
    return np.dtype(DTYPES[kind])


def _entries(node: Any) -> dict | None:
    """The children of a container by name, or None for a leaf."""
    if isinstance(node, dict):
        return node
    if isinstance(node, list | tuple):
        return dict(enumerate(node))
    if not isinstance(node, Record) or _is_tensor(node):
        return None
    first = node.args[0] if node.name == "collections.OrderedDict" and node.args else ()
    return dict(first) | node.items | (_entries(node.state) or {})


def _is_tensor(node: Any) -> bool:
    return isinstance(node, Record) and node.name.startswith(("torch._utils._rebuild", "torch._tensor._rebuild"))


def _tensors(tree: Any) -> Iterator[tuple[str, Record]]:
    """(dotted name, tensor record) of a tree; bounded in depth and number, so cycles and bombs end."""
    stack, visits = [((), tree)], 0
    while stack:
        path, node = stack.pop()
        visits += 1
        if len(path) > MAX_DEPTH or visits > MAX_VISITS:
            raise ValueError("its contents are nested without end")
        if _is_tensor(node):
            # a whole pickled module keeps its tensors in these dictionaries: without them the name is the published one
            yield ".".join(part for part in path if part not in ("_parameters", "_buffers", "_modules")), node
        elif entries := _entries(node):
            stack += [((*path, str(key)), child) for key, child in reversed(entries.items())]


def _arguments(record: Record) -> tuple:
    """(storage, offset, size, stride, dtype or None) of a tensor record, looking through Parameters and subclasses."""
    name, args = record.name.rsplit(".", 1)[-1], record.args
    if name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
        return _arguments(args[0])
    if name == "_rebuild_from_type_v2":
        return _arguments(args[0](*args[2]))  # args[0] is a Record class: this writes a record, too
    if name not in ("_rebuild_tensor_v2", "_rebuild_tensor_v3") or not isinstance(args[0], Storage):
        raise ValueError(f"it holds a tensor made by {record.name}, which is not a dense array")
    return (*args[:4], args[6].name if name.endswith("v3") else None)


def _array(name: str, record: Record, storages: dict[str, np.ndarray]) -> np.ndarray:
    storage, offset, size, stride, kind = _arguments(record)
    dtype = _dtype(kind or storage.kind)
    numbers = [offset, *size, *stride]
    if storage.key not in storages or any(type(n) is not int or n < 0 for n in numbers) or len(size) != len(stride):
        raise ValueError(f"the tensor {name} has no data or an impossible layout")
    raw = storages[storage.key]
    flat = raw[: len(raw) // dtype.itemsize * dtype.itemsize].view(dtype)
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count and (last >= len(flat) or count > max(len(flat), MAX_EXPANDED)):
        raise ValueError(f"the tensor {name} of shape {tuple(size)} reaches past its {len(flat)} stored numbers")
    if not count:
        return np.zeros(size, dtype)
    strides = [step * dtype.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(flat[offset:], size, strides, writeable=False)
