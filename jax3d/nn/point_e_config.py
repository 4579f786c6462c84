"""The published configs of Point-E (point-e models/configs.py) as values, and its published dicts.

A published dict names a class; here the class is what the network is told:

    PointDiffusionTransformer                       nothing
    CLIPImagePointDiffusionTransformer              CLIP's vector of a picture or text   (vector_features)
    CLIPImageGridPointDiffusionTransformer          CLIP's grid of a picture             (grid_features)
    CLIPImageGridUpsamplePointDiffusionTransformer  the grid and a cloud of fewer points (cond_ctx)
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jax3d.nn import config as published

VECTOR, GRID = 768, 1024  # features of CLIP ViT-L/14: of the common space, of the last hidden states
CLASSES = {
    (False, False, False): "PointDiffusionTransformer",
    (True, False, False): "CLIPImagePointDiffusionTransformer",
    (False, True, False): "CLIPImageGridPointDiffusionTransformer",
    (False, True, True): "CLIPImageGridUpsamplePointDiffusionTransformer",
}
CHANNEL_SCALES = (2.0, 2.0, 2.0, 0.007843137255, 0.007843137255, 0.007843137255)
CHANNEL_BIASES = (0.0, 0.0, 0.0, -1.0, -1.0, -1.0)


@dataclasses.dataclass(frozen=True)
class PointEConfig:
    """A diffusion transformer over points (or over Shap-E's latents); published names where there are any."""

    width: int = 512
    layers: int = 12
    heads: int = 8
    n_ctx: int = 1024
    """Points that it makes; it takes any number."""
    input_channels: int = 6
    output_channels: int = 12
    """What is predicted, and its variance: twice the channels."""
    vector_features: int = 0
    grid_features: int = 0
    cond_ctx: int = 0
    """Points of the cloud of fewer points; 0: there is none."""
    channel_scales: tuple[float, ...] | None = None
    """The cloud of fewer points is read as scale * (position, colour of 255) + bias."""
    channel_biases: tuple[float, ...] | None = None
    use_pos_emb: bool = False
    """Give each of the n_ctx rows an embedding of its own (Shap-E)."""

    def __post_init__(self):
        if self.width % self.heads:
            raise ValueError(f"PointEConfig.heads is {self.heads}, which must divide width {self.width}")
        if self._told not in CLASSES:
            raise ValueError(
                "a published network is told CLIP's vector, or its grid, or the grid and a cloud of fewer points; "
                f"set vector_features {self.vector_features}, grid_features {self.grid_features} and "
                f"cond_ctx {self.cond_ctx} so"
            )

    @property
    def _told(self) -> tuple[bool, bool, bool]:
        return self.vector_features > 0, self.grid_features > 0, self.cond_ctx > 0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "PointEConfig":
        """From a published dict; ValueError for a class or a value that is not built here."""
        kinds = {name: told for told, name in CLASSES.items()}
        published.require(cls, "name", data.get("name"), tuple(kinds))
        vector, grid, cloud = kinds[data["name"]]
        published.require(cls, "time_token_cond", data.get("time_token_cond", False), (True,))
        if vector:
            published.require(cls, "token_cond", data.get("token_cond", False), (True,))
        defaults = {"input_channels": 3, "output_channels": 3, "n_ctx": 3072 if cloud else 1024}
        told = {"vector_features": VECTOR * vector, "grid_features": GRID * grid, "cond_ctx": 1024 * cloud}
        return published.read(cls, {**defaults, **told, **data}, {})

    def to_json(self) -> dict[str, Any]:
        """The complete published dict; CLIP's features stand in it where they are not those of ViT-L/14."""
        implied = {"vector_features": VECTOR, "grid_features": GRID}
        data = published.write(self, {"name": CLASSES[self._told], "init_scale": 0.25, "time_token_cond": True})
        data = {name: value for name, value in data.items() if value and value != implied.get(name)}
        data |= {"cond_drop_prob": 0.1} if any(self._told) else {}
        data |= {"pos_emb_init_scale": 0.05} if self.use_pos_emb else {}
        return data | ({"token_cond": True} if self.vector_features else {})


@dataclasses.dataclass(frozen=True)
class PointSDFConfig:
    """The regressor of signed distances from a cloud; published names."""

    width: int = 512
    encoder_layers: int = 12
    encoder_heads: int = 8
    decoder_layers: int = 4
    decoder_heads: int = 8
    n_ctx: int = 4096
    """Points of the cloud in training; it takes any number."""

    def __post_init__(self):
        for heads in (self.encoder_heads, self.decoder_heads):
            if self.width % heads:
                raise ValueError(f"PointSDFConfig has {heads} heads, which must divide width {self.width}")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "PointSDFConfig":
        """From a published dict."""
        published.require(cls, "name", data.get("name"), ("CrossAttentionPointCloudSDFModel",))
        return published.read(cls, data, {})

    def to_json(self) -> dict[str, Any]:
        """The complete published dict."""
        return published.write(self, {"name": "CrossAttentionPointCloudSDFModel", "init_scale": 0.25})


BASE40M_UNCOND = PointEConfig()
BASE40M_VECTOR = PointEConfig(vector_features=VECTOR)
"""base40M-imagevec and base40M-textvec."""
BASE40M = PointEConfig(grid_features=GRID)
BASE300M = PointEConfig(1024, 24, 16, grid_features=GRID)
BASE1B = PointEConfig(2048, 24, 32, grid_features=GRID)
UPSAMPLE = PointEConfig(
    n_ctx=3072,
    grid_features=GRID,
    cond_ctx=1024,
    channel_scales=CHANNEL_SCALES,
    channel_biases=CHANNEL_BIASES,
)
SDF = PointSDFConfig(256, 8, 4, 4, 4)
