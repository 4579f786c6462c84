"""What bad input gets: one sentence that names the rule, the value and the way out, and exit code 2."""

import dataclasses
import sys
from pathlib import Path

import pytest

import sample
import train
from jax3d import cli
from jax3d.api import Method


def refused(capsys, monkeypatch, program, *argv: str) -> str:
    """The one line that a program says before it exits with 2."""
    monkeypatch.setattr(sys, "argv", ["program", *argv])
    with pytest.raises(SystemExit) as stop:
        cli.run(program.main)
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err
    return err


@pytest.mark.parametrize(
    "argv, words",
    [
        (["dreamfusoin", "--prompt", "a chair"], ["dreamfusoin", "did you mean 'dreamfusion'"]),
        (["--prompt", "a chair", "--guidance.scal", "3"], ["--guidance.scal", "did you mean '--guidance.scale'"]),
        (["--prompt", "a chair", "--steps", "many"], ["many", "steps"]),
        (["--prompt", "a chair", "--guidance.weight", "3"], ["--guidance.weight", "is fixed"]),
        (["--prompt", "  "], ["prompt is empty", "--prompt"]),
        ([], ["prompt is empty", "--prompt"]),
        (["--image", "cat.png"], ["text only", "--prompt"]),
        (["--prompt", "a chair", "--export", "usd"], ["usd", "mesh", "nerf"]),
        (["tiny_sd", "--prompt", "a chair"], ["tiny_sd", "train.py tiny_sd"]),
        (["--prompt", "a chair", "--model", "/no/such/model"], ["/no/such/model"]),
        (["--prompt", "a chair", "--stages", "0.5", "32", "0.1", "64"], ["stages", "0.5"]),
    ],
)
def test_sample_refuses(argv, words, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    said = refused(capsys, monkeypatch, sample, *argv)
    assert all(word in said for word in words), said


def test_a_folder_that_is_no_pipeline_is_named(capsys, monkeypatch, tmp_path):
    said = refused(
        capsys, monkeypatch, sample, "--prompt", "a chair", "--model", str(tmp_path), "--out", str(tmp_path / "o")
    )
    assert str(tmp_path) in said and "model_index.json" in said


def test_an_unwritable_folder_is_refused_before_any_work(capsys, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    said = refused(capsys, monkeypatch, sample, "--prompt", "a chair", "--out", str(blocked / "run"))
    assert "file" in said and blocked.read_text() == "not a folder"


def test_train_refuses_a_config_for_sampling(capsys, monkeypatch):
    assert "sample.py dreamfusion" in refused(capsys, monkeypatch, train, "dreamfusion")


def test_overrides_reach_nested_fields():
    argv = ["dreamfusion", "--prompt", "x", "--scene.samples", "7", "--cameras.elevation", "-5", "30", "--dry-run"]
    options, config, name = cli.parse(sample.Options, "dreamfusion", argv, lambda config: True, "train.py")
    assert (options.prompt, options.dry_run, name) == ("x", True, "dreamfusion")
    assert (config.scene.samples, config.cameras.elevation) == (7, (-5.0, 30.0))


def test_a_field_of_a_protocol_has_the_options_of_what_stands_there():
    argv = ["pointcloud", "--method.codec.drawn", "512", "--method.network.seen", "256"]
    options, config, name = cli.parse(sample.Options, "dreamfusion", argv, lambda config: True, "train.py")
    bundled, _ = cli.load_config("pointcloud")
    codec = dataclasses.replace(bundled.method.codec, drawn=512)
    assert (config.method.codec, config.method.network.seen) == (codec, 256)


@pytest.mark.parametrize("name", cli.config_names())
def test_every_config_loads_and_says_its_command(name):
    config, doc = cli.load_config(name)
    program = "sample.py" if isinstance(config, Method) else "train.py"
    assert dataclasses.is_dataclass(config) and f"python {program}" in doc
    for script in (sample, train):  # whose options and the config's have other names
        if script.suits(config):
            assert repr(cli.parse(script.Options, "", [name], script.suits, "")[1]) == repr(config)


def test_a_config_may_be_a_path(tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text("from jax3d.methods.dreamfusion import DreamFusion\n\nconfig = DreamFusion(steps=3)\n")
    assert cli.load_config(str(path))[0].steps == 3
    path.write_text("config = 3\n")
    with pytest.raises(ValueError, match="defines `config`"):
        cli.load_config(str(path))


def test_long_prompts_make_short_names():
    assert sample.slug("A red chair, made of GLASS!") == "a-red-chair-made-of-glass"
    assert len(sample.slug("very " * 100)) <= 60 and sample.slug("???") == "asset"
