"""tiny-clip: a small CLIP of the procedural world, which judges pictures: category, colour, parts.

    python train.py tiny_clip

Writes jax3d/assets/tiny-clip, a transformers CLIPModel folder. Two CPU cores (AMD EPYC, 2.6 GHz): 2.3 steps a second
alone. The bundle was not made by one such run but by rounds: 2,700 steps with whole captions, 2,400 with captions of
four lengths, 1,600 with the changes of the pictures that go with them, and 4,000 of the vision tower alone with batches
of 256 (about 100 s on a shared NVIDIA H200, by a script of this recipe that contrasts "a chair" and "a red"
with all kinds and colours; here: --warm --method.batch-size 256 --method.learning-rate 1e-3 --method.steps 4000
--train.steps 4000). Each raised the share of held-out renders that it names right (84, 88, 94, 95 %; 96 % with
--kept 0, but Shap-E, which reads the tower's grid of a picture, then made what is recognised of 56 % of the pictures
and not of 71 %). docs/bundled_models.md has the figures.
"""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jax3d.data.batches import shuffled
from jax3d.data.captioned import Pictures
from jax3d.data.procedural import Spec, named, vocabulary
from jax3d.math.pixels import recolor, reshape
from jax3d.methods.contrastive import Contrastive
from jax3d.nn.clip_config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from jax3d.prior.clip import CLIPScore, load, save
from jax3d.prior.tokenizer import Tokenizer, sized, tokenize, train_bpe
from jax3d.train.loop import TrainConfig
from jax3d.train.state import State
from jax3d.types import Task

TOKENS = 32
VOCABULARY = 1024  # at most; every word of the world becomes one token


def _kept(image, keys):
    return image


@dataclasses.dataclass(frozen=True)
class TinyCLIP:
    """What `train.py tiny_clip` does."""

    method: Contrastive = Contrastive(
        text=CLIPTextConfig(
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            hidden_act="gelu",
            projection_dim=64,
        ),
        vision=CLIPVisionConfig(
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=64,
            patch_size=8,
            hidden_act="gelu",
            projection_dim=64,
        ),
        batch_size=128,
        steps=1600,
    )
    pictures: Pictures = Pictures(count=49152)
    train: TrainConfig = TrainConfig(steps=1600, ema_decay=0.995, clip_norm=1.0, checkpoint_every=250)
    out: Path = Path("jax3d/assets/tiny-clip")
    """The folder that is written."""
    warm: bool = False
    """Begin with the weights in `out`, and train the vision tower alone: other bundles are told the texts' vectors."""
    kept: float = 0.5
    """With `warm`: the share of the old weights in those that are written (arXiv 2109.01903), so that what reads the
    tower's grids goes on to work."""

    def task(self) -> Task:
        """Pictures with captions of several lengths, without the words of the view."""
        tokenizer = self._tokenizer()
        pictures = self.pictures.load()
        specs = [Spec(**json.loads(spec)) for spec in pictures["spec"]]
        whole = [caption.split(", ")[0] for caption in pictures["caption"]]
        captions = [
            (whole, _kept),
            ([named(spec.color, spec.category) for spec in specs], _kept),
            ([named(spec.category) for spec in specs], recolor),
            ([named(spec.color) for spec in specs], reshape),
        ]
        ids = np.stack([tokenize(tokenizer, texts, TOKENS) for texts, _ in captions], axis=1)
        arrays = {"rgba": pictures["rgba"], "ids": ids}
        method = dataclasses.replace(self.method, text=sized(self.method.text, tokenizer))
        changes = [change for _, change in captions]
        start = load(self.out).params if self.warm else None
        return method.task(shuffled(arrays, self.method.batch_size, seed=3), changes, start)

    def finish(self, state: State, workdir: Path) -> None:
        """Write the folder in float16."""
        method, tokenizer = self.method, self._tokenizer()
        params = state.averaged
        if self.warm:
            before = load(self.out).params
            both = {name: before[name] for name in params}, params
            params = before | jax.tree.map(lambda old, new: self.kept * old + (1 - self.kept) * new, *both)
        config = CLIPConfig(sized(method.text, tokenizer), method.vision, method.projection_dim)
        save(CLIPScore(config, tokenizer, params, method.mean, method.std), self.out, jnp.float16)

    def _tokenizer(self) -> Tokenizer:
        return train_bpe(sorted(vocabulary()), VOCABULARY, TOKENS, self.out)


config = TinyCLIP()
