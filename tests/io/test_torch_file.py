"""PyTorch files without torch: values against a closed form, hostile files against one sentence."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from jax3d.io.torch_file import read_torch_file

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "torch_file"  # written by torch 2.15, see the closed forms


@pytest.mark.parametrize("name", ["zip.pt", "stream.pt"])
def test_reads_what_torch_wrote(name):
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    want = {
        **{"f32": base, "f16": (base / 7).astype(np.float16), "f64": base.astype(np.float64) / 3},
        **{"bf16": (base / 7).astype(ml_dtypes.bfloat16), "i64": np.arange(-3, 5), "i32": np.arange(6, dtype=np.int32)},
        **{"u8": np.arange(6, dtype=np.uint8), "u16": np.arange(5, dtype=np.uint16)},
        **{"bool": np.array([True, False, True]), "transposed": base.T, "strided": base[1::2, 1::3], "row": base[2]},
        **{"scalar": np.float32(2.5), "empty": np.zeros((0, 3), np.float32)},
        **{"expanded": np.broadcast_to(np.arange(6), (2, 6)), "parameter": base + 1, "tied.a": base + 1},
    }
    got = read_torch_file(GOLDEN / name)  # state_dict alone: no optimizer states, no step
    assert set(got) == set(want)
    for key, array in want.items():
        assert got[key].dtype == array.dtype, key
        np.testing.assert_array_equal(got[key], array, err_msg=key)


def test_a_pickled_module_gives_its_published_names():
    got = read_torch_file(GOLDEN / "module.pt")
    np.testing.assert_array_equal(got["0.weight"], np.arange(6).reshape(2, 3))
    assert set(got) == {
        *("0.weight", "0.bias", "1.weight", "1.bias"),
        *("1.running_mean", "1.running_var", "1.num_batches_tracked"),
    }


class Global:
    """Pickles as the global it is named after, called with `args` when it is a call."""

    def __init__(self, name: str, *args, call: bool = True):
        self.name, self.args, self.call = name, args, call


class Storage:
    def __init__(self, *pid):
        self.pid = pid


class Writer(pickle._Pickler):
    """Writes any global by name, so that the hostile files need not import what they name."""

    def persistent_id(self, obj):
        return tuple(obj.pid) if isinstance(obj, Storage) else None

    def save(self, obj, save_persistent_id=True):
        if not isinstance(obj, Global):
            return super().save(obj, save_persistent_id)
        module, name = obj.name.rsplit(".", 1)
        self.write(b"c" + f"{module}\n{name}\n".encode())
        if obj.call:
            super().save(tuple(obj.args))
            self.write(b"R")


def dumps(tree) -> bytes:
    out = io.BytesIO()
    Writer(out, 2).dump(tree)
    return out.getvalue()


def write_zip(path: Path, tree, storages: dict[str, bytes], compression=zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", tree if isinstance(tree, bytes) else dumps(tree))
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return path


def tensor(size, stride, offset=0, kind="torch.FloatStorage", key="0", count=4):
    storage = Storage("storage", Global(kind, call=False), key, "cpu", count)
    return Global("torch._utils._rebuild_tensor_v2", storage, offset, size, stride, False, OrderedDict())


DATA = {"0": np.arange(4, dtype=np.float32).tobytes()}


def refusal(path: Path) -> str:
    with pytest.raises(ValueError) as caught:
        read_torch_file(path)
    message = str(caught.value)
    assert path.name in message and "\n" not in message
    return message


def test_a_hand_written_file_and_unknown_classes(tmp_path):
    tree = {"w": tensor((2, 2), (1, 2)), "callback": Global("some.module.Callback", 3), "n": [1, "x"]}
    got = read_torch_file(write_zip(tmp_path / "a.pt", tree, DATA))
    assert list(got) == ["w"]
    np.testing.assert_array_equal(got["w"], [[0, 2], [1, 3]])


@pytest.mark.parametrize("call", ["os.system", "posix.system", "builtins.exec", "builtins.eval", "subprocess.call"])
def test_code_is_never_run(tmp_path, call):
    mark = tmp_path / "ran"
    code = f"touch {mark}" if "system" in call else f"open({str(mark)!r}, 'w')"
    tree = {"w": tensor((4,), (1,)), "evil": Global(call, [["touch", str(mark)]] if "call" in call else code)}
    for hostile in (dumps(tree), b"\x80\x04" + dumps(tree)[2:-1].replace(b"os\nsystem", b"os\nsystem") + b"."):
        assert list(read_torch_file(write_zip(tmp_path / "evil.pt", hostile, DATA))) == ["w"]
    read_evil_state = {"w": tensor((4,), (1,)), "evil": _Reduce(os.system, f"touch {mark}")}
    path = tmp_path / "plain.bin"
    path.write_bytes(pickle.dumps(read_evil_state["evil"]))  # a bare pickle, no PyTorch file at all
    refusal(path)
    assert not mark.exists()


class _Reduce:
    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


def test_a_state_cannot_rewrite_the_reader(tmp_path):
    """BUILD on a global sets attributes of whatever find_class gave: only of a class made for this one reading."""
    program = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(N}U\x08__init__K\x01stb."
    refusal(write_zip(tmp_path / "build.pt", program, DATA))
    assert list(read_torch_file(GOLDEN / "zip.pt"))[0] == "f32"


@pytest.mark.parametrize(
    "bad",
    [
        tensor((5,), (1,)),
        tensor((2, 2), (4, 1)),
        tensor((4,), (1,), offset=1),
        tensor((4,), (1,), offset=-1),
        tensor((2**40,), (0,)),
        tensor((2**62, 2**62), (2**62, 1)),
        tensor((-1, -4), (1, 1)),
        tensor((4,), (1, 1)),
        tensor((4,), (1,), key="../../etc/passwd"),
        tensor((4,), (1,), kind="torch.QInt8Storage"),
        tensor((2,), (1.0,)),
        Global("torch._utils._rebuild_sparse_tensor", 1, 2),
        Global("torch._utils._rebuild_tensor_v2"),
    ],
)
def test_impossible_tensors_are_refused(tmp_path, bad):
    refusal(write_zip(tmp_path / "bad.pt", {"w": bad}, DATA))


def test_broken_containers_are_refused(tmp_path):
    whole = (GOLDEN / "zip.pt").read_bytes()
    for count in (0, 3, 100, len(whole) // 2, len(whole) - 30):
        path = tmp_path / f"cut{count}.pt"
        path.write_bytes(whole[:count])
        refusal(path)
    old = (GOLDEN / "stream.pt").read_bytes()
    path = tmp_path / "old.pt"
    path.write_bytes(old[:-10])
    assert "cut off" in refusal(path)
    assert "compressed" in refusal(write_zip(tmp_path / "z.pt", {"w": 1}, DATA, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(tmp_path / "none.pt", "w") as archive:
        archive.writestr("hello.txt", "hi")
    refusal(tmp_path / "none.pt")
    refusal(tmp_path / "missing.pt")


def test_bombs_end(tmp_path):
    bomb = [0]
    for _ in range(60):
        bomb = [bomb, bomb]
    assert "nested" in refusal(write_zip(tmp_path / "laughs.pt", {"a": bomb}, DATA))
    cycle = {}
    cycle["me"] = cycle
    assert "nested" in refusal(write_zip(tmp_path / "cycle.pt", cycle, DATA))
    memo_bomb = b"\x80\x02}r\xff\xff\xff\x7f."  # LONG_BINPUT 2^31 - 1: the C unpickler would allocate 32 GB here
    assert read_torch_file(write_zip(tmp_path / "memo.pt", memo_bomb, DATA)) == {}
    huge = b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x."  # BINBYTES8 of 2^62 bytes
    refusal(write_zip(tmp_path / "huge.pt", huge, DATA))


def test_nothing_is_copied(tmp_path):
    got = read_torch_file(write_zip(tmp_path / "a.pt", {"w": tensor((4,), (1,)), "v": tensor((2,), (1,))}, DATA))
    assert np.shares_memory(got["w"], got["v"]) and not got["w"].flags.writeable
