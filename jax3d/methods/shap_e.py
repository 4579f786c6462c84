"""Training Shap-E's encoder and fields (arXiv:2305.02463, sec. 4), in axes and units of its world.

    z = tanh(...) of the points and the first views,   z <- alpha z + sigma n for a tenth of the examples
    rendering  |C_c - C| + |C_f - C| + |T_c - T| + |T_f - T|    of rays of all views, C premultiplied, T transmittance
    distances  |f(q) - tanh(k d(q))| + |c(p) - C(p)|            at places q of known distance d, points p of it
    surface    |I(mesh) - C|^2 + |A(mesh) - 1 + T|^2            of a view of the mesh that the distances bound

As published the field learns to be rendered first, then to say distances and colours of a surface, and then all of it
together with pictures of the surface: three runs, by the weights of these losses. Published distances are those of
Point-E's regressor; ours are the data's.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from jax3d.diffusion.openai import SCHEDULES
from jax3d.math.camera import rays
from jax3d.math.known import known_distances
from jax3d.math.marching import march
from jax3d.math.muon import muon
from jax3d.math.outline import edges_of
from jax3d.math.pan import at_borders
from jax3d.math.random import split_each, uniform_each
from jax3d.math.tetrahedra import kuhn
from jax3d.nn.shap_e import PLACE, Decoder
from jax3d.nn.shap_e_config import TransmitterConfig
from jax3d.nn.shap_e_encoder import Encoder
from jax3d.prior.openai import decoder_of, encoder_of
from jax3d.render.antialias import Edges
from jax3d.render.basic_light import basic
from jax3d.render.surface import render_mesh
from jax3d.render.two_levels import draw
from jax3d.scene.shap_e import Read, look, reading
from jax3d.types import Key, Params, Task

SLOW = 8.0
"""Faster octaves than so many radians a unit begin small."""
EMPTY = 0.15
"""Chance of a pixel that shows nothing, against one that shows something."""


@dataclasses.dataclass(frozen=True)
class Autoencoding:
    """Trains a transmitter."""

    network: TransmitterConfig
    rendering: float = 1.0
    """Weight of what rays see."""
    distances: float = 1.0
    """Weight of distances and colours at known places."""
    surface: float = 0.0
    """Weight of a picture of the surface."""
    steepness: float = 6.0
    """k above: how sharp the distances are at the surface."""
    rays: int = 64
    """Of an example."""
    places: int = 512
    """Of an example; half as many points of its surface say colours."""
    reach: float = 0.04
    """Farthest way of a place along a normal."""
    cells: int = 24
    """Cubes along an edge of the grid on which the pictured surface is found."""
    noisy: float = 0.1
    """Share of examples whose latents are noised."""
    batch_size: int = 8
    learning_rate: float = 4e-3
    warmup: int = 200
    """Steps of the rate's rise, at most half of all."""

    def init(self, key: Key) -> Params:
        """A transmitter's initial weights; what the fastest octaves say counts little at first."""
        c = self.network
        k_encoder, k_decoder = jax.random.split(key)
        patch = (1, 1, c.patch_size, c.patch_size)
        seen = jnp.zeros((*patch, 3)), jnp.zeros((1, 1, 3)), jnp.zeros((*patch, 3)), jnp.zeros(patch, bool)
        encoder = Encoder(c).init(k_encoder, jnp.zeros((1, c.data_ctx, 6)), *seen)["params"]
        latents, place = jnp.zeros((1, c.decoder.rows, c.decoder.d_latent)), jnp.zeros((1, 1, 3))
        decoder = Decoder(c.decoder).init(k_decoder, latents, place)["params"]
        first = decoder["params_proj"]["projections.nerstf__mlp__0__weight"]
        first["norm"]["scale"] = first["norm"]["scale"] * slow()
        return {
            "encoder": encoder | {"params_proj": decoder["params_proj"]},
            "renderer": decoder["renderer"],
        }

    def task(self, batches: Callable[[int], dict[str, Any]], steps: int, start: Params | None = None) -> Task:
        """A task of so many steps. Batches hold of each shape `points`, `colors`, `normals` [b, m, 3], `sdf`
        [b, r, r, r], negative inside, `rows` [b, data_ctx] of points that lie far apart, and its views as in
        `data/meshes/views`, all in Blender's axes. It begins with `start` or random weights.
        """
        rate = optax.warmup_cosine_decay_schedule(0.0, self.learning_rate, min(self.warmup, steps // 2), steps)
        init = self.init if start is None else lambda key: start
        frozen = jax.device_put(kuhn(self.cells)) if self.surface else ()
        return Task(init, self._loss, muon(rate, weight_decay=0.01), self.batch_size, frozen=frozen, batches=batches)

    def _loss(self, params: Params, grid: Params, batch: Mapping[str, Array], keys: Array, step: Array):
        k_points, k_noise, k_rays, k_places, k_view = split_each(keys, 5)
        whole = lambda array: array.astype(jnp.float32) if array.dtype == jnp.float16 else array  # noqa: E731
        batch = {name: whole(array) for name, array in batch.items()}
        latents = self.noised(encode(self.network, params, batch, k_points), k_noise)
        config, decoder = self.network.decoder, decoder_of(params)
        matrices = Decoder(config).apply({"params": decoder}, latents, method="matrices")
        background = Decoder(config).apply({"params": decoder}, method="background")

        def rendered(matrices, example, key):
            return self.seen_by_rays(reading(config, decoder, matrices), background, example, key)

        def measured(matrices, example, key):
            return self.said_of_places(reading(config, decoder, matrices), example, key)

        def pictured(of):
            matrices, example, key = of
            return self.seen_of_surface(reading(config, decoder, matrices), grid, example, key)

        figures = jax.vmap(rendered)(matrices, batch, k_rays) if self.rendering else {}
        figures |= jax.vmap(measured)(matrices, batch, k_places) if self.distances else {}
        figures |= jax.lax.map(pictured, (matrices, batch, k_view)) if self.surface else {}
        figures = jax.tree.map(jnp.mean, figures)
        weights = {name: self.rendering for name in ("color", "through")}
        weights |= {name: self.distances for name in ("distance", "paint")} | {"picture": self.surface}
        return sum(weight * figures[name] for name, weight in weights.items() if weight), figures

    def noised(self, latents: Float[Array, "b n d"], keys: Array) -> Float[Array, "b n d"]:
        """Latents as the published bottleneck leaves them in training."""
        k_which, k_time, k_noise = split_each(keys, 3)
        schedule = SCHEDULES["inv_parabola"](1024, power=5.0)
        time = jax.vmap(lambda key: jax.random.randint(key, (), 0, 1024))(k_time)
        sigma = jnp.asarray(schedule.sigmas, jnp.float32)[time]
        sigma = jnp.where(uniform_each(k_which) < self.noisy, sigma, 0.0)[:, None, None]
        noise = jax.vmap(lambda key: jax.random.normal(key, latents.shape[1:]))(k_noise)
        return (latents + sigma * noise) / jnp.sqrt(1 + sigma**2)

    def seen_by_rays(self, read: Read, background: Array, example: Mapping[str, Array], key: Key) -> dict[str, Array]:
        """Errors of the colours and opacities of rays, both levels added."""
        k_pixel, k_draw = jax.random.split(key)
        size = example["rgba"].shape[1]
        rgba = example["rgba"].reshape(-1, 4).astype(jnp.float32) / 255
        chance = jnp.where(rgba[:, 3] > 0, 1.0, EMPTY)
        pixel = jax.random.choice(k_pixel, len(rgba), (self.rays,), p=chance / chance.sum())
        sight = rays(at_borders(example["poses"], size), size, size)
        origins, directions = (x.reshape(-1, 3)[pixel] for x in (sight.origins, sight.directions))
        c = self.network.decoder
        draws = draw(k_draw, self.rays, c.n_coarse_samples, c.n_fine_samples)
        both, wanted = look(read, background, origins, directions, draws), rgba[pixel]
        color = sum(jnp.mean(jnp.abs(seen.color - wanted[:, :3])) for seen in (both.coarse, both.fine))
        through = sum(jnp.mean(jnp.abs(1 - seen.transmittance - wanted[:, 3])) for seen in (both.coarse, both.fine))
        return {"color": color, "through": through}

    def said_of_places(self, read: Read, example: Mapping[str, Array], key: Key) -> dict[str, Array]:
        """Errors of distances and of the surface's colours, and the share of places on the right side of it."""
        k_place, k_point = jax.random.split(key)
        points, normals, sdf = (example[name] for name in ("points", "normals", "sdf"))
        places, depth = known_distances(points, normals, sdf, k_place, count=self.places, reach=self.reach)
        rows = jax.random.randint(k_point, (self.places // 2,), 0, len(points))
        found = read(jnp.concatenate([places, points[rows]]), None)
        said = found.distance[: self.places]
        return {
            "distance": jnp.mean(jnp.abs(said - jnp.tanh(-self.steepness * depth))),
            "paint": jnp.mean(jnp.abs(found.color[self.places :] - example["colors"][rows])),
            "right_side": jnp.mean((said > 0) == (depth < 0)),
        }

    def seen_of_surface(self, read: Read, grid: Params, example: Mapping[str, Array], key: Key) -> dict[str, Array]:
        """Squared error of a picture of the surface from one of the views from anywhere."""
        size, first = example["rgba"].shape[1], self.network.inner_batch_size[1]
        view = jax.random.randint(key, (), first, len(example["rgba"]))
        wanted = example["rgba"][view].astype(jnp.float32) / 255
        room = 11 * self.cells**2  # what a ball in the cube needs (scene/dmtet)
        distance = -read(grid.vertices, None).distance
        vertices, faces, *_ = march(grid, distance, grid.vertices, vertex_capacity=room, face_capacity=2 * room)
        outline = Edges(*edges_of(faces, 3 * len(faces) // 2)[:2])
        camera = at_borders(example["poses"][view], size)
        seen = render_mesh(vertices, faces, outline, camera, lambda at: read(at, None).color, height=size, width=size)
        there = jnp.maximum(seen.opacity, 1e-3)[..., None]
        color = basic(seen.rgb / there, seen.normal / there) * seen.opacity[..., None]
        apart = jnp.concatenate([color - wanted[..., :3], (seen.opacity - wanted[..., 3])[..., None]], -1)
        return {"picture": jnp.mean(jnp.sum(apart**2, -1))}


def encode(
    config: TransmitterConfig, params: Params, shown: Mapping[str, Array], keys: Array
) -> Float[Array, "b rows d"]:
    """Latents of shapes by their `points`, `colors` [b, m, 3], `rows` [b, data_ctx] and views [b, v, ...], of which the
    encoder sees the first; keys [b] choose the other points.
    """
    count, seen = config.inner_batch_size
    size = shown["rgba"].shape[2]

    def chosen(points, colors, rows, key):
        more = jax.random.choice(key, len(points), (count - len(rows),), replace=False)
        order = jnp.concatenate([rows, more])
        return jnp.concatenate([points, colors], -1)[order]

    points = jax.vmap(chosen)(shown["points"], shown["colors"], shown["rows"], keys)
    rgba = shown["rgba"][:, :seen].astype(jnp.float32) / 255
    sight = rays(at_borders(shown["poses"][:, :seen], size), size, size)
    places = sight.origins + shown["depth"][:, :seen, ..., None] * sight.directions
    origins, mask = shown["poses"][:, :seen, :3, 3], rgba[..., 3] >= 0.999
    return Encoder(config).apply({"params": encoder_of(params)}, points, 2 * rgba[..., :3] - 1, origins, places, mask)


def slow() -> Float[np.ndarray, " f"]:
    """How much the features of a place count at first: those of octaves up to SLOW whole, faster ones less and less."""
    wave = np.minimum(1.0, SLOW / 2.0 ** np.arange(PLACE)).repeat(3)
    return np.concatenate([np.ones(3), wave, wave]).astype(np.float32)
