"""A Shap-E object as a scene: rays through its density, or the surface of its signed distance (arXiv:2305.02463).

The surface is where the distance, positive inside, is 0 on a grid of n^3 nodes over [-1, 1]^3. A border of -1 closes
it, and the published code stretches the grid with its border over the box, so that node i of n + 2 stands at

    2 i / (n + 1) - 1

although the field was read at 2 (i - 1) / (n - 1) - 1: surfaces are smaller than they should be, by up to 1.6 % with
128 nodes. `published=False` puts them where they were read. Colours are the field's at the vertices, sRGB.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jax3d.math import linalg
from jax3d.math.camera import Camera
from jax3d.math.marching_cubes import march
from jax3d.nn.shap_e import Decoder, Readings
from jax3d.nn.shap_e_config import DecoderConfig
from jax3d.render.basic_light import AMBIENT, DIFFUSE, LIGHT, to_display, to_linear
from jax3d.render.raster import interpolate, rasterise
from jax3d.render.two_levels import Draws, Levels, see
from jax3d.types import Mesh, Params

Read = Callable[[Array, Array | None], Readings]
"""(places [m, 3], directions [m, 3] or None) -> what a field says of them."""


def reading(config: DecoderConfig, params: Params, matrices: tuple[Array, ...]) -> Read:
    """How the field of one object is read, by its matrices [out, in]; places are in Blender's axes."""
    matrices = jax.tree.map(lambda matrix: matrix[None], matrices)

    def read(places: Array, directions: Array | None = None) -> Readings:
        towards = None if directions is None else directions[None]
        found = Decoder(config).apply({"params": params}, matrices, places[None], towards, method="read")
        return jax.tree.map(lambda x: x[0], found)

    return read


def look(
    read: Read, background: Float[Array, " 3"], origins: Array, directions: Array, draws: Draws, *, told: bool = False
) -> Levels:
    """Colours [r, 3] and more that rays [r, 3] see by the density, the background behind it.

    With `told` the field is told the direction of sight, as in its training; published pictures are made without.
    """

    def flat(places: Array) -> Readings:
        along = jnp.broadcast_to(directions[:, None], places.shape).reshape(-1, 3) if told else None
        found = read(places.reshape(-1, 3), along)
        return jax.tree.map(lambda x: x.reshape(*places.shape[:2], *x.shape[1:]), found)

    def coarse(places):
        found = flat(places)
        return found.density_coarse, found.color_coarse

    def fine(places):
        found = flat(places)
        return found.density, found.color_fine

    both = see(coarse, fine, origins, directions, draws)
    put = lambda seen: seen._replace(color=seen.color + seen.transmittance[:, None] * background)  # noqa: E731
    return both._replace(fine=put(both.fine), coarse=put(both.coarse))


def nodes(size: int) -> Float[np.ndarray, "n 3"]:
    """Where the field is read for its surface: the nodes of a grid over [-1, 1]^3, z fastest."""
    line = np.arange(size, dtype=np.float32) / np.float32(size - 1) * np.float32(2) - np.float32(1)
    return np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)


def distances(
    read: Callable[[Float[Array, "m 3"]], Float[Array, " m"]], size: int, *, block: int = 4096
) -> Float[Array, "n n n"]:
    """Signed distances at the nodes of a grid of `size`, `block` of them at a time; to be compiled."""
    line = jnp.asarray(nodes(size)[:size, 2])

    def some(first: Array) -> Array:
        index = jnp.unravel_index(first + jnp.arange(block), (size,) * 3)
        return read(jnp.stack([line[i] for i in index], -1))

    found = jax.lax.map(some, jnp.arange(0, size**3, block))
    return found.reshape(-1)[: size**3].reshape(size, size, size)


def surface(distance: Float[np.ndarray, "n n n"], *, published: bool = True) -> Mesh:
    """The surface of signed distances, positive inside, at the nodes; ValueError where there is none."""
    size = len(distance)
    padded = np.pad(np.asarray(distance, np.float32), 1, constant_values=-1.0)
    if not padded.max() > 0:
        raise ValueError(
            f"the field has no inside: its signed distances reach from {distance.min():.3g} to {distance.max():.3g}; "
            "sample other latents."
        )
    vertices, faces = march(padded)
    vertices = 2 * vertices / (size + 1) - 1 if published else 2 * (vertices - 1) / (size - 1) - 1
    return Mesh(vertices.astype(np.float32), faces)


def lit(mesh: Mesh, camera: Camera, size: int) -> tuple[Float[Array, "h w 3"], Float[Array, "h w"]]:
    """(colour premultiplied by opacity, opacity) of a mesh with sRGB colours under the published light."""
    vertices, faces, colors = (jnp.asarray(x) for x in (mesh.vertices, mesh.faces, mesh.colors))
    seen = rasterise(vertices, faces, camera, height=size, width=size)
    first, second, third = jnp.unstack(vertices[faces], axis=1)
    normals = linalg.normalize(jnp.cross(second - first, third - first))
    light = AMBIENT + DIFFUSE * jnp.abs(normals @ jnp.array(LIGHT))
    linear = interpolate(to_linear(colors), faces, seen) * light[jnp.maximum(seen.face, 0)][..., None]
    hit = seen.face >= 0
    return jnp.where(hit[..., None], to_display(linear), 0.0), hit.astype(jnp.float32)
