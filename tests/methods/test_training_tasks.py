"""The recipes that train the bundled models: each lowers its own loss on a handful of pictures."""

import dataclasses

import jax
import numpy as np

from jax3d.data.batches import shuffled
from jax3d.diffusion.schedule import scaled_linear
from jax3d.methods.autoencoder import Autoencoder
from jax3d.methods.contrastive import Contrastive
from jax3d.methods.latent_diffusion import LatentDiffusion
from jax3d.nn.clip_config import CLIPTextConfig, CLIPVisionConfig
from jax3d.train.loop import TrainConfig, train

TEXT = CLIPTextConfig(
    vocab_size=16, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
    max_position_embeddings=4, bos_token_id=14, eos_token_id=15, pad_token_id=15, projection_dim=8,
)  # fmt: skip
QUIET = TrainConfig(steps=30, progress=False, log_every=1, callback_every=1)


def pictures(count: int = 8) -> dict[str, np.ndarray]:
    """Two kinds of pictures, each with its word."""
    rng = np.random.default_rng(0)
    kind = np.arange(count) % 2
    rgba = np.full((count, 16, 16, 4), 255, np.uint8)
    rgba[..., :3] = np.where(kind, 220, 30)[:, None, None, None] + rng.integers(0, 20, (count, 16, 16, 3))
    ids = np.stack([np.array([14, 1 + k, 15, 15], np.int32) for k in kind])
    return {"rgba": rgba, "ids": ids}


def losses(task, devices: int = 1) -> list[float]:
    found = []
    train(
        task,
        QUIET,
        callback=lambda step, state, figures: found.append(figures["loss"]),
        devices=jax.devices()[:devices],
    )
    return found


def falls(values: list[float]) -> bool:
    return np.mean(values[-5:]) < 0.8 * np.mean(values[:5])


def test_autoencoder_learns(make_prior):
    data = pictures()
    method = Autoencoder(make_prior().vae, size=16, batch_size=4, learning_rate=1e-2, warmup=1, steps=30)
    assert falls(losses(method.task(shuffled({"rgba": data["rgba"]}, 4, 0))))


def test_latent_diffusion_learns(make_prior):
    prior = make_prior()
    text = dataclasses.replace(TEXT, hidden_size=prior.unet.cross_attention_dim)
    method = LatentDiffusion(prior.unet, text, batch_size=8, learning_rate=1e-2, warmup=1, steps=30)
    empty = np.array([14, 15, 15, 15], np.int32)
    task = method.task(prior.vae, prior.params["vae"], scaled_linear(), empty, shuffled(pictures(), 8, 0))
    assert falls(losses(task))


def test_contrastive_tells_two_kinds_apart():
    vision = CLIPVisionConfig(
        hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8,
        projection_dim=8,
    )  # fmt: skip
    method = Contrastive(TEXT, vision, projection_dim=8, batch_size=8, learning_rate=1e-2, warmup=1, steps=30)
    data = pictures()
    data["ids"] = np.stack([data["ids"], np.roll(data["ids"], -1, axis=1)], axis=1)  # two captions a picture
    task = method.task(shuffled(data, 8, 0), [_kept, _kept])
    assert falls(losses(task))
    method = dataclasses.replace(method, warmup=100)  # more than all its steps
    further = method.task(shuffled(data, 8, 0), [_kept, _kept], task.init(jax.random.key(1)))
    assert set(further.init(jax.random.key(0))) == {"vision_model", "visual_projection"}  # the texts' vectors stay
    assert falls(losses(further))


def _kept(image, keys):
    return image
