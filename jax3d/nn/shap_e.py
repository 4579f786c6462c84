"""Shap-E's latents, the diffusion over them and the field that they stand for (arXiv:2305.02463; names as published).

An object is `rows` latents of d_latent numbers in [-1, 1], one for each row of the first matrices of its field:

    W_l[i] = gain * norm(M_{l,i} z_{l,i}) + bias + b_{l,i}         M, b, gain, bias are learnt, norm is LayerNorm's

The field is an MLP of octaves of the place, h_{l+1} = swish(W_l h_l + b_l), told the direction of sight in the middle
or zeros instead. Its biases and last matrices are all objects' own. It answers 12 numbers:

    tanh      signed distance, positive inside
    relu      density to sample a ray by, and density to render
    sigmoid   colour of the surface; colour to sample a ray by, and colour to render
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Shaped

from jax3d.math.encoding import octaves
from jax3d.nn.layers import LayerNorm
from jax3d.nn.point_e import NOTHING, PointTransformer, Told
from jax3d.nn.shap_e_config import DecoderConfig, LatentConfig

PLACE, DIRECTION = 15, 8  # octaves
OUTPUTS = 12
PARTS = 64  # of the features of a latent
zeros = nn.initializers.zeros


class LatentTransformer(nn.Module):
    """x [b, rows, c], t [b], what it is told -> [b, rows, 2 c]: x0, and where in its range the variance lies."""

    config: LatentConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"], t: Shaped[Array, " b"], told: Told = NOTHING) -> Float[Array, "b n d"]:
        return PointTransformer(self.config.inner, name="wrapped")(x, t, told)


class Readings(NamedTuple):
    """What a field says of a place."""

    distance: Array  # [...] in [-1, 1], positive inside
    density_coarse: Array  # [...] >= 0
    density: Array  # [...] >= 0
    color: Array  # [..., 3] in [0, 1], of the surface; sRGB
    color_coarse: Array  # [..., 3]
    color_fine: Array  # [..., 3]


class Affine(nn.Module):
    """The matrix and bias of a linear map from `width` features, for the calling module to use."""

    features: int
    kernel_init: nn.initializers.Initializer
    bias_init: nn.initializers.Initializer = zeros

    @nn.compact
    def __call__(self, width: int) -> tuple[Float[Array, "c d"], Float[Array, " d"]]:
        return (
            self.param("kernel", self.kernel_init, (width, self.features)),
            self.param("bias", self.bias_init, (self.features,)),
        )


class Projection(nn.Module):
    """Latents [b, rows, d] -> the rows [b, rows, c] of one matrix."""

    channels: int
    learned_scale: float

    @nn.compact
    def __call__(self, z: Float[Array, "b v d"]) -> Float[Array, "b v c"]:
        (_, rows, width), channels = z.shape, self.channels
        kernel, bias = Affine(rows * channels, nn.initializers.normal(width**-0.5), name="proj")(width)
        h = by_rows(z.astype(kernel.dtype), kernel.reshape(width, rows, channels)).astype(kernel.dtype)
        gain = nn.initializers.constant(self.learned_scale)
        return LayerNorm(scale_init=gain, name="norm")(h) + bias.reshape(rows, channels)


def by_rows(z: Float[Array, "b v d"], kernel: Float[Array, "d v c"]) -> Float[Array, "b v c"]:
    """Each row by a matrix of its own, some features at a time: XLA's CPU code makes a transposed copy of what it
    reads, which of the whole kernel is another 256 MiB and takes seven times as long."""
    parts = math.gcd(z.shape[-1], PARTS)

    def add(h: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        return h + jnp.einsum("bvd,dvc->bvc", *part, preferred_element_type=jnp.float32), None

    told = jnp.moveaxis(z.reshape(*z.shape[:-1], parts, -1), -2, 0)
    kernel = kernel.reshape(parts, -1, *kernel.shape[1:])
    start = jnp.zeros((len(z), *kernel.shape[2:]), jnp.float32)
    return jax.lax.scan(add, start, (told, kernel))[0]


class Projections(nn.Module):
    """Latents [b, rows, d] -> the first matrices [b, out, in] of the field."""

    config: DecoderConfig

    @nn.compact
    def __call__(self, latents: Float[Array, "b n d"]) -> tuple[Float[Array, "b o i"], ...]:
        c, matrices = self.config, []
        for i, z in enumerate(jnp.split(latents, c.n_meta_layers, axis=1)):
            name = f"projections.nerstf__mlp__{i}__weight"
            matrices.append(Projection(field_width(c, i), c.learned_scale, name=name)(z))
        return tuple(matrices)


class Field(nn.Module):
    """The MLP: places [b, m, 3] and directions or None -> [b, m, 12] before their activations."""

    config: DecoderConfig

    @nn.compact
    def __call__(
        self, matrices: tuple[Array, ...], places: Float[Array, "b m 3"], directions: Float[Array, "b m 3"] | None
    ) -> Float[Array, "b m 12"]:
        c, h = self.config, octaves(places, PLACE)
        for i in range(c.n_hidden_layers + 1):
            if i == c.insert_direction_at:
                seen = octaves(jnp.zeros_like(places) if directions is None else directions, DIRECTION)
                h = jnp.concatenate([h, jnp.zeros_like(seen) if directions is None else seen], -1)
            last = i == c.n_hidden_layers
            init, bias = nn.initializers.normal(0.25 * h.shape[-1] ** -0.5), first_guess if last else zeros
            kernel, bias = Affine(OUTPUTS if last else c.d_hidden, init, bias, name=f"mlp.{i}")(h.shape[-1])
            # The published state dict has the matrices of the first layers, too, where nothing reads them.
            h = bias + (jnp.einsum("bmi,boi->bmo", h, matrices[i]) if i < c.n_meta_layers else h @ kernel)
            h = h if last else jax.nn.silu(h)
        return h


def field_width(config: DecoderConfig, layer: int) -> int:
    """What a layer of the field reads."""
    return 3 * (2 * PLACE + 1) if layer == 0 else config.d_hidden


def first_guess(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Float[Array, " n"]:
    """The last bias of an untrained field: a little outside, and a little dense."""
    return jnp.zeros(shape, dtype).at[0].set(-0.1).at[1].set(0.1)


class Void(nn.Module):
    """What a ray sees that nothing stops."""

    @nn.compact
    def __call__(self) -> Float[Array, " 3"]:
        return self.param("background", zeros, (3,))


class Renderer(nn.Module):
    """The field and its background."""

    config: DecoderConfig

    def setup(self):
        self.nerstf = Field(self.config)
        self.void = Void()


class Decoder(nn.Module):
    """Latents to matrices, once for each object, and matrices to what a field says of places."""

    config: DecoderConfig

    def setup(self):
        self.params_proj = Projections(self.config)
        self.renderer = Renderer(self.config)

    def matrices(self, latents: Float[Array, "b n d"]) -> tuple[Float[Array, "b o i"], ...]:
        """The matrices of an object's field from its latents in [-1, 1]."""
        return self.params_proj(latents)

    def read(
        self,
        matrices: tuple[Array, ...],
        places: Float[Array, "b m 3"],
        directions: Float[Array, "b m 3"] | None = None,
    ) -> Readings:
        """What the field says of places in [-1, 1]^3, seen along unit directions or from nowhere."""
        h = self.renderer.nerstf(matrices, places, directions)
        density, color = jax.nn.relu(h[..., 1:3]), jax.nn.sigmoid(h[..., 3:])
        return Readings(jnp.tanh(h[..., 0]), density[..., 0], density[..., 1], *jnp.split(color, 3, -1))

    def background(self) -> Float[Array, " 3"]:
        """The colour of what no matter hides."""
        return self.renderer.void()

    def __call__(self, latents: Float[Array, "b n d"], places: Float[Array, "b m 3"]) -> tuple[Readings, Array]:
        return self.read(self.matrices(latents), places), self.background()
