"""Radiance fields: (point, direction) -> (density, colour).

`NeRFMLP` is the survey's network (NeRF, arXiv 2003.08934, fig. 7): Fourier features of the point through 8 layers of
256 with the features again before layer 4, relu density, and a colour that sees the direction. `Voxels` is the fast
field for distillation: one dense grid of (raw density, raw colour), trilinear; density = activation(raw + bias) and
colour = sigmoid(raw). The bias puts matter at the centre at first, so that there is something to look at:

    DreamFusion (arXiv 2209.14988, App. A.2)   tau(x) = 5 exp(-|x|^2 / (2 0.2^2)), with the exp activation
    Magic3D (threestudio's blob_magic3d)       tau(x) = 10 (1 - |x| / 0.5),        with softplus

The default is exp with 4 (1 - |x| / 0.5): Adam moves a raw number by at most its rate a step, and a thin leg is opaque
at a density of 50, which is 4 by exp and 50 by softplus.

The contract of a field, a linen module whose parameters live under "params":
    field.apply({"params": p}, points [..., 3], directions [..., 3] | None) -> (density [...], colour [..., 3])
    field.apply({"params": p}, points, directions, normals=True, method="sample") -> FieldSample
The normal is the unit vector of -grad density: by autodiff for an MLP; for voxels by interpolating central differences
of the raw density, which points the same way as the activation increases, so that no second derivative is needed.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.math import encoding, grid, linalg


class FieldSample(NamedTuple):
    """What a field says at some points."""

    density: Array  # [...] >= 0, per unit length
    color: Array  # [..., 3] in [0, 1]
    normal: Array | None = None  # [..., 3] unit, outward; zeros where the density is flat


@dataclasses.dataclass(frozen=True)
class Haze:
    """The same bias everywhere: for reconstruction, where pictures say what is where."""

    raw: float = -1.0

    def __call__(self, points: Float[Array, "... 3"]) -> Float[Array, "..."]:
        return jnp.full_like(points[..., 0], self.raw)


@dataclasses.dataclass(frozen=True)
class GaussianBlob:
    """DreamFusion's bias of the raw density: scale exp(-|x|^2 / (2 width^2))."""

    scale: float = 5.0
    """Raw density at the centre."""
    width: float = 0.2
    """Standard deviation in world units."""

    def __call__(self, points: Float[Array, "... 3"]) -> Float[Array, "..."]:
        return self.scale * jnp.exp(-0.5 * linalg.dot(points, points) / self.width**2)


@dataclasses.dataclass(frozen=True)
class ConeBlob:
    """Magic3D's bias of the raw density: scale (1 - |x| / radius), negative outside the radius."""

    scale: float = 10.0
    """Raw density at the centre."""
    radius: float = 0.5
    """Where the bias changes sign, world units."""

    def __call__(self, points: Float[Array, "... 3"]) -> Float[Array, "..."]:
        return self.scale * (1.0 - linalg.safe_norm(points) / self.radius)


@jax.custom_jvp
def trunc_exp(x: Array) -> Array:
    """exp(x), with x cut at 15 in value and derivative so that neither overflows nor vanishes."""
    return jnp.exp(jnp.minimum(x, 15.0))


@trunc_exp.defjvp
def _trunc_exp_jvp(primals, tangents):
    value = trunc_exp(primals[0])
    return value, value * tangents[0]


def _linear(features: int, name: str) -> nn.Dense:
    """A linear layer with He's uniform initialisation, which keeps the scale through relu layers."""
    return nn.Dense(features, kernel_init=nn.initializers.he_uniform(), name=name)


