"""The published config.json files of CLIP: text tower, vision tower, and both (transformers' CLIPConfig)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jax3d.nn import config as published

ACTIVATIONS = ("quick_gelu", "gelu")
TRAINING = {"attention_dropout": 0.0, "initializer_factor": 1.0, "initializer_range": 0.02}  # written, never read


def check_tower(config: Any) -> None:
    """ValueError where no tower can be built."""
    published.require(type(config), "hidden_act", config.hidden_act, ACTIVATIONS)
    if config.hidden_size % config.num_attention_heads:
        raise ValueError(
            f"{type(config).__name__}.num_attention_heads is {config.num_attention_heads}, "
            f"which must divide hidden_size {config.hidden_size}"
        )


@dataclasses.dataclass(frozen=True)
class CLIPTextConfig:
    """Published fields and defaults of transformers' CLIPTextConfig.

    `with_projection` is not a field of the file: it stands for the architecture CLIPTextModelWithProjection.
    """

    vocab_size: int = 49408
    hidden_size: int = 512
    intermediate_size: int = 2048
    projection_dim: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    pad_token_id: int = 1
    bos_token_id: int = 49406
    eos_token_id: int = 49407
    with_projection: bool = False

    def __post_init__(self):
        check_tower(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "CLIPTextConfig":
        """From the config.json of a text model, or of a whole CLIPModel."""
        return read_tower(cls, data, "text_config")

    def to_json(self) -> dict[str, Any]:
        """The complete published config.json."""
        return write_tower(self, "CLIPTextModel", "clip_text_model")


@dataclasses.dataclass(frozen=True)
class CLIPVisionConfig:
    """Published fields and defaults of transformers' CLIPVisionConfig; `with_projection` as in the text tower."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    projection_dim: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 32
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    with_projection: bool = False

    def __post_init__(self):
        check_tower(self)
        if self.image_size % self.patch_size:
            raise ValueError(
                f"CLIPVisionConfig.image_size is {self.image_size}, no multiple of patch_size {self.patch_size}"
            )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "CLIPVisionConfig":
        """From the config.json of a vision model, or of a whole CLIPModel."""
        return read_tower(cls, data, "vision_config")

    def to_json(self) -> dict[str, Any]:
        """The complete published config.json."""
        return write_tower(self, "CLIPVisionModel", "clip_vision_model")


@dataclasses.dataclass(frozen=True)
class CLIPConfig:
    """Published fields of transformers' CLIPConfig: both towers and the common space."""

    text_config: CLIPTextConfig = CLIPTextConfig()
    vision_config: CLIPVisionConfig = CLIPVisionConfig()
    projection_dim: int = 512
    logit_scale_init_value: float = 2.6592

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "CLIPConfig":
        """From the config.json of a CLIPModel."""
        towers = CLIPTextConfig.from_json(data), CLIPVisionConfig.from_json(data)
        return cls(*towers, *(data[k] for k in ("projection_dim", "logit_scale_init_value") if k in data))

    def to_json(self) -> dict[str, Any]:
        """The complete published config.json."""
        towers = {"text_config": self.text_config.to_json(), "vision_config": self.vision_config.to_json()}
        rest = {"projection_dim": self.projection_dim, "logit_scale_init_value": self.logit_scale_init_value}
        return {"architectures": ["CLIPModel"], "model_type": "clip", "initializer_factor": 1.0, **rest, **towers}


def read_tower(cls: type, data: Mapping[str, Any], part: str) -> Any:
    """A tower's config from its own file or from `part` of a CLIPModel's."""
    projected = any("WithProjection" in name for name in data.get("architectures") or ())
    return published.read(cls, {"with_projection": projected, **data.get(part, data)}, {})


def write_tower(config: CLIPTextConfig | CLIPVisionConfig, architecture: str, model_type: str) -> dict[str, Any]:
    """The published file of a tower."""
    fields = published.write(config, TRAINING)
    projected = fields.pop("with_projection")
    name = architecture + ("WithProjection" if projected else "")
    return {"architectures": [name], "model_type": model_type, **fields}
