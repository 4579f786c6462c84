"""A scene of 3D Gaussians in arrays of fixed size (Kerbl et al., arXiv 2308.04079), of which some are alive.

    positions  [n, 3]     world
    scales     [n, 3]     logarithms of the deviations along the own axes
    rotations  [n, 4]     w, x, y, z of any length
    opacities  [n]        before the sigmoid
    base       [n, 1, 3]  harmonic of degree 0 of the colour
    rest       [n, k, 3]  those above, k = 3, 8 or 15; not there for degree 0
    alive      [n]        1 or 0; what is not alive is not seen, and its place is free
    pull       [n, 2]     lengths of the gradients on the screen, summed up, and of how many steps
    age        [n]        steps since the place was filled

The last three train otherwise than the others: see `scene/growth`.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.spatial import cKDTree

from jax3d.math.camera import Camera, each
from jax3d.math.encoding import Y_00
from jax3d.render.splat import draw
from jax3d.scene.gaussian_surface import surface
from jax3d.types import Key, Mesh, Params, Points, Render, Splats


@dataclasses.dataclass(frozen=True)
class Gaussians:
    """Gaussians in [-1, 1]^3."""

    count: int = 4096
    """That `init` begins with, spread over a ball."""
    capacity: int = 16384
    """That there may ever be."""
    degree: int = 0
    """Of the harmonics of the colours, 0 to 3."""
    radius: float = 0.5
    """Of the ball."""
    opacity: float = 0.1
    """To begin with."""
    pairs: int | None = None
    """Room for pairs of a Gaussian and a tile of the picture (render/splat); None chooses."""

    def __post_init__(self):
        if not 1 <= self.count <= self.capacity or not 0 <= self.degree <= 3:
            raise ValueError(
                f"there are 1 to `capacity` Gaussians and degrees 0 to 3, got {self.count} of {self.capacity} and "
                f"degree {self.degree}; raise the capacity or lower the count."
            )

    def init(self, key: Key) -> Params:
        """Grey ones, spread evenly over the ball."""
        k_way, k_radius = jax.random.split(key)
        way = jax.random.normal(k_way, (self.count, 3))
        way = way / jnp.linalg.norm(way, axis=1, keepdims=True)
        positions = self.radius * way * jax.random.uniform(k_radius, (self.count, 1)) ** (1 / 3)
        # The mean distance to the nearest of n points in a ball: Gamma(4/3) times the radius of its n-th part.
        spacing = 0.893 * self.radius / self.count ** (1 / 3)
        return self._params(positions, jnp.full(self.count, spacing), jnp.full((self.count, 3), 0.5))

    def begin(self, cloud: Points) -> Params:
        """One at each point of a cloud, as wide as its three nearest neighbours are far, in the cloud's colours.

        ValueError for a cloud that is larger than `capacity`, or of less than four points.
        """
        if not 4 <= len(cloud.positions) <= self.capacity:
            raise ValueError(
                f"a cloud of {len(cloud.positions)} points becomes Gaussians only from 4 to the capacity of "
                f"{self.capacity}; raise the capacity, or thin the cloud out."
            )
        near = cKDTree(cloud.positions).query(cloud.positions, 4)[0][:, 1:]
        colors = np.full_like(cloud.positions, 0.5) if cloud.colors is None else cloud.colors
        arrays = cloud.positions, np.maximum(near.mean(axis=1), 1e-4), colors
        return self._params(*(jnp.asarray(array, jnp.float32) for array in arrays))

    def _params(self, positions: Array, spacing: Array, colors: Array) -> Params:
        count, free = len(positions), self.capacity - len(positions)
        turn = jnp.zeros((count, 4)).at[:, 0].set(1)
        arrays = {
            "positions": positions,
            "scales": jnp.repeat(jnp.log(spacing)[:, None], 3, axis=1),
            "rotations": turn,
            "opacities": jnp.full(count, math.log(self.opacity / (1 - self.opacity))),
            "base": ((colors - 0.5) / Y_00)[:, None],
            "alive": jnp.ones(count),
            "pull": jnp.zeros((count, 2)),
            "age": jnp.zeros(count),
        }
        if self.degree:
            arrays["rest"] = jnp.zeros((count, (self.degree + 1) ** 2 - 1, 3))
        return {name: jnp.pad(leaf, ((0, free), *((0, 0),) * (leaf.ndim - 1))) for name, leaf in arrays.items()}

    def splats(self, params: Params) -> Splats:
        """The Gaussians as they are drawn; those that are not alive have the opacity 0."""
        opacities = params["alive"] * jax.nn.sigmoid(params["opacities"])
        harmonics = jnp.concatenate([params[name] for name in ("base", "rest") if name in params], axis=1)
        return Splats(params["positions"], jnp.exp(params["scales"]), params["rotations"], opacities, harmonics)

    def render(
        self,
        params: Params,
        camera: Camera,
        key: Key | None = None,
        *,
        height: int,
        width: int,
    ) -> Render:
        """What one camera or a batch of cameras sees; nothing is random, so that the key counts for nothing.

        extras: `demand`, the room wanted for pairs over the room there was.
        """
        splats = self.splats(params)
        still = params["pull"] - jax.lax.stop_gradient(params["pull"])  # 0, with a gradient: that on the screen

        def look(camera: Camera) -> Render:
            return draw(splats, camera, height=height, width=width, pairs=self.pairs, shift=still)

        out = each(look, camera)
        return out.replace(extras={"demand": {"pairs": jnp.max(out.extras["demand"])}})

    def describe(self, params: Params) -> str:
        """How many there are, for an error message."""
        return f"{int(np.sum(np.asarray(params['alive'])))} of {self.capacity} Gaussians"

    def export_splats(self, params: Params) -> Splats:
        """Those that are alive, on the host; ValueError where there are none."""
        alive = np.asarray(params["alive"]) > 0
        if not alive.any():
            raise ValueError("no Gaussian is alive; train with a lower least opacity.")
        splats = Splats(*(np.asarray(leaf)[alive] for leaf in self.splats(params)))
        length = np.linalg.norm(splats.rotations, axis=1, keepdims=True)
        return splats._replace(rotations=splats.rotations / np.maximum(length, 1e-12))

    def export(
        self, params: Params, *, resolution: int = 128, max_faces: int | None = None, texture: int | None = None
    ) -> Mesh:
        """The surface of their density, in the colours that cameras see; as NeRF.export.

        ValueError where there is none.
        """
        return surface(self.export_splats(params), resolution, max_faces, texture)
