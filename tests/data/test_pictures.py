"""The picture data set: a pure function of its arguments, kept on disk, resumable."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.data import pictures
from jax3d.data.pictures import picture_dataset, sample_view, to_rgba
from jax3d.data.procedural import HELD_OUT, Spec, view_phrase
from jax3d.types import Render


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(pictures, "CHUNK", 8)
    monkeypatch.setattr(pictures, "BATCH", 4)


def test_it_resumes_and_repeats(tmp_path):
    first = picture_dataset(12, 48, 1, cache=tmp_path / "a")
    files = sorted((tmp_path / "a").rglob("*.npz"))
    assert len(files) == 2 and first["rgba"].shape == (12, 48, 48, 4)
    files[0].write_bytes(files[0].read_bytes()[:1000])  # cut short
    files[1].unlink()
    again = picture_dataset(12, 48, 1, cache=tmp_path / "a")
    for name, values in first.items():
        np.testing.assert_array_equal(again[name], values)
    assert np.any(picture_dataset(8, 48, 2, cache=tmp_path / "a")["rgba"] != first["rgba"][:8])


def test_held_out_pictures_are_held_out_and_captions_name_the_view(tmp_path):
    for held_out in (False, True):
        data = picture_dataset(16, 48, 0, held_out=held_out, cache=tmp_path)
        for text, line, azimuth, elevation in zip(
            data["caption"], data["spec"], data["azimuth"], data["elevation"], strict=True
        ):
            spec = Spec(**json.loads(line))
            assert ((spec.category, spec.color) in HELD_OUT) == held_out
            assert f"{spec.color} {spec.category}" in text
            assert "view" not in text or str(text).endswith(view_phrase(azimuth, elevation))
        assert np.all(data["rgba"][..., 3].mean((1, 2)) > 255 * 0.02)


def test_rgba_gives_back_the_picture():
    rng = np.random.default_rng(0)
    opacity = rng.random((1, 8, 8)).astype(np.float32)
    rgb = rng.random((1, 8, 8, 3)).astype(np.float32) * opacity[..., None]
    rgba = to_rgba(Render(*map(jnp.asarray, (rgb, opacity, opacity, rgb)))).astype(np.float32) / 255
    np.testing.assert_allclose(rgba[..., :3] * rgba[..., 3:], rgb, atol=1 / 255)


def test_training_cameras():
    views = np.array([sample_view(np.random.default_rng(i)) for i in range(2000)])
    assert views[:, 1].min() >= -15 and views[:, 1].max() <= 75
    assert 0.75 < np.mean((views[:, 1] >= 0) & (views[:, 1] <= 45)) < 0.95
    assert views[:, 2].min() > 2.69 and views[:, 2].max() < 3.31
