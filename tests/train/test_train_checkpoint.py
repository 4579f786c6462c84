import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import train_toy

from jax3d.train import checkpoint, log
from jax3d.train import state as states
from jax3d.train.loop import TrainConfig, train


@pytest.fixture
def trained(tmp_path):
    """A run of nine steps with checkpoints at 3, 6 and 9."""
    return tmp_path, train(train_toy.task(), config(9), tmp_path)


def config(steps, **changes):
    return TrainConfig(**(dict(steps=steps, checkpoint_every=3, log_every=1, progress=False) | changes))


def largest(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def truncate(folder):
    path = largest(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_round_trip_of_every_kind_of_leaf(tmp_path):
    params = {"a/b.0": jnp.arange(6.0).reshape(2, 3), "half": jnp.ones(3, jnp.bfloat16), "rows": [jnp.arange(2), ()]}
    state = states.init(params, optax.chain(optax.adam(1e-3), optax.scale_by_schedule(lambda t: 1.0)), ema=True)
    with checkpoint.manager(tmp_path) as checkpoints:
        assert checkpoint.restore(checkpoints, jax.eval_shape(lambda: state)) is None
        checkpoint.save(checkpoints, 4, state)
    with checkpoint.manager(tmp_path) as checkpoints:
        back = checkpoint.restore(checkpoints, jax.eval_shape(lambda: state))
    chex.assert_trees_all_equal(back, state, strict=True)


def test_the_newest_stay(trained):
    workdir, _ = trained
    train(train_toy.task(), config(18, keep=2), workdir)
    assert sorted(int(path.name) for path in (workdir / "checkpoints").iterdir()) == [15, 18]


def flip(folder):
    path = largest(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [truncate, flip, lambda folder: shutil.rmtree(folder / "state")])
def test_a_damaged_checkpoint_is_passed_over(trained, damage):
    workdir, whole = trained
    damage(workdir / "checkpoints" / "9")
    with pytest.warns(UserWarning, match="checkpoints/9 cannot be read"):
        again = train(train_toy.task(), config(9), workdir)
    chex.assert_trees_all_equal(again, whole)
    assert [line["step"] for line in log.read(workdir)] == list(range(1, 10))
    assert train(train_toy.task(), config(9), workdir).step == 9  # the damaged one was replaced


def test_all_damaged_says_so(trained):
    workdir, _ = trained
    for folder in (workdir / "checkpoints").iterdir():
        truncate(folder)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="None of the checkpoints in .* can be read; take"):
        train(train_toy.task(), config(9), workdir)


def test_another_model_names_the_tensor(trained):
    workdir, _ = trained

    def wider(key):
        return train_toy.init(key) | {"down": {"kernel": jnp.zeros((16, 3))}}

    with pytest.raises(
        ValueError, match=r"params/down/kernel is float32\[16, 2\] there and float32\[16, 3\] here; take"
    ):
        train(train_toy.task(init=wider), config(9), workdir)
    with pytest.raises(ValueError, match=r"opt_state/0/trace/down/kernel is missing there"):
        train(train_toy.task(optimizer=optax.sgd(0.1, momentum=0.9)), config(9), workdir)


def test_another_config_names_the_field(trained):
    workdir, _ = trained
    with pytest.raises(ValueError, match=r"train.seed = 0, this one has 1; take another workdir"):
        train(train_toy.task(), config(9, seed=1), workdir)
    with pytest.raises(ValueError, match=r"task.prompt = nothing, this one has a chair"):
        train(train_toy.task(), config(9), workdir, about={"task": {"prompt": "a chair"}})
    train(train_toy.task(), config(9, log_every=5, keep=1), workdir)  # these may differ


def test_config_without_json_form_compares_equal_to_itself(tmp_path):
    inner = TrainConfig(steps=1)
    about = {"task": {"shape": (2, 3), "activation": jax.nn.relu, "type": np.dtype("float32"), "inner": inner}}
    train(train_toy.task(), config(3), tmp_path, about=about)
    train(train_toy.task(), config(3), tmp_path, about=about)
    assert "0x" not in (tmp_path / "config.json").read_text()
    for change, name in ({"activation": np.tanh}, "activation"), ({"inner": TrainConfig(steps=2)}, "inner.steps"):
        with pytest.raises(ValueError, match=f"task.{name}"):
            train(train_toy.task(), config(3), tmp_path, about={"task": about["task"] | change})


def test_a_workdir_that_is_a_file_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(ValueError, match="taken cannot be written .*; take another"):
        train(train_toy.task(), config(3), tmp_path / "taken")
