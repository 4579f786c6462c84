import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import train_script
import train_toy

from jax3d.train import log
from jax3d.train.loop import TrainConfig, after_key, train

SCRIPT = Path(__file__).with_name("train_script.py")


def start(workdir, steps, *cluster, devices):
    path = os.pathsep.join([str(SCRIPT.parents[2]), os.environ.get("PYTHONPATH", "")])
    same = [flag for flag in os.environ["XLA_FLAGS"].split() if "device_count" not in flag]  # the same bits
    flags = " ".join([f"--xla_force_host_platform_device_count={devices}", *same])
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": path}
    command = [sys.executable, str(SCRIPT), str(workdir), str(steps), *map(str, cluster)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process):
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out


def final(workdir):
    with np.load(workdir / "final.npz") as table:
        return [table[name] for name in table.files]


def figures(workdir):
    return [{k: v for k, v in line.items() if k != "steps_per_s"} for line in log.read(workdir)]


def test_killed_and_resumed_is_bit_identical(tmp_path):
    steps, fatal = 110, random.SystemRandom().randint(1, 90)
    broken = start(tmp_path / "broken", steps, devices=8)
    until = time.monotonic() + 100
    while len(log.read(tmp_path / "broken")) < fatal and time.monotonic() < until and broken.poll() is None:
        time.sleep(0.001)
    broken.send_signal(signal.SIGKILL)
    broken.communicate()
    assert broken.returncode == -signal.SIGKILL and not (tmp_path / "broken/final.npz").exists()
    assert fatal <= len(log.read(tmp_path / "broken")) < steps
    finish(start(tmp_path / "broken", steps, devices=8))
    train_script.main(tmp_path / "whole", steps)
    chex.assert_trees_all_equal(final(tmp_path / "broken"), final(tmp_path / "whole"))
    assert figures(tmp_path / "broken") == figures(tmp_path / "whole")
    assert [line["step"] for line in figures(tmp_path / "whole")] == list(range(1, steps + 1))


def test_two_hosts_train_like_one(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    hosts = [start(tmp_path, 15, address, 2, i, devices=2) for i in range(2)]
    for host in hosts:
        finish(host)
    one = train(train_toy.task(), TrainConfig(steps=15, ema_decay=0.9, progress=False), devices=jax.devices()[:1])
    chex.assert_trees_all_close(final(tmp_path), [np.asarray(x) for x in jax.tree.leaves(one)], atol=1e-6)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["14", "15", "7"]
    assert len(log.read(tmp_path)) == 15


def test_callback_after_and_log_see_each_step_once(tmp_path):
    calls, afters = [], []

    def after(params, step, key):
        afters.append((step, jax.random.key_data(key).tolist()))
        return params | {"count": params["count"] + 1}

    def init(key):
        return train_toy.init(key) | {"count": jnp.float32(0)}

    def callback(step, state, metrics):
        calls.append((step, int(state.step), float(state.params["count"]), metrics["loss"]))

    config = TrainConfig(steps=10, log_every=2, callback_every=4, checkpoint_every=0, progress=False)
    state = train(train_toy.task(init=init, after=after), config, tmp_path, callback)
    assert [call[:3] for call in calls] == [(4, 4, 4.0), (8, 8, 8.0), (10, 10, 10.0)]
    assert afters == [(k + 1, jax.random.key_data(after_key(0, k, 8)).tolist()) for k in range(10)]
    lines = log.read(tmp_path)
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10]
    assert {line["step"]: line["loss"] for line in lines}[8] == calls[1][3]
    assert state.params["count"] == 10


def test_ctrl_c_saves_and_returns(tmp_path):
    def callback(step, state, metrics):
        if step == 6:
            os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # programs started in the background ignore it
    config = TrainConfig(steps=10**6, callback_every=1, checkpoint_every=10**6, progress=False)
    state = train(train_toy.task(), config, tmp_path, callback)
    assert state.step == 6
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    rest = train(train_toy.task(), TrainConfig(steps=12, progress=False), tmp_path)
    whole = train(train_toy.task(), TrainConfig(steps=12, progress=False))
    chex.assert_trees_all_equal(rest, whole)


def test_a_stuck_run_stops_with_a_diagnosis_and_its_weights(tmp_path):
    def loss(params, frozen, batch, keys, step):
        value, metrics = train_toy.loss(params, frozen, batch, keys, step)
        return jnp.where((step == 2) | (step >= 5), jnp.nan, value), metrics

    config = TrainConfig(steps=50, patience=4, checkpoint_every=4, log_every=1, progress=False)
    with pytest.raises(FloatingPointError, match="4 steps in a row up to step 9 .*skipped=5.*lower the learning rate"):
        train(train_toy.task(loss=loss), config, tmp_path)
    good = train(train_toy.task(loss=loss), TrainConfig(steps=8, checkpoint_every=4, progress=False), tmp_path)
    chex.assert_tree_all_finite(good.params)
    assert (good.step, good.skipped, good.stuck) == (8, 4, 3)


def test_the_next_batch_is_made_while_the_device_works():
    """The loop asks for batch k + 1 before anyone has read step k, and never twice or out of order."""
    asked = []

    def batches(step):
        asked.append(step)
        return train_toy.batches(step)

    seen = []
    config = TrainConfig(steps=6, callback_every=1, progress=False)

    def callback(step, *_):
        time.sleep(0.02)
        seen.append(len(asked))

    train(train_toy.task(batches=batches), config, callback=callback)
    assert asked == list(range(6))
    assert seen == [2, 3, 4, 5, 6, 6]


def test_an_error_in_the_batches_reaches_the_caller():
    def batches(step):
        if step == 3:
            raise OSError("disk gone")
        return train_toy.batches(step)

    with pytest.raises(OSError, match="disk gone"):
        train(train_toy.task(batches=batches), TrainConfig(steps=6, progress=False))


@pytest.mark.parametrize(
    "wrong, words",
    [
        (dict(log_every=0), "log_every must be at least 1, is 0"),
        (dict(seed=-1), "seed must lie in"),
        (dict(ema_decay=1.0), "ema_decay must lie in"),
        (dict(clip_norm=0.0), "clip_norm must be positive"),
    ],
)
def test_wrong_values_are_named(wrong, words):
    with pytest.raises(ValueError, match=words):
        train(train_toy.task(), TrainConfig(**(dict(steps=1) | wrong)))
