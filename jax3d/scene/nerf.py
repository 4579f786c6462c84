"""A radiance field as a scene: init, render, export.

The parameters are {"field": ...} and what else the scene has of {"sky": ..., "proposer": ..., "occupancy": ...}.
Rendering is over no background (types.Render); `backdrop` gives the learned one, and render/shade.composite puts the
two together.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from jax3d.math import camera as cameras
from jax3d.math import isosurface, linalg, quadrature
from jax3d.math.camera import Camera, Rays
from jax3d.math.contract import contract
from jax3d.nn.field import FieldSample, Voxels
from jax3d.render import volume
from jax3d.render.packed import Occupancy, render_packed, render_some
from jax3d.render.shade import Light
from jax3d.scene.bake import finished
from jax3d.types import Key, Mesh, Params, Render


@dataclasses.dataclass(frozen=True)
class NeRF:
    """A field inside a region of the world, and how it is sampled."""

    field: nn.Module = Voxels()
    """Points and directions -> density and colour (the contract is in nn/field)."""
    samples: int = 48
    """Samples a ray."""
    proposals: int = 0
    """If > 0, so many equidistant samples a ray place the others where the matter is."""
    proposer: nn.Module | None = None
    """A field of its own that places the samples instead: NeRF's coarse network, or a small proposal network."""
    occupancy: Occupancy | None = None
    """If there, samples go where this grid says that matter is, and samples, proposals and region count for nothing."""
    region: volume.Region = volume.Box()
    """Where matter can be: ray -> (near, far)."""
    spacing: volume.Spacing = quadrature.evenly
    """How samples lie between near and far."""
    unbounded: bool = False
    """All of space, contracted into the field's cube, instead of the cube itself."""
    half: float = 1.0
    """Half side of the cube that is exported, world units."""
    sky: nn.Module | None = None
    """A learned background: directions -> colour."""
    chunk: int = 16384
    """Rays rendered at a time: bounds the memory."""

    def init(self, key: Key) -> Params:
        """Fresh parameters."""
        k_field, k_sky, k_proposer = jax.random.split(key, 3)
        somewhere = jnp.zeros((1, 3))
        params = {"field": self.field.init(k_field, somewhere, somewhere)["params"]}
        if self.sky is not None:
            params["sky"] = self.sky.init(k_sky, somewhere)["params"]
        if self.proposer is not None:
            params["proposer"] = self.proposer.init(k_proposer, somewhere, somewhere)["params"]
        if self.occupancy is not None:
            params["occupancy"] = self.occupancy.init()
        return params

    def query(
        self, params: Params, points: Float[Array, "... 3"], directions: Array | None = None, *, normals: bool = False
    ) -> FieldSample:
        """What the field says at some points."""
        return self._ask(self.field, params["field"], points, directions, normals)

    def _ask(self, field: nn.Module, params: Params, points: Array, directions: Array | None, normals: bool):
        ask = lambda x: field.apply({"params": params}, x, directions, normals=normals, method="sample")  # noqa: E731
        if not self.unbounded:
            return ask(points)
        inside, pull = jax.vjp(contract, points)
        seen = ask(inside)
        return seen if not normals else seen._replace(normal=linalg.normalize(pull(seen.normal)[0], eps=1e-6))

    def render(
        self,
        params: Params,
        camera: Camera,
        key: Key | None,
        *,
        height: int,
        width: int,
        light: Light | None = None,
        normals: bool = False,
    ) -> Render:
        """What one camera or a batch of cameras [...] sees: leaves [..., height, width, ...].

        `key` jitters the samples: one key, or one a camera [...] (then an image depends on its own key alone); None =
        the middles of the bins. `light` (leaves [...]) shades, and like `normals` makes the field's normals available.
        """
        rays = cameras.rays(camera, height, width)
        batch = camera.focal.shape[:-1]
        if light is not None:
            light = jax.tree.map(lambda leaf: _per_pixel(leaf, len(batch), height, width), light)
        keys = None if key is None else _ray_keys(key, batch, height, width)
        return self.trace(params, rays, keys, light=light, normals=normals)

    def trace(
        self, params: Params, rays: Rays, keys: Array | None, *, light: Light | None = None, normals: bool = False
    ) -> Render:
        """What rays [...] see, one key a ray; `light` has their shape in its leaves.

        With an occupancy grid it can't be differentiated (a loop of as many rounds as it takes): see `trace_some`.
        """
        normals = normals or light is not None
        query = lambda points, directions: self.query(params, points, directions, normals=normals)  # noqa: E731
        if self.occupancy is not None:
            occupied = self.occupancy.occupied(params["occupancy"])
            return render_packed(query, rays, occupied, self.occupancy, keys=keys, light=light, chunk=self.chunk)
        proposer = None
        if self.proposer is not None:
            proposer = lambda x, d: self._ask(self.proposer, params["proposer"], x, d, False)  # noqa: E731
        return volume.render_rays(
            query,
            rays,
            samples=self.samples,
            region=self.region,
            spacing=self.spacing,
            proposals=self.proposals,
            proposer=proposer,
            keys=keys,
            light=light,
            chunk=self.chunk,
        )

    def trace_some(self, params: Params, rays: Rays, keys: Array | None) -> tuple[Render, Array, Array]:
        """For training: what rays [n] see, which of them there was room for, and samples wanted over the budget."""
        if self.occupancy is None:
            return self.trace(params, rays, keys), jnp.ones(rays.origins.shape[0], bool), jnp.zeros(())
        query = lambda points, directions: self.query(params, points, directions)  # noqa: E731
        occupied = self.occupancy.occupied(params["occupancy"])
        return render_some(query, rays, occupied, self.occupancy, keys=keys)

    def refreshed(self, params: Params, key: Key, known: Float[Array, ""]) -> Params:
        """The parameters with the occupancy grid updated; known 0 forgets what it held, 1 keeps its decayed maximum."""
        return params | {"occupancy": _refreshed(self, params, key, known)}

    def backdrop(self, params: Params, camera: Camera, *, height: int, width: int) -> Float[Array, "... h w 3"]:
        """The learned background behind each pixel."""
        if self.sky is None:
            raise ValueError("this scene has no learned background; build it with NeRF(sky=Sky()).")
        return self.sky.apply({"params": params["sky"]}, cameras.rays(camera, height, width).directions)

    def density(self, params: Params) -> Partial:
        """points [..., 3] -> densities [...]; the parameters are its arguments where it is compiled."""
        return Partial(self._density, params)

    def _density(self, params: Params, points: Float[Array, "... 3"]) -> Float[Array, "..."]:
        return self.query(params, points).density

    def density_grid(self, params: Params, resolution: int) -> Float[np.ndarray, "r r r"]:
        """The density at the nodes of the exported cube, on the host."""
        return isosurface.evaluate(self.density(params), resolution, self.half)

    def describe(self, params: Params) -> str:
        """The range of the density, for an error message."""
        density = self.density_grid(params, 32)
        return f"density {density.min():.2g} to {density.max():.2g}"

    def export(
        self,
        params: Params,
        *,
        resolution: int = 128,
        threshold: float | None = None,
        keep: float = 0.02,
        max_faces: int | None = None,
        texture: int | None = None,
    ) -> Mesh:
        """The surface density = threshold (None = chosen from the distribution) with colours and normals.

        Parts with fewer than `keep` of all faces are dropped, and the rest is decimated to `max_faces` triangles. With
        `texture` texels along an edge it has a texture and a normal map too, and 20,000 triangles at most where
        `max_faces` is None. A direction-dependent colour is taken as seen head on.
        """
        density = self.density_grid(params, resolution)
        mesh = isosurface.extract(density, self.half, threshold=threshold, keep=keep)
        normals = lambda points: isosurface.node_normals(density, points, self.half)  # noqa: E731
        return finished(mesh, lambda x, n: self.query(params, x, -n).color, normals, max_faces, texture)


@functools.partial(jax.jit, static_argnums=0)
def _refreshed(scene: NeRF, params: Params, key: Key, known: Array) -> Array:
    plan = scene.occupancy
    return plan.update(params["occupancy"], scene.density(params), key, known * plan.decay)


def _ray_keys(key: Key, batch: tuple[int, ...], height: int, width: int) -> Array:
    """One key a ray [*batch, height, width]."""
    if key.shape != batch:
        if key.shape != ():
            raise ValueError(f"render takes one key or one a camera, {batch}, got keys of shape {key.shape}.")
        key = jax.random.split(key, batch)
    split = lambda k: jax.random.split(k, (height, width))  # noqa: E731
    for _ in batch:
        split = jax.vmap(split)
    return split(key)


def _per_pixel(leaf: Array, batch_axes: int, height: int, width: int) -> Array:
    """[*batch, ...] -> [*batch, height, width, ...]."""
    leaf = jnp.expand_dims(leaf, (batch_axes, batch_axes + 1))
    return jnp.broadcast_to(leaf, (*leaf.shape[:batch_axes], height, width, *leaf.shape[batch_axes + 2 :]))
