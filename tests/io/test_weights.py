"""safetensors: against the reference package, through every way a file can be broken."""

import json
import os

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from jax3d.io.weights import find_weights, read_json, read_safetensors, read_weights, write_json, write_weights


def tensors():
    rng = np.random.default_rng(0)
    return {
        "a.weight": rng.normal(size=(3, 5)).astype(np.float32),
        "half": rng.normal(size=(7,)).astype(np.float16),
        "brain": rng.normal(size=(2, 2)).astype(ml_dtypes.bfloat16),
        "ids": np.arange(4)[None],
        "scalar": np.array(3.25, np.float32),
        "empty": np.zeros((0, 4), np.float32),
    }


def assert_same(got, want):
    assert set(got) == set(want)
    for name, array in want.items():
        assert got[name].dtype == array.dtype and got[name].shape == array.shape, name
        np.testing.assert_array_equal(got[name], array)


def test_reads_what_the_package_wrote_and_the_reverse(tmp_path):
    save_file(tensors(), tmp_path / "theirs.safetensors")
    assert_same(read_weights(tmp_path / "theirs.safetensors"), tensors())
    write_weights(tmp_path / "ours.safetensors", tensors())
    with safe_open(tmp_path / "ours.safetensors", "numpy") as f:
        assert_same({name: f.get_tensor(name) for name in f.keys()}, tensors())
        assert f.metadata() == {"format": "pt"}
    (tmp_path / "plain").touch()
    assert (tmp_path / "ours.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode  # the umask's
    assert os.listdir(tmp_path) and not [f for f in os.listdir(tmp_path) if f.startswith(".")]


def test_dtype_is_selectable_and_integers_stay(tmp_path):
    write_weights(tmp_path / "half.safetensors", tensors(), np.float16)
    got = read_weights(tmp_path / "half.safetensors")
    assert {str(a.dtype) for a in got.values()} == {"float16", "int64"}
    np.testing.assert_array_equal(got["a.weight"], tensors()["a.weight"].astype(np.float16))
    with pytest.raises(ValueError, match="tensor big has numbers beyond the range of float16"):
        write_weights(tmp_path / "big.safetensors", {"big": np.float32([1e6])}, np.float16)
    assert not (tmp_path / "big.safetensors").exists()


def test_shards(tmp_path):
    names = list(tensors())
    for i, part in enumerate((names[:2], names[2:])):
        save_file({n: tensors()[n] for n in part}, tmp_path / f"model-{i}.safetensors")
    places = {n: f"model-{int(n in names[2:])}.safetensors" for n in names}
    write_json(tmp_path / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})
    assert_same(read_weights(find_weights(tmp_path, "model")), tensors())
    write_json(tmp_path / "bad.index.json", {"weight_map": {"other": "model-0.safetensors"}})
    with pytest.raises(ValueError, match=r"model-0.safetensors lacks tensor other"):
        read_weights(tmp_path / "bad.index.json")
    write_json(tmp_path / "bad.index.json", {"weight_map": {"x": "../secret.safetensors"}})
    with pytest.raises(ValueError, match="no weight_map"):
        read_weights(tmp_path / "bad.index.json")
    (tmp_path / "model-1.safetensors").unlink()
    with pytest.raises(ValueError, match="model-1.safetensors does not exist"):
        read_weights(tmp_path / "model.safetensors.index.json")


def test_which_file_is_taken(tmp_path):
    with pytest.raises(ValueError, match="holds no model.safetensors"):
        find_weights(tmp_path, "model")
    for name in ("pytorch_model.bin", "model.fp16.safetensors", "model.safetensors"):  # each better than the last
        (tmp_path / name).touch()
        assert find_weights(tmp_path, "model").name == name


def test_every_cut_is_refused(tmp_path):
    """A file shortened anywhere is refused, and the message names it."""
    save_file(tensors(), tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    path = tmp_path / "cut.safetensors"
    for count in range(0, len(whole), 7):
        path.write_bytes(whole[:count])
        with pytest.raises(ValueError, match="cut.safetensors"):
            read_safetensors(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=r"cut.safetensors is cut off: tensor \S+ ends 1 bytes"):
        read_safetensors(path)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{not json",
        b'{"w": 3}',
        json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}).encode(),
        json.dumps({"w": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}).encode(),
        json.dumps({"w": {"dtype": "Q4", "shape": [1], "data_offsets": [0, 4]}}).encode(),
        json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}).encode(),
        json.dumps({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode(),
        b"[" * 100_000,
    ],
)
def test_hostile_headers_are_refused(tmp_path, header):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(ValueError, match="bad.safetensors"):
        read_safetensors(path)


def test_json_files(tmp_path):
    with pytest.raises(ValueError, match="config.json does not exist"):
        read_json(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match="JSON list where an object"):
        read_json(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not readable JSON"):
        read_json(tmp_path / "config.json")
