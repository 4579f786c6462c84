"""Radiance fields that look a point up in tables and need only small networks behind them.

An encoder, a linen module from points [..., 3] in [-1, 1]^3 to features [..., f], is a hash grid (Instant NGP, arXiv
2201.05989), a triplane (EG3D, arXiv 2112.07945) or a factorised voxel grid (TensoRF, arXiv 2203.09517); math/hash_grid
and math/planes hold the mathematics. `EncodedField` puts Instant NGP's pair of networks (there, sec. 5.4) behind it:

    (raw, h) = MLP(features),   density = activation(raw + bias(x)),   colour = sigmoid(MLP(h, Y(direction))),

Y the spherical harmonics; without them (`degree=None`) the colour is the same from everywhere, which suits
distillation. Contract and biases are nn/field's. The normal, the unit vector of -grad density, is exact and a loss on
it has a gradient, but multilinear features kink at each cell's border, where it jumps; `HashGrid(smoothstep=True)` does
not jump. Coarse to fine: `HashGrid(progress=p)` holds back finer levels, and p may be traced, so a training step writes

    field.clone(encoder=field.encoder.clone(progress=step / steps)).apply({"params": params}, ...)
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.math import encoding, hash_grid, planes
from jax3d.math.hash_grid import HashLevels
from jax3d.nn.field import ConeBlob, FieldSample, sample_with_normals, trunc_exp


class HashGrid(nn.Module):
    """A multiresolution hash encoding: count * features numbers a point."""

    levels: HashLevels = HashLevels(log2_size=17, finest=1024)
    smoothstep: bool = False
    """Whether the slope is continuous across cells."""
    progress: Array | float | None = None
    """From 0, the first `first` levels alone, to 1, all of them; None = all."""
    first: int = 4

    @nn.compact
    def __call__(self, points: Float[Array, "... 3"]) -> Float[Array, "... f"]:
        levels = self.levels
        table = self.param("table", lambda key: jax.random.uniform(key, levels.shape, minval=-1e-4, maxval=1e-4))
        features = hash_grid.encode(table, points, levels, smoothstep=self.smoothstep)
        if self.progress is None:
            return features
        weights = hash_grid.coarse_to_fine(self.progress, levels.count, self.first)
        return features * jnp.repeat(weights, levels.features)


class Triplane(nn.Module):
    """Three feature planes: `channels` numbers a point, three times as many concatenated."""

    resolution: int = 128
    """Nodes along an axis."""
    channels: int = 16
    combine: planes.Combine = planes.add
    """planes.add, planes.multiply or planes.concatenate."""
    mean: float = 0.0
    """Of the initial values; 1 suits a product."""

    @nn.compact
    def __call__(self, points: Float[Array, "... 3"]) -> Float[Array, "... f"]:
        shape = (3, self.resolution, self.resolution, self.channels)
        grids = self.param("planes", lambda key: self.mean + 0.1 * jax.random.normal(key, shape))
        return planes.triplane(grids, points, self.combine)


class VM(nn.Module):
    """TensoRF's vector-matrix factorisation of a voxel grid: 3 * channels numbers a point."""

    resolution: int = 128
    """Nodes along an axis."""
    channels: int = 16
    """Components a plane."""

    @nn.compact
    def __call__(self, points: Float[Array, "... 3"]) -> Float[Array, "... f"]:
        noise, sides = nn.initializers.normal(0.1), (self.resolution,) * 2
        grids = self.param("planes", noise, (3, *sides, self.channels))
        lines = self.param("lines", noise, (3, self.resolution, self.channels))
        return planes.vector_matrix(grids, lines, points)


class EncodedField(nn.Module):
    """An encoder with a density network of one hidden layer and a colour network behind it."""

    encoder: nn.Module = HashGrid()
    """Points -> features."""
    width: int = 64
    features: int = 15
    """Numbers that the density network hands to the colour network."""
    color_layers: int = 1
    """Hidden layers of the colour network; Instant NGP, whose colours see directions, has 2."""
    degree: int | None = 3
    """Of the direction's spherical harmonics, 0 to 3; None = a colour without direction."""
    activation: Callable[[Array], Array] = trunc_exp
    """Raw density -> density."""
    bias: Callable[[Array], Array] = ConeBlob(4.0)
    """Added to the raw density: points [..., 3] -> [...]."""

    def setup(self):
        self.density_net = _network(1, self.width, 1 + self.features)
        self.color_net = _network(self.color_layers, self.width, 3)

    def geometry(self, points: Float[Array, "... 3"]) -> tuple[Float[Array, "..."], Float[Array, "... f"]]:
        """Density [...] and the numbers [..., features] for the colour."""
        raw = self.density_net(self.encoder(points))
        return self.activation(raw[..., 0] + self.bias(points)), raw[..., 1:]

    def radiance(self, features: Float[Array, "... f"], directions: Array | None) -> Float[Array, "... 3"]:
        """Colour seen along unit `directions`; None = the direction 0, the same from everywhere."""
        if self.degree is not None:
            directions = jnp.zeros((3,), features.dtype) if directions is None else directions
            seen = encoding.spherical_harmonics(directions, self.degree)
            seen = jnp.broadcast_to(seen, (*features.shape[:-1], seen.shape[-1]))
            features = jnp.concatenate([features, seen], axis=-1)
        return nn.sigmoid(self.color_net(features))

    def __call__(
        self, points: Float[Array, "... 3"], directions: Float[Array, "... 3"] | None = None
    ) -> tuple[Float[Array, "..."], Float[Array, "... 3"]]:
        density, features = self.geometry(points)
        return density, self.radiance(features, directions)

    def sample(
        self, points: Float[Array, "... 3"], directions: Float[Array, "... 3"] | None = None, normals: bool = False
    ) -> FieldSample:
        """Density, colour and, if asked, the normal by one backward pass to the points."""
        return sample_with_normals(self, points, directions) if normals else FieldSample(*self(points, directions))


def _network(hidden: int, width: int, features: int) -> nn.Sequential:
    """`hidden` relu layers of `width` and a linear one, with He's uniform initialisation."""
    layer = lambda size: nn.Dense(size, kernel_init=nn.initializers.he_uniform())  # noqa: E731
    return nn.Sequential([*(part for _ in range(hidden) for part in (layer(width), nn.relu)), layer(features)])
