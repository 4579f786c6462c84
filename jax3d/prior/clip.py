"""CLIP as a judge of pictures: unit features of texts and images in one space (arXiv:2103.00020).

    similarity = <text_features, image_features>,   preprocess(x) = (resize(x) - mean) / std

Resizing is the published processor's: bicubic (a = -1/2) with antialiasing to the shorter edge, then a centre crop.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jax3d.io.hub import resolve
from jax3d.io.weights import read_json, write_json
from jax3d.nn.clip import CLIPConfig
from jax3d.prior.folder import clip_form, clip_module, read_network, write_network
from jax3d.prior.tokenizer import Tokenizer, load_tokenizer, save_tokenizer, tokenize
from jax3d.types import Params

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclasses.dataclass(frozen=True, eq=False)
class CLIPScore:
    """A loaded CLIPModel."""

    config: CLIPConfig
    tokenizer: Tokenizer
    params: Params
    mean: tuple[float, float, float] = OPENAI_MEAN
    std: tuple[float, float, float] = OPENAI_STD

    def text_features(self, params: Params, prompts: Sequence[str] | Int[Array, "b n"]) -> Float[Array, "b d"]:
        """Prompts, or their ids, -> unit vectors."""
        if not hasattr(prompts, "ndim"):
            prompts = jnp.asarray(tokenize(self.tokenizer, prompts, self.config.text_config.max_position_embeddings))
        return _features(self.config, "text_features", params, prompts)

    def image_features(self, params: Params, images: Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        """Images in [0, 1] of any size -> unit vectors; differentiable."""
        return _features(self.config, "image_features", params, self.preprocess(images))

    def image_grid(self, params: Params, images: Float[Array, "b h w 3"]) -> Float[Array, "b n c"]:
        """Images in [0, 1] of any size -> the last states of the patches, which Point-E and Shap-E read."""
        return _features(self.config, "image_grid", params, self.preprocess(images))

    def similarity(
        self, params: Params, images: Float[Array, "b h w 3"], prompts: Sequence[str] | Int[Array, "t n"]
    ) -> Float[Array, "b t"]:
        """Cosines between every image and every prompt."""
        return self.image_features(params, images) @ self.text_features(params, prompts).T

    def preprocess(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b s s 3"]:
        """Images in [0, 1] -> what the vision tower takes."""
        size = self.config.vision_config.image_size
        height, width = images.shape[1:3]
        if (height, width) != (size, size):
            edge = min(height, width)
            shape = (height * size // edge, width * size // edge)
            images = jax.image.resize(images, (len(images), *shape, 3), "cubic", antialias=True)
            top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
            images = jnp.clip(images[:, top : top + size, left : left + size], 0.0, 1.0)
        return (images - jnp.array(self.mean)) / jnp.array(self.std)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _features(config: CLIPConfig, method: str, params: Params, inputs: Array) -> Array:
    return clip_module(config).apply({"params": params}, inputs, method=method).astype(jnp.float32)


def load(source: str | Path, dtype: Any = jnp.float32) -> CLIPScore:
    """A transformers CLIPModel folder, by path, bundled name or Hub id; ValueError names what is wrong with it."""
    folder = resolve(source, half=jnp.dtype(dtype).itemsize == 2)
    if not (folder / "config.json").is_file() or read_json(folder / "config.json").get("model_type") != "clip":
        raise ValueError(f"{folder} is no CLIP folder: it has no config.json of model_type 'clip'; fix the path.")
    config, params = read_network(CLIPConfig, clip_form, folder, "model", dict, dtype)
    processor = folder / "preprocessor_config.json"
    numbers = read_json(processor) if processor.is_file() else {}
    mean, std = numbers.get("image_mean", OPENAI_MEAN), numbers.get("image_std", OPENAI_STD)
    return CLIPScore(config, load_tokenizer(folder), params, tuple(mean), tuple(std))


def save(prior: CLIPScore, folder: str | Path, dtype: Any = None) -> None:
    """Write the published CLIPModel folder, config.json last."""
    folder, size = Path(folder), prior.config.vision_config.image_size
    save_tokenizer(prior.tokenizer, folder)
    steps = {f"do_{step}": True for step in ("resize", "center_crop", "rescale", "normalize", "convert_rgb")}
    numbers = {"image_mean": list(prior.mean), "image_std": list(prior.std), "resample": 3, "rescale_factor": 1 / 255}
    kind = {"image_processor_type": "CLIPImageProcessor", "feature_extractor_type": "CLIPFeatureExtractor"}
    sizes = {"size": {"shortest_edge": size}, "crop_size": {"height": size, "width": size}}
    write_json(folder / "preprocessor_config.json", {**steps, **numbers, **kind, **sizes})
    write_network(folder, "model", prior.config, prior.params, dtype)
