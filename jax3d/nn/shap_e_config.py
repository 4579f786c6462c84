"""The published configs of Shap-E as values, and its published dicts (shap-e models/configs.py; arXiv:2305.02463).

SplitVectorDiffusion  a diffusion transformer over the latents, `inner` as in Point-E     text300M, image300M
ChannelsDecoder       latents to the parameters of a field, and the field                 decoder
Transmitter           the encoder, too                                                    transmitter
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jax3d.nn import config as published
from jax3d.nn.point_e_config import GRID, VECTOR, PointEConfig

PROJECTION = {"init_scale": 1.0, "name": "channels", "use_ln": True}
FIELD = {
    **{"activation": "swish", "density_activation": "relu", "init_scale": 0.25, "initial_density_bias": 0.1},
    **{"meta_bias": False, "meta_parameters": True, "name": "MLPNeRSTFModel", "posenc_version": "nerf"},
    **{"separate_coarse_channels": True, "separate_nerf_channels": True, "trainable_meta": False},
}
RENDERER = {"name": "NeRSTFRenderer", "separate_shared_samples": True}
BOX = {"bbox_max": [1.0, 1.0, 1.0], "bbox_min": [-1.0, -1.0, -1.0], "name": "BoundingBoxVolume"}
VOID = {"background": [0, 0, 0], "name": "VoidNeRFModel"}
BOTTLENECK = {
    "diffusion": {"schedule": "inv_parabola", "schedule_args": {"power": 5.0}, "timesteps": 1024},
    "diffusion_prob": 0.1,
    "name": "clamp_diffusion_noise",
}
ENCODER = {
    **{"cross_attention_dataset": "pcl_and_multiview_pcl", "fps_method": "first", "init_scale": 0.25},
    **{"input_channels": 6, "max_unrolls": 1, "min_unrolls": 1, "name": "PointCloudPerceiverChannelsEncoder"},
    **{"pointconv_padding_mode": "circular", "pos_emb": "nerf", "use_depth": True, "use_pointconv": True},
}


@dataclasses.dataclass(frozen=True)
class LatentConfig:
    """A diffusion transformer over [n_ctx, input_channels] latents."""

    inner: PointEConfig = PointEConfig(1024, 24, 16, 1024, 1024, 2048, vector_features=VECTOR, use_pos_emb=True)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "LatentConfig":
        """From a published dict."""
        published.require(cls, "name", data.get("name"), ("SplitVectorDiffusion",))
        rows, channels = data["latent_ctx"], data["d_latent"] // data["latent_ctx"]
        sizes = {"n_ctx": rows, "input_channels": channels, "output_channels": 2 * channels}
        return cls(PointEConfig.from_json({**data["inner"], **sizes}))

    def to_json(self) -> dict[str, Any]:
        """The complete published dict."""
        inner = self.inner.to_json()
        rows, channels, _ = (inner.pop(name) for name in ("n_ctx", "input_channels", "output_channels"))
        return {"name": "SplitVectorDiffusion", "d_latent": rows * channels, "latent_ctx": rows, "inner": inner}


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """Latents [rows, d_latent] to a field; published names, those of the field and its rendering brought together."""

    d_latent: int = 1024
    d_hidden: int = 256
    n_hidden_layers: int = 6
    n_meta_layers: int = 4
    """The first layers of the field, whose matrices come from the latents."""
    insert_direction_at: int = 4
    learned_scale: float = 0.0625
    grid_size: int = 128
    n_coarse_samples: int = 64
    n_fine_samples: int = 128

    def __post_init__(self):
        if not 0 < self.n_meta_layers <= self.insert_direction_at <= self.n_hidden_layers:
            raise ValueError(
                f"DecoderConfig takes the matrices of the {self.n_meta_layers} first layers from latents, and the "
                f"direction enters behind them, in a layer up to {self.n_hidden_layers}: set insert_direction_at so, "
                f"got {self.insert_direction_at}"
            )

    @property
    def rows(self) -> int:
        """Latents of an object: one for each row of a matrix."""
        return self.n_meta_layers * self.d_hidden

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "DecoderConfig":
        """From the published dict of a decoder, or of a transmitter."""
        published.require(cls, "name", data.get("name"), ("ChannelsDecoder", "Transmitter"))
        whole, renderer = data.get("encoder", data), data["renderer"]
        field, projection = renderer["nerstf"], whole["params_proj"]
        for part, fixed in ((projection, PROJECTION), (renderer, RENDERER), (field, FIELD), (renderer["volume"], BOX)):
            for name, value in fixed.items():
                wanted = published.frozen(value)
                published.require(cls, name, published.frozen(part.get(name, value)), (wanted,))
        return published.read(cls, {**whole, **renderer, **projection, **field, "name": None}, {})

    def to_json(self) -> dict[str, Any]:
        """The complete published dict of a decoder."""
        head = {"name": "ChannelsDecoder", "d_latent": self.d_latent, "latent_ctx": self.rows}
        return {**head, "params_proj": self.projection_json(), "renderer": self.renderer_json()}

    def projection_json(self) -> dict[str, Any]:
        """Its part that makes the matrices."""
        return {**PROJECTION, "learned_scale": self.learned_scale}

    def renderer_json(self) -> dict[str, Any]:
        """Its part that is the field."""
        field = ("d_hidden", "n_hidden_layers", "n_meta_layers", "insert_direction_at")
        sizes = {name: getattr(self, name) for name in ("grid_size", "n_coarse_samples", "n_fine_samples")}
        nerstf = {**FIELD, **{name: getattr(self, name) for name in field}}
        return {**RENDERER, **sizes, "nerstf": nerstf, "void": dict(VOID), "volume": dict(BOX)}


@dataclasses.dataclass(frozen=True)
class TransmitterConfig:
    """The encoder of points and views to latents, and its decoder; published names."""

    decoder: DecoderConfig = DecoderConfig()
    width: int = 1024
    layers: int = 12
    heads: int = 8
    data_ctx: int = 1024
    """Rows that stand for the points, beside those that become the latents."""
    inner_batch_size: tuple[int, int] = (16384, 20)
    """Points and views that are read."""
    image_size: int = 256
    patch_size: int = 8
    max_depth: float = 9.0
    pointconv_hidden: tuple[int, ...] = (1024, 1024)
    pointconv_patch_size: int = 8
    pointconv_samples: int = 64
    pointconv_stride: int = 4
    pointconv_radius: float = 0.5

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "TransmitterConfig":
        """From a published dict."""
        published.require(cls, "name", data.get("name"), ("Transmitter",))
        fields = {**data["encoder"], "name": None, "decoder": DecoderConfig.from_json(data)}
        return published.read(cls, fields, {k: v for k, v in ENCODER.items() if k != "name"})

    def to_json(self) -> dict[str, Any]:
        """The complete published dict."""
        own = published.write(self, ENCODER)
        own.pop("decoder")
        own |= {"d_latent": self.decoder.d_latent, "params_proj": self.decoder.projection_json()}
        own |= {"latent_bottleneck": dict(BOTTLENECK)}
        return {"name": "Transmitter", "encoder": own, "renderer": self.decoder.renderer_json()}


TEXT300M = LatentConfig()
IMAGE300M = LatentConfig(PointEConfig(1024, 24, 8, 1024, 1024, 2048, grid_features=GRID, use_pos_emb=True))
DECODER = DecoderConfig()
TRANSMITTER = TransmitterConfig()
