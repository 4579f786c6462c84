"""Shapes as three planes of features, which one small network, shared by all shapes, reads.

    f(x)      = P_xy(x, y) + P_xz(x, z) + P_yz(y, z)         [c], bilinear (EG3D, arXiv 2112.07945; math/planes)
    (s, rgb)  = decoder(f(x))                                 s = (d - e) / T, d the signed distance, negative inside

As in NFD (arXiv 2211.16677) the planes P [3, r, r, c] of each shape are fitted by gradient descent to

    mean |clip(s) - clip((d - e) / T)| + mean_surface |rgb - colour|^2 + l2 mean P^2 + tv mean (dP)^2

(clip to [-1, 1], dP the differences of neighbours), first of some shapes together with the decoder, then, of all shapes
alike, with the decoder fixed and from the same start: the mean of those first planes. Weights for what a diffusion
model needs and the distances alone do not: of all planes that give the same f, such as those with g(x) added to P_xy
and taken from P_xz, l2 picks the smallest; tv makes neighbours alike, where nothing is to be told too.
The array to denoise is x0 = (P - mean) / std, for each channel of each plane over the data set: mean 0, deviation 1.

For rendering, the density is that of VolSDF (arXiv 2106.12052) with a logistic in place of Laplace's distribution:

    sigma(x) = sharpness / (1 + exp(sharpness (T s(x) + e)))

The planes hold the solid swollen by e, and its mesh is moved back along its normals: so thin parts stay whole
(codec/sdf_grid.py).
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Array, Float
from tqdm import tqdm

from jax3d.codec.sdf_grid import CRUMB
from jax3d.math import grid, isosurface, planes
from jax3d.nn.layers import Dense
from jax3d.types import Key, Mesh, Params

SLACK = 0.015  # how far outside the planes' solid its mesh is read off (codec/sdf_grid.py), world units
CHUNK = 4096  # vertices coloured at once: one compilation for meshes of all sizes
CLOSE, AROUND = 0.03, 0.15  # standard deviations of the distances from the surface, world units


class Decoder(nn.Module):
    """Features [..., c] -> signed distances over the truncation [...] and colours [..., 3] in [0, 1]."""

    width: int

    @nn.compact
    def __call__(self, features: Float[Array, "*lead c"]) -> tuple[Float[Array, "*lead"], Float[Array, "*lead 3"]]:
        h = jax.nn.silu(Dense(self.width, name="first")(features))
        h = jax.nn.silu(Dense(self.width, name="second")(h))
        raw = Dense(4, name="out")(h)
        return raw[..., 0], jax.nn.sigmoid(raw[..., 1:])


@dataclasses.dataclass(frozen=True)
class Triplanes:
    """A solid with colours in [-1, 1]^3 as an array [3, r, r, c] of mean 0 and deviation 1: planes xy, xz, yz."""

    resolution: int = 32
    """Nodes along a plane's edge."""
    channels: int = 8
    width: int = 64
    """Of the decoder's two hidden layers."""
    truncation: float = 0.2
    """Distances beyond this, in world units, are all the same."""
    swell: float = 0.02
    """e above, in world units."""
    learn: int = 128
    """Shapes that the decoder is learned on."""
    learn_steps: int = 600
    steps: int = 100
    """Of each shape's planes, once the decoder is known."""
    points: int = 1024
    """That a shape is compared at in a step."""
    block: int = 32
    """Shapes fitted at once."""
    rate: float = 0.03
    """Adam's for the planes."""
    decoder_rate: float = 3e-3
    small: float = 1e-3
    """Weight l2 of the planes' squares."""
    smooth: float = 1e-3
    """Weight tv of the squares of the planes' differences."""
    nodes: int = 64
    """Along an edge of the grid that a mesh is read from."""
    sharpness: float = 100.0
    """Density inside, per unit length; it falls off within about 1 / sharpness of the surface."""
    seed: int = 0

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(3, r, r, c)."""
        return 3, self.resolution, self.resolution, self.channels

    def encode(
        self, data: Mapping[str, np.ndarray], params: Params | None = None
    ) -> tuple[Params, Float[np.ndarray, "m 3 r r c"]]:
        """The arrays of `data/meshes` -> the decoder with the planes' statistics, and x0 [m, *shape] in float16.

        Uses `sdf`, and `points` with `colors`. With `params` given these stay as they are and the planes are fitted to
        them. Raises ValueError where the data's distances were clipped to less than the truncation.
        """
        if data["sdf"].max() < np.float32(self.truncation):
            raise ValueError(
                f"the data's distances must reach the truncation of {self.truncation:g}, but they end at "
                f"{data['sdf'].max():.3g}; make the data with truncation=None, or lower the codec's."
            )
        k_learn, k_fit = jax.random.split(jax.random.key(self.seed))
        known = params or self._learned(data, k_learn)
        fitted = np.empty((len(data["sdf"]), *self.shape), np.float32)
        for first in tqdm(range(0, len(fitted), self.block), "triplanes", unit="block"):
            # The last block repeats the last shape to be full.
            rows = np.minimum(np.arange(first, first + self.block), len(fitted) - 1)
            start = jnp.broadcast_to(known["start"], (self.block, *self.shape))
            key = jax.random.fold_in(k_fit, first)
            free = _descend(self, known["decoder"], start, _rows(data, rows), key, learning=False)
            fitted[rows] = free["planes"]
        if params is None:
            mean, std = (f(fitted, (0, 2, 3), keepdims=True)[0] for f in (np.mean, np.std))
            params = {**known, "mean": jnp.asarray(mean), "std": jnp.asarray(np.maximum(std, 1e-6))}
        return params, ((fitted - np.asarray(params["mean"])) / np.asarray(params["std"])).astype(np.float16)

    def draw(self, kept: Float[Array, "3 r r c"], key: Key) -> Float[Array, "3 r r c"]:
        """x0 of one kept example; nothing is left to chance."""
        return kept.astype(jnp.float32)

    def decode(self, params: Params, x0: Float[np.ndarray, "3 r r c"]) -> Mesh:
        """The closed surface s = SLACK / T, moved back (codec/sdf_grid.py), with colours and outward normals.

        ValueError where s does not change its sign.
        """
        params, x0 = _float32((params, x0))
        s = np.asarray(_distances(self, params, x0))
        if not s.min() < 0 < s.max():
            raise ValueError(
                f"a solid needs places inside (distance < 0) and outside (> 0), but those of these planes lie in "
                f"[{s.min():.3g}, {s.max():.3g}] truncations; train longer, or draw another sample."
            )
        mesh = isosurface.extract(-self.truncation * s, 1.0, threshold=-SLACK, keep=CRUMB)
        count = len(mesh.vertices)
        chunks = np.pad(mesh.vertices, ((0, -count % CHUNK), (0, 0))).reshape(-1, CHUNK, 3)
        colors = np.concatenate([_values(self, params, x0, chunk)[1] for chunk in chunks])[:count]
        normals = isosurface.node_normals(-s, mesh.vertices, 1.0)
        return mesh._replace(vertices=mesh.vertices - (self.swell + SLACK) * normals, colors=colors, normals=normals)

    def density_and_color(
        self, params: Params, x0: Float[Array, "3 r r c"], points: Float[Array, "... 3"]
    ) -> tuple[Float[Array, "..."], Float[Array, "... 3"]]:
        """What a volume renderer asks: sigma(x) per unit length and the colour, the same from all sides."""
        s, rgb = _values(self, *_float32((params, x0)), points)
        return self.sharpness * jax.nn.sigmoid(-self.sharpness * (self.truncation * s + self.swell)), rgb

    def _learned(self, data: Mapping[str, np.ndarray], key: Key) -> Params:
        """The decoder, and where the planes of all shapes start."""
        k_decoder, k_start, k_descend = jax.random.split(key, 3)
        count = min(self.learn, len(data["sdf"]))
        rows = np.linspace(0, len(data["sdf"]) - 1, count).round().astype(int)  # a folder is sorted: take of all of it
        decoder = Decoder(self.width).init(k_decoder, jnp.zeros((1, self.channels)))["params"]
        level = 0.3 * jax.random.normal(k_start, (3, 1, 1, self.channels))
        start = jnp.broadcast_to(level, (count, *self.shape))
        free = _descend(self, decoder, start, _rows(data, rows), k_descend, learning=True)
        return {"decoder": free["decoder"], "start": free["planes"].mean(0)}


def _float32(tree: Params) -> Params:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


def _rows(data: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, Array]:
    return {name: jnp.asarray(data[name][rows]) for name in ("sdf", "points", "colors")}


@partial(jax.jit, static_argnums=0)
def _values(codec: Triplanes, params: Params, x0: Array, points: Array) -> tuple[Array, Array]:
    """(s, rgb) of x0 at points [..., 3]."""
    return _read(codec, params["decoder"], params["mean"] + params["std"] * x0, points)


def _read(codec: Triplanes, decoder: Params, raw: Array, points: Array) -> tuple[Array, Array]:
    return Decoder(codec.width).apply({"params": decoder}, planes.triplane(raw, points))


@partial(jax.jit, static_argnums=0)
def _distances(codec: Triplanes, params: Params, x0: Array) -> Array:
    """s at the nodes of the grid, one plane of it at a time."""
    return jax.lax.map(lambda where: _values(codec, params, x0, where)[0], grid.nodes(codec.nodes))


class Targets(NamedTuple):
    """Points of a batch of shapes with what is known of them."""

    points: Array  # [m, n, 3]
    distances: Array  # [m, n] over the truncation, in [-1, 1]
    colors: Array  # [m, n, 3]
    colored: Array  # [n] 1 where the colours are known, else 0


def _targets(codec: Triplanes, data: Mapping[str, Array], count: int, key: Key) -> Targets:
    """Half of the points close to the surface, with its colours; a quarter around it, a quarter anywhere."""
    k_surface, k_offset, k_anywhere = jax.random.split(key, 3)
    shapes, known = data["points"].shape[:2]
    rows = jax.random.randint(k_surface, (shapes, count, 1), 0, known)
    surface, colors = (jnp.take_along_axis(data[name], rows, axis=1) for name in ("points", "colors"))
    share = jnp.arange(count) / count
    spread = jnp.where(share < 0.5, CLOSE, AROUND)[:, None]
    near = surface + spread * jax.random.normal(k_offset, surface.shape)
    anywhere = jax.random.uniform(k_anywhere, surface.shape, minval=-1.0, maxval=1.0)
    points = jnp.clip(jnp.where(share[:, None] < 0.75, near, anywhere), -1.0, 1.0)
    distances = jax.vmap(grid.interpolate)(data["sdf"][..., None], points)[..., 0]
    s = jnp.clip((distances - codec.swell) / codec.truncation, -1, 1)
    return Targets(points, s, colors, (share < 0.5).astype(jnp.float32))


def _loss(codec: Triplanes, decoder: Params, raw: Array, targets: Targets) -> Array:
    """The sum over shapes, so that a shape's gradient does not depend on how many are fitted at once."""
    s, rgb = jax.vmap(partial(_read, codec), in_axes=(None, 0, 0))(decoder, raw, targets.points)
    distance = jnp.abs(jnp.clip(s, -1, 1) - targets.distances).mean(1)
    color = jnp.square(rgb - targets.colors).sum(-1) @ targets.colored / targets.colored.sum()
    steps = [jnp.square(jnp.diff(raw, axis=axis)).mean((1, 2, 3, 4)) for axis in (2, 3)]
    size = jnp.square(raw).mean((1, 2, 3, 4))
    return jnp.sum(distance + color + codec.small * size + codec.smooth * sum(steps))


@partial(jax.jit, static_argnums=0, static_argnames="learning")
def _descend(codec: Triplanes, decoder: Params, start: Array, data: Mapping[str, Array], key: Key, *, learning: bool):
    """Planes [m, *shape] of m shapes and, if `learning`, the decoder by Adam, from `start` and `decoder`."""
    steps = codec.learn_steps if learning else codec.steps
    rates = {"planes": codec.rate, "decoder": codec.decoder_rate}
    free = {"planes": start} | ({"decoder": decoder} if learning else {})
    optimizer = optax.multi_transform(
        {name: optax.adam(optax.cosine_decay_schedule(rates[name], steps, 0.05), b2=0.99) for name in free},
        {name: name for name in free},
    )

    def step(carry, key: Key):
        free, state = carry
        targets = _targets(codec, data, codec.points, key)
        gradient = jax.grad(lambda free: _loss(codec, free.get("decoder", decoder), free["planes"], targets))(free)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(free, updates), state), None

    (free, _), _ = jax.lax.scan(step, (free, optimizer.init(free)), jax.random.split(key, steps))
    return free
