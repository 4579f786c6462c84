"""One network of a published folder: config.json and a weight file <-> (config, parameters)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jax3d.io.weights import find_weights, read_json, read_weights, write_json, write_weights
from jax3d.nn.clip import CLIP, CLIPConfig, CLIPText, CLIPTextConfig
from jax3d.nn.names import from_published, published_names
from jax3d.nn.unet import UNet, UNetConfig
from jax3d.nn.vae import VAE, VAEConfig
from jax3d.types import Params


def read_config(cls: Any, path: Path) -> Any:
    """A config dataclass from its published file; ValueError names the file."""
    data = read_json(path)
    try:
        return cls.from_json(data)
    except (ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise ValueError(f"{path} describes no network that is built here ({reason}).") from None


def read_network(
    cls: Any, like: Callable[[Any], Params], folder: Path, stem: str, names: Callable[[Mapping], dict], dtype: Any
) -> tuple[Any, Params]:
    """(config, parameters in `dtype`) of a model folder; `names` brings its tensors to the published spelling."""
    config, path = read_config(cls, folder / "config.json"), find_weights(folder, stem)
    return config, fill(names(read_weights(path)), like(config), dtype, path)


def fill(tensors: Mapping[str, np.ndarray], like: Params, dtype: Any, path: Path) -> Params:
    """Parameters of the form `like` in `dtype` from published tensors; ValueError names file and tensor."""
    try:
        return from_published(tensors, jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), like))
    except ValueError as error:
        reason = str(error).rstrip(".?")
        raise ValueError(f"{path}: {reason}; give the weights that belong to its config.json.") from None


def write_network(folder: Path, stem: str, config: Any, params: Params, dtype: Any) -> None:
    """The published folder of one network; floating-point tensors in `dtype`, or as they are where it is None."""
    write_json(folder / "config.json", config.to_json())
    write_weights(folder / f"{stem}.safetensors", published_names(params), dtype)


def unet_form(config: UNetConfig) -> Params:
    """Names and shapes of the UNet's parameters; no memory is spent. So are the others."""
    labels = jnp.zeros((1, config.projection_class_embeddings_input_dim)) if config.class_embed_type else None
    size = 2 ** (len(config.block_out_channels) - 1)
    sample = jnp.zeros((1, size, size, config.in_channels))
    return form(UNet(config), sample, jnp.zeros(1), jnp.zeros((1, 1, config.cross_attention_dim)), labels)


def vae_form(config: VAEConfig) -> Params:
    return form(VAE(config), jnp.zeros((1, config.factor, config.factor, config.in_channels)))


def text_form(config: CLIPTextConfig) -> Params:
    return form(CLIPText(config), jnp.zeros((1, 1), jnp.int32))


def clip_form(config: CLIPConfig) -> Params:
    size = config.vision_config.image_size
    return form(clip_module(config), jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, size, size, 3)))


def clip_module(config: CLIPConfig) -> CLIP:
    """The module of a CLIPModel's config."""
    return CLIP(config.text_config, config.vision_config, config.projection_dim, config.logit_scale_init_value)


def form(module: nn.Module, *inputs: Any) -> Params:
    """Shapes of a module's parameters."""
    return jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
