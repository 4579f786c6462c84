"""Contrastive language-image training: CLIP (Radford et al., arXiv 2103.00020), small.

    loss = cross-entropy over rows and columns of s * <text_i, image_j>

where the target of a row is uniform over all pictures that carry the same caption: in a small world captions repeat
within a batch, and a repeated caption is no negative. Negatives come from the examples of one device.

A picture has several captions, from "a red chair with green legs" to "a chair" and "a red", and the steps take them in
turn: asked only for whole captions, the model takes a chair with red legs for a red chair. With each goes a change of
the picture that leaves the caption true (any colours for "a chair", any shape for "a red"), so that a pair of shape and
colour which never occurs in training is no surprise.

Training goes on with the vision tower alone where others hold to the texts' vectors (arXiv 2111.07991).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jax3d.math.muon import muon
from jax3d.math.pixels import disturb, over_random_background
from jax3d.math.random import split_each
from jax3d.nn.clip import CLIP
from jax3d.nn.clip_config import CLIPTextConfig, CLIPVisionConfig
from jax3d.types import Array, Params, Task

Change = Callable[[Array, Array], Array]
VISION = ("vision_model", "visual_projection")


@dataclasses.dataclass(frozen=True)
class Contrastive:
    """Trains a CLIP on captioned pictures, over random backgrounds and disturbed as renders are."""

    text: CLIPTextConfig
    vision: CLIPVisionConfig
    projection_dim: int = 64
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Subtracted from the pixels; goes into the folder's preprocessor_config.json."""
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    batch_size: int = 256
    learning_rate: float = 3e-3
    warmup: int = 100
    steps: int = 3000
    """Length of the cosine decay; the trainer runs as many."""

    def task(self, batches: Callable[[int], Any], changes: Sequence[Change], start: Params | None = None) -> Task:
        """A task; batches hold `rgba` uint8 [b, s, s, 4], straight alpha, and tokens `ids` [b, captions, n].

        `changes`, one a caption, alter the pictures (a key each) where that caption is asked for. It begins with
        random weights, or with `start`, of which it trains the vision tower alone (and its state holds no more).
        """
        network = CLIP(self.text, self.vision, self.projection_dim)
        size = self.vision.image_size
        held = {name: part for name, part in (start or {}).items() if name not in VISION}

        def init(key):
            if start is not None:
                return {name: start[name] for name in VISION}
            ids = jnp.zeros((1, self.text.max_position_embeddings), jnp.int32)
            return network.init(key, ids, jnp.zeros((1, size, size, 3)))["params"]

        def loss(params, frozen, batch, keys, step):
            k_background, k_disturb, k_mirror, k_change = split_each(keys, 4)
            image = disturb(over_random_background(batch["rgba"], k_background), k_disturb)
            mirror = jax.vmap(jax.random.bernoulli)(k_mirror)[:, None, None, None]
            image = jnp.where(mirror, image[:, :, ::-1], image)
            turn = step % len(changes)
            image, ids = jax.lax.switch(turn, changes, image, k_change), batch["ids"][:, turn]
            pixels = (image - jnp.array(self.mean)) / jnp.array(self.std)
            params = frozen | params
            text, picture = (
                network.apply({"params": params}, ids, method="text_features"),
                network.apply({"params": params}, pixels, method="image_features"),
            )
            logits = jnp.exp(jnp.minimum(params["logit_scale"], jnp.log(100.0))) * text @ picture.T
            same = jnp.all(ids[:, None] == ids[None], axis=-1)
            target = same / jnp.sum(same, axis=-1, keepdims=True)
            rows = optax.softmax_cross_entropy(logits, target)
            columns = optax.softmax_cross_entropy(logits.T, target)
            hit = jnp.mean(jnp.take_along_axis(same, jnp.argmax(logits, axis=0)[:, None], axis=1))
            return 0.5 * jnp.mean(rows + columns), {"accuracy": hit}

        rise = min(self.warmup, self.steps // 2)
        rate = optax.warmup_cosine_decay_schedule(0.0, self.learning_rate, rise, self.steps)
        return Task(init, loss, muon(rate, weight_decay=0.05), self.batch_size, held, batches)
