"""What the tests start in processes of their own: WORKDIR STEPS [COORDINATOR PROCESSES PROCESS]."""

import sys
import time
from pathlib import Path

import jax
import numpy as np
import train_toy

from jax3d.train import parallel
from jax3d.train.loop import TrainConfig, train


def slow_batches(step):
    time.sleep(0.004)  # so that a kill falls among the steps
    return train_toy.batches(step)


def main(workdir, steps, *cluster):
    if cluster:
        parallel.connect(cluster[0], int(cluster[1]), int(cluster[2]))
    config = TrainConfig(steps=int(steps), ema_decay=0.9, checkpoint_every=7, log_every=1, progress=False)
    devices = None if cluster else jax.devices()[:2]
    state = train(train_toy.task(batches=slow_batches), config, workdir, devices=devices)
    if cluster:  # each host samples by itself, here three examples on its own devices
        doubled = parallel.map_batch(lambda w, x: w * x, np.float32(2), np.arange(3, dtype=np.float32))
        np.testing.assert_array_equal(doubled, [0, 2, 4])
    if jax.process_index() == 0:
        leaves = [np.asarray(x) for x in jax.tree.leaves(state)]
        np.savez(Path(workdir) / "final.npz", *leaves)


if __name__ == "__main__":
    main(*sys.argv[1:])
