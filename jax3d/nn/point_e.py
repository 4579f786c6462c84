"""Point-E's networks (arXiv:2212.08751; point-e models/transformer.py, sdf.py; names as published).

PointTransformer  a set of points as tokens, behind tokens of what the network is told:

    h = [vector, time, grid, cloud, W x + positions],    y = W' ln_post(blocks(ln_pre h)) over the tokens of x

    vector  W sqrt(d) v of CLIP's unit vector v [d]        grid   W ln(g) of the rows of CLIP's last hidden states
    time    mlp of (cos, sin) of the time                  cloud  W (scale c + bias) of the points of a smaller cloud

Without positions, permuting the points permutes the answer. Told nothing means zeros in place of v, g and c.

PointSDF          signed distance of a place q to the surface of a cloud c, positive inside:

    z = blocks(W c),    s(q) = w ln_post(cross blocks(W' q, z))
"""

from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Shaped

from jax3d.nn.embedding import time_code
from jax3d.nn.layers import Dense, LayerNorm
from jax3d.nn.perceiver import MLP, Blocks, CrossBlocks
from jax3d.nn.point_e_config import PointEConfig, PointSDFConfig

zeros = nn.initializers.zeros


class Told(NamedTuple):
    """What a PointTransformer is told: those that its config names, None for the others."""

    vector: Array | None = None  # [b, d] unit vectors of CLIP
    grid: Array | None = None  # [b, m, d] CLIP's last hidden states of the patches, as they are
    cloud: Array | None = None  # [b, k, c] positions and colours of 255


NOTHING = Told()


class PointTransformer(nn.Module):
    """x [b, n, c], t [b], what it is told -> [b, n, 2 c]: a prediction, and where in its range the variance lies."""

    config: PointEConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"], t: Shaped[Array, " b"], told: Told = NOTHING) -> Float[Array, "b n d"]:
        c = self.config
        check_told(c, told)
        tokens = [MLP(c.width, name="time_embed")(time_code(t, c.width))[:, None]]
        if told.vector is not None:
            vector = told.vector.shape[-1] ** 0.5 * told.vector
            tokens = [Dense(c.width, name="clip_embed")(vector)[:, None], *tokens]
        if told.grid is not None:
            tokens.append(Dense(c.width, name="clip_embed.1")(LayerNorm(name="clip_embed.0")(told.grid)))
        if told.cloud is not None:
            tokens.append(Dense(c.width, name="cond_point_proj")(scaled(c, told.cloud)))
        h = Dense(c.width, name="input_proj")(x)
        if c.use_pos_emb:
            h = h + self.param("pos_emb", nn.initializers.normal(0.05), (c.n_ctx, c.width))
        h = jnp.concatenate([*(token.astype(h.dtype) for token in tokens), h], 1)
        h = Blocks(c.layers, c.heads, name="backbone")(LayerNorm(name="ln_pre")(h))
        h = LayerNorm(name="ln_post")(h)[:, -x.shape[1] :]
        return Dense(c.output_channels, kernel_init=zeros, name="output_proj")(h)


def nothing(config: PointEConfig, batch: int, patches: int = 256) -> Told:
    """Zeros in place of all that the network is told, as now and then in training and always in guidance."""
    return Told(
        vector=jnp.zeros((batch, config.vector_features)) if config.vector_features else None,
        grid=jnp.zeros((batch, patches, config.grid_features)) if config.grid_features else None,
        cloud=jnp.zeros((batch, config.cond_ctx, config.input_channels)) if config.cond_ctx else None,
    )


def check_told(config: PointEConfig, told: Told) -> None:
    """ValueError where the network is told something else than its config says."""
    wanted = (config.vector_features, config.grid_features, config.input_channels if config.cond_ctx else 0)
    for name, array, features in zip(Told._fields, told, wanted, strict=True):
        got = 0 if array is None else array.shape[-1]
        if got != features:
            raise ValueError(
                f"the network is told {name} of {got} features, but its config wants {features}; 0 means that there "
                "is none, and zeros of the right shape tell nothing"
            )


def scaled(config: PointEConfig, cloud: Float[Array, "b k c"]) -> Float[Array, "b k c"]:
    """The smaller cloud in the units of diffusion."""
    scale = 1.0 if config.channel_scales is None else jnp.array(config.channel_scales)
    bias = 0.0 if config.channel_biases is None else jnp.array(config.channel_biases)
    return cloud * scale + bias


class PointSDF(nn.Module):
    """cloud [b, n, 3] and places [b, m, 3] -> signed distances [b, m], positive inside."""

    config: PointSDFConfig

    def setup(self):
        c = self.config
        self.encoder_input_proj = Dense(c.width)
        self.encoder = Blocks(c.encoder_layers, c.encoder_heads)
        self.decoder_input_proj = Dense(c.width)
        self.decoder = CrossBlocks(c.decoder_layers, c.decoder_heads)
        self.ln_post = LayerNorm()
        self.output_proj = Dense(1)

    def encode(self, cloud: Float[Array, "b n 3"]) -> Float[Array, "b n c"]:
        """The cloud as latents, once for all places."""
        return self.encoder(self.encoder_input_proj(cloud))

    def decode(self, latents: Float[Array, "b n c"], places: Float[Array, "b m 3"]) -> Float[Array, "b m"]:
        """Each place by itself."""
        x = self.decoder(self.decoder_input_proj(places), latents)
        return self.output_proj(self.ln_post(x))[..., 0]

    def __call__(self, cloud: Float[Array, "b n 3"], places: Float[Array, "b m 3"]) -> Float[Array, "b m"]:
        return self.decode(self.encode(cloud), places)
