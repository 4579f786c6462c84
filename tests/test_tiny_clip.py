"""The recipe of tiny-clip: what `--warm` writes."""

import dataclasses
import shutil

import jax
import numpy as np
import optax

from jax3d import cli
from jax3d.io.hub import resolve
from jax3d.methods.contrastive import VISION
from jax3d.prior.clip import load
from jax3d.train import state as states


def test_warm_keeps_the_texts_and_averages_the_pictures(tmp_path):
    folder = shutil.copytree(resolve("tiny-clip"), tmp_path / "clip")
    before = load(folder).params
    trained = jax.tree.map(lambda w: w + 1, {name: before[name] for name in VISION})
    config = dataclasses.replace(cli.load_config("tiny_clip")[0], out=folder, warm=True, kept=0.25)
    config.finish(states.init(trained, optax.identity()), tmp_path)
    for name, part in load(folder).params.items():
        moved = jax.tree.map(lambda new, old: new - old, part, before[name])
        for leaf in jax.tree.leaves(moved):
            np.testing.assert_allclose(leaf, 0.75 if name in VISION else 0.0, atol=4e-3)