class NeRFMLP(nn.Module):
    """The survey's NeRF network."""

    width: int = 256
    layers: int = 8
    skip: int = 4
    """The (0-based) layer whose input has the encoded point appended."""
    point_frequencies: int = 10
    direction_frequencies: int = 4
    activation: Callable[[Array], Array] = nn.relu
    """Raw density -> density. The survey's relu stays dead once it is 0 everywhere; jax.nn.squareplus does not."""

    def setup(self):
        self.trunk = [_linear(self.width, f"pos_layers.{i}") for i in range(self.layers)]
        self.density_head = _linear(1, "density_head")
        self.feature_layer = _linear(self.width, "feature_layer")
        self.color_layers = [_linear(self.width // 2, "color_layers.0"), _linear(3, "color_layers.2")]

    def geometry(self, points: Float[Array, "... 3"]) -> tuple[Float[Array, "..."], Float[Array, "... w"]]:
        """Density [...] and the trunk's features [..., width]."""
        encoded = encoding.fourier(points, self.point_frequencies)
        h = encoded
        for i, layer in enumerate(self.trunk):
            h = nn.relu(layer(jnp.concatenate([h, encoded], axis=-1) if i == self.skip else h))
        return self.activation(self.density_head(h))[..., 0], h

    def radiance(self, features: Float[Array, "... w"], directions: Array | None) -> Float[Array, "... 3"]:
        """Colour seen along `directions`; None = the direction 0, the same from everywhere."""
        if directions is None:
            directions = jnp.zeros((*features.shape[:-1], 3), features.dtype)
        seen = encoding.fourier(directions, self.direction_frequencies)
        seen = jnp.broadcast_to(seen, (*features.shape[:-1], seen.shape[-1]))
        first, last = self.color_layers
        return nn.sigmoid(last(nn.relu(first(jnp.concatenate([self.feature_layer(features), seen], axis=-1)))))

    def __call__(
        self, points: Float[Array, "... 3"], directions: Float[Array, "... 3"] | None = None
    ) -> tuple[Float[Array, "..."], Float[Array, "... 3"]]:
        density, features = self.geometry(points)
        return density, self.radiance(features, directions)

    def sample(
        self, points: Float[Array, "... 3"], directions: Float[Array, "... 3"] | None = None, normals: bool = False
    ) -> FieldSample:
        """Density, colour and, if asked, the normal by one more backward pass through the trunk."""
        return sample_with_normals(self, points, directions) if normals else FieldSample(*self(points, directions))


def sample_with_normals(field: nn.Module, points: Float[Array, "... 3"], directions: Array | None) -> FieldSample:
    """For a field of two parts, geometry(points) -> (density, features) and radiance(features, directions)."""
    module, variables = field.unbind()
    density, pullback, features = jax.vjp(lambda x: module.apply(variables, x, method="geometry"), points, has_aux=True)
    normal = linalg.normalize(-pullback(jnp.ones_like(density))[0], eps=1e-6)
    return FieldSample(density, field.radiance(features, directions), normal)


class Voxels(nn.Module):
    """A dense trilinear grid of raw density and raw colour over [-1, 1]^3; colour does not depend on the direction."""

    resolution: int = 64
    activation: Callable[[Array], Array] = trunc_exp
    """Raw density -> density."""
    bias: Callable[[Array], Array] = ConeBlob(4.0)
    """Added to the raw density: points [..., 3] -> [...]."""
    noise: float = 0.01
    """Standard deviation of the initial grid."""

    def setup(self):
        shape = (self.resolution,) * 3 + (4,)
        self.grid = self.param("grid", nn.initializers.normal(self.noise), shape)

    def __call__(
        self, points: Float[Array, "... 3"], directions: Float[Array, "... 3"] | None = None
    ) -> tuple[Float[Array, "..."], Float[Array, "... 3"]]:
        raw = grid.interpolate(self.grid.astype(points.dtype), points)
        return self.activation(raw[..., 0] + self.bias(points)), nn.sigmoid(raw[..., 1:])

    def sample(
        self, points: Float[Array, "... 3"], directions: Float[Array, "... 3"] | None = None, normals: bool = False
    ) -> FieldSample:
        """Density, colour and, if asked, the normal."""
        density, color = self(points, directions)
        return FieldSample(density, color, self._normal(points) if normals else None)

    def _normal(self, points: Float[Array, "... 3"]) -> Float[Array, "... 3"]:
        raw = self.grid[..., 0] + self.bias(grid.nodes(self.resolution))
        gradient = grid.interpolate(grid.central_differences(raw).astype(points.dtype), points)
        return linalg.normalize(-gradient, eps=1e-6)


class Sky(nn.Module):
    """A learned background: a small network on the direction (spherical harmonics of degree 3) -> colour."""

    width: int = 16

    @nn.compact
    def __call__(self, directions: Float[Array, "... 3"]) -> Float[Array, "... 3"]:
        h = encoding.spherical_harmonics(directions, 3)
        for i in range(2):
            h = nn.relu(_linear(self.width, f"layers.{i}")(h))
        return nn.sigmoid(nn.Dense(3, kernel_init=nn.initializers.zeros, name="color")(h))
