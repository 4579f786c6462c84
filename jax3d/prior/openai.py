"""The published files of Point-E and Shap-E: one network each, as a PyTorch state dict.

A file brings no config. The published ones are known by the names that they were published under:

    base_40m_uncond, base_40m_imagevec, base_40m_textvec, base_40m, base_300m, base_1b, upsample_40m, sdf
    text_cond, image_cond, vector_decoder, transmitter

Others come with a config.json beside a model.safetensors, or with the config given. Every tensor of a file belongs to
the network and the other way round: a tensor too many is as wrong as one that is missing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jax3d.io.weights import find_weights, read_json, read_weights, write_json, write_weights
from jax3d.nn import point_e_config as point_e
from jax3d.nn import shap_e_config as shap_e
from jax3d.nn.names import from_published, published_names
from jax3d.nn.point_e import PointSDF, PointTransformer, Told, nothing
from jax3d.nn.point_e_config import PointEConfig, PointSDFConfig
from jax3d.nn.shap_e import Decoder, LatentTransformer
from jax3d.nn.shap_e_config import DecoderConfig, LatentConfig, TransmitterConfig
from jax3d.nn.shap_e_encoder import Encoder
from jax3d.prior.folder import form, read_config
from jax3d.types import Params

Config = PointEConfig | PointSDFConfig | LatentConfig | DecoderConfig | TransmitterConfig
KINDS = {
    "CrossAttentionPointCloudSDFModel": PointSDFConfig,
    "SplitVectorDiffusion": LatentConfig,
    "ChannelsDecoder": DecoderConfig,
    "Transmitter": TransmitterConfig,
}

PUBLISHED: dict[str, Config] = {
    "base_40m_uncond": point_e.BASE40M_UNCOND,
    "base_40m_imagevec": point_e.BASE40M_VECTOR,
    "base_40m_textvec": point_e.BASE40M_VECTOR,
    "base_40m": point_e.BASE40M,
    "base_300m": point_e.BASE300M,
    "base_1b": point_e.BASE1B,
    "upsample_40m": point_e.UPSAMPLE,
    "sdf": point_e.SDF,
    "text_cond": shap_e.TEXT300M,
    "image_cond": shap_e.IMAGE300M,
    "vector_decoder": shap_e.DECODER,
    "transmitter": shap_e.TRANSMITTER,
}


def load(source: str | Path, config: Config | None = None, dtype: Any = jnp.float32) -> tuple[Config, Params]:
    """(config, parameters in `dtype`) of a published file, or of a folder with config.json and model.safetensors.

    `config` says what a file of another name holds. ValueError, one sentence, for a file that is missing, cut off,
    not a weight file or of another network; nothing in it is executed.
    """
    path = Path(source)
    if path.is_dir():
        kind = KINDS.get(read_json(path / "config.json").get("name"), PointEConfig)
        config, path = config or read_config(kind, path / "config.json"), find_weights(path, "model")
    config = config or PUBLISHED.get(path.stem)
    if config is None:
        raise ValueError(
            f"{path} is not named as a published network is ({', '.join(PUBLISHED)}): pass its config, or give the "
            "file its published name."
        )
    return config, fill(config, read_weights(path), dtype, path)


def save(folder: str | Path, config: Config, params: Params, dtype: Any = None) -> None:
    """Write config.json and model.safetensors, the state dict that the published code loads."""
    write_json(Path(folder) / "config.json", config.to_json())
    write_weights(Path(folder) / "model.safetensors", state(config, params), dtype)


def state(config: Config, params: Params) -> dict[str, Any]:
    """The complete published state dict: the parameters by their published names, and the buffers."""
    return published_names(params) | buffers(config)


def buffers(config: Config) -> dict[str, np.ndarray]:
    """What a state dict holds that the config says already."""
    names = ("channel_scales", "channel_biases")
    values = {name: getattr(config, name, None) for name in names}
    return {name: np.array(value, np.float32) for name, value in values.items() if value is not None}


def fill(config: Config, tensors: Mapping[str, np.ndarray], dtype: Any, path: Path) -> Params:
    """The parameters of the config from a complete state dict; ValueError names the file and what does not fit."""
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), shapes(config))
    known = buffers(config)
    extra = sorted(tensors.keys() - jax.eval_shape(published_names, like).keys() - known.keys())
    try:
        if extra:
            shown = ", ".join(extra[:3]) + (f" and {len(extra) - 3} more" if len(extra) > 3 else "")
            raise ValueError(f"the config has no place for {len(extra)} of its tensors ({shown})")
        for name, value in known.items():
            found = tensors.get(name, value)
            if found.shape != value.shape or not np.allclose(found, value, rtol=1e-3):
                raise ValueError(f"{name} is {found.tolist()}, but the config says {value.tolist()}")
        return from_published(tensors, like)
    except ValueError as error:
        reason = str(error).split(";")[0]
        raise ValueError(f"{path}: {reason}; give the file of the network that is meant, or pass its config.") from None


def module(config: Config) -> nn.Module:
    """The network of a config; of a transmitter its encoder, and its decoder is that of `config.decoder`."""
    kinds = {PointSDFConfig: PointSDF, LatentConfig: LatentTransformer, DecoderConfig: Decoder}
    return (kinds | {TransmitterConfig: Encoder}).get(type(config), PointTransformer)(config)


def inner(config: PointEConfig | LatentConfig) -> PointEConfig:
    """The transformer of a denoiser's config."""
    return config.inner if isinstance(config, LatentConfig) else config


def encoder_of(params: Params) -> Params:
    """The encoder's parameters of a transmitter's."""
    return {name: part for name, part in params["encoder"].items() if name != "params_proj"}


def decoder_of(params: Params) -> Params:
    """The decoder's parameters of a transmitter's."""
    return {"params_proj": params["encoder"]["params_proj"], "renderer": params["renderer"]}


def shapes(config: Config) -> Params:
    """Names and shapes of the parameters; no memory is spent."""
    place = jnp.zeros((1, 1, 3))
    if isinstance(config, PointSDFConfig):
        return form(module(config), place, place)
    if isinstance(config, DecoderConfig):
        return form(module(config), jnp.zeros((1, config.rows, config.d_latent)), place)
    if isinstance(config, TransmitterConfig):
        decoder, pixel = shapes(config.decoder), (1, 1, config.patch_size, config.patch_size)
        views = jnp.zeros((*pixel, 3)), jnp.zeros((1, 1, 3)), jnp.zeros((*pixel, 3)), jnp.zeros(pixel, bool)
        encoder = form(module(config), jnp.zeros((1, config.data_ctx, 6)), *views)
        return {"encoder": encoder | {"params_proj": decoder["params_proj"]}, "renderer": decoder["renderer"]}
    return form(module(config), *example(config))


def example(config: PointEConfig | LatentConfig) -> tuple[jax.Array, jax.Array, Told]:
    """What a denoiser's network is initialised with."""
    c = inner(config)
    return jnp.zeros((1, c.n_ctx if c.use_pos_emb else 1, c.input_channels)), jnp.zeros(1), nothing(c, 1, 1)
