"""Shap-E from a prompt or a picture to files: latents, the textured mesh that they stand for, or its radiance field.

python sample.py shap_e --prompt "a red chair" --model FOLDER
"""

import dataclasses
import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from jax3d.asked import asked
from jax3d.asset import each
from jax3d.io.image import contact_sheet, write_image, write_video
from jax3d.io.mesh import save_mesh
from jax3d.io.weights import write_json, write_weights
from jax3d.math.axes import from_blender
from jax3d.math.camera import Camera, rays
from jax3d.math.orbit import turntable
from jax3d.math.pan import pan
from jax3d.nn.shap_e import Decoder
from jax3d.nn.shap_e_config import DecoderConfig
from jax3d.preview import picture, preview
from jax3d.prior import shap_e
from jax3d.prior.openai_denoiser import Run
from jax3d.prior.shap_e_folder import load
from jax3d.render.two_levels import draw as draw_rays
from jax3d.scene.bake import finished
from jax3d.scene.shap_e import distances, look, reading, surface
from jax3d.types import Mesh, Params

FRAMES, SIZE = 36, 192
"""Of a turntable."""
FIELD_FRAMES, FIELD_SIZE, RAYS = 16, 96, 2048
"""Of a turntable of the radiance field, whose rays are so many at a time."""
TOGETHER = 4  # shapes of a batch
LATENTS = "latents.safetensors"


@dataclasses.dataclass(frozen=True)
class ShapE:
    """What `sample.py shap_e` draws from, and how."""

    model: str = "tiny-shap-e"
    """The folder of the networks: a path, the name of a bundled model, or a Hub id."""
    clip: str | None = None
    """A CLIP to read prompts and pictures with, instead of the model's own."""
    text: Run = Run(guidance=15.0)
    """How latents are drawn that are told words, or nothing."""
    image: Run = Run(guidance=3.0)
    """How latents are drawn that are told a picture."""
    resolution: int = 128
    """Nodes along an edge of the grid of distances."""
    texture: int | None = 1024
    """Texels along an edge; None leaves the colours to the vertices of a mesh as fine as the grid."""
    stretched: bool = False
    """Put the surface where the published program does, which is up to 1.6 % nearer to the centre."""


def draw(
    config: ShapE, model: shap_e.ShapE, prompt: str | None, image: np.ndarray | None, *, count: int, seed: int
) -> Float[np.ndarray, "count n d"]:
    """Latents of `count` objects; the k-th depends on the seed, on k and on what is told alone."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), np.arange(count))
    found, together = [], min(TOGETHER, count)
    for begin in range(0, count, together):
        rows = np.minimum(np.arange(begin, begin + together), count - 1)
        run = config.text if image is None else config.image
        found.append(np.asarray(model.latents([prompt] * together, image, keys[rows], run)))
    return np.concatenate(found)[:count]


def mesh_of(
    config: DecoderConfig,
    params: Params,
    latents: Float[np.ndarray, "n d"],
    *,
    resolution: int,
    texture: int | None = None,
    stretched: bool = False,
) -> Mesh | None:
    """The surface of latents in our world, coloured; None, and a line on stderr, where they have none."""
    matrices = _matrices(config, params, jnp.asarray(latents, jnp.float32))
    try:
        solid = surface(np.asarray(_distances(config, params, matrices, resolution)), published=stretched)
    except ValueError as error:
        print(error, file=sys.stderr)
        return None
    mesh = finished(solid, Partial(painter(config), params, matrices), None, None, texture)
    return mesh._replace(vertices=from_blender(mesh.vertices), normals=from_blender(mesh.normals))


@functools.partial(jax.jit, static_argnums=0)
def _matrices(config: DecoderConfig, params: Params, latents: Array) -> tuple[Array, ...]:
    made = Decoder(config).apply({"params": params}, latents[None], method="matrices")
    return jax.tree.map(lambda matrix: matrix[0], made)


@functools.cache
def painter(config: DecoderConfig) -> Callable[..., Array]:
    """(parameters, matrices, places, normals) -> colours of a surface; one function a config, compiled once."""
    return lambda params, matrices, places, normals: reading(config, params, matrices)(places).color


@functools.partial(jax.jit, static_argnums=(0, 3))
def _distances(config: DecoderConfig, params: Params, matrices: tuple[Array, ...], size: int) -> Float[Array, "n n n"]:
    """At the nodes of a grid."""
    read = reading(config, params, matrices)
    return distances(lambda places: read(places).distance, size)


@functools.partial(jax.jit, static_argnums=(0, 4))
def field_picture(
    config: DecoderConfig, params: Params, latents: Float[Array, "n d"], camera: Camera, size: int
) -> Float[Array, "h w 3"]:
    """What a camera in Blender's axes sees of the radiance field, over white."""
    read = reading(config, params, _matrices(config, params, latents))
    background = Decoder(config).apply({"params": params}, method="background")
    sight = rays(camera, size, size)
    count = -(-(size**2) // RAYS) * RAYS
    rows = np.minimum(np.arange(count), size**2 - 1).reshape(-1, RAYS)
    origins, directions = (x.reshape(-1, 3)[rows] for x in (sight.origins, sight.directions))

    def some(block):
        key, origins, directions = block
        draws = draw_rays(key, RAYS, config.n_coarse_samples, config.n_fine_samples)
        seen = look(read, background, origins, directions, draws).fine
        return jnp.clip(seen.color + seen.transmittance[:, None], 0, 1)

    keys = jax.random.split(jax.random.key(0), len(rows))
    return jax.lax.map(some, (keys, origins, directions)).reshape(-1, 3)[: size**2].reshape(size, size, 3)


def write_shap_e(
    config: ShapE,
    prompt: str | None,
    image: Path | None,
    out: Path,
    *,
    count: int = 1,
    seed: int = 0,
    export: str = "mesh",
) -> None:
    """Draw objects and write latents.safetensors, mesh.glb (of several 0000.glb ...), preview.png, turntable.mp4 of the
    first, and metrics.json with the seconds of every part. ValueError, one sentence, for what can't be drawn.

    export: mesh, or nerf for pictures of the radiance field and no mesh.
    """
    seen = asked("Shap-E", ("mesh", "nerf"), prompt, image, count=count, export=export, nodes=config.resolution)
    clock = [time.time()]
    model = load(config.model, "text" if image is None else "image", config.clip)
    clock.append(time.time())
    latents = draw(config, model, prompt, seen, count=count, seed=seed)
    write_weights(out / LATENTS, {"latents": latents})
    clock.append(time.time())
    made = {"resolution": config.resolution, "texture": config.texture, "stretched": config.stretched}
    solids = [mesh_of(*model.decoder, z, **made) for z in latents] if export == "mesh" else []
    clock.append(time.time())
    for k, solid in enumerate(solids):
        if solid is not None:
            save_mesh(solid, out / ("mesh.glb" if count == 1 else f"{k:04d}.glb"))
    found = [solid for solid in solids if solid is not None]
    if export == "mesh" and not found:
        raise ValueError(f"no object has a surface; {out / LATENTS} holds the latents; try another --seed.")
    if found:
        around = np.stack([picture(found[0], camera, SIZE) for camera in each(turntable(FRAMES))])
    else:
        cameras = each(jax.tree.map(lambda leaf: leaf[:FIELD_FRAMES], pan(FIELD_SIZE, FIELD_FRAMES + 1)))
        around = np.stack([field_picture(*model.decoder, jnp.asarray(latents[0]), c, FIELD_SIZE) for c in cameras])
    sheet = contact_sheet(around[:: len(around) // 8][:8], 4)
    write_image(preview(found) if len(found) > 1 else sheet, out / "preview.png")
    write_video(around, out / "turntable.mp4", len(around) // 2)
    clock.append(time.time())
    seconds = dict(zip(("load", "sample", "mesh", "write"), np.diff(clock).round(2).tolist(), strict=True))
    figures: dict[str, Any] = {"prompt": prompt, "image": image and str(image), "count": count, "seed": seed}
    figures |= {"faces": [0 if solid is None else len(solid.faces) for solid in solids]}
    write_json(out / "metrics.json", figures | {"seconds": seconds, "device": jax.devices()[0].device_kind})


def describe(config: ShapE, image: bool) -> str:
    """What a run would draw from, without drawing."""
    model = load(config.model, "image" if image else "text", config.clip)
    sizes = {"denoiser": model.denoiser.params, "decoder": model.decoder[1]}
    lines = [f"{part}: {sum(leaf.size for leaf in jax.tree.leaves(params)):,}" for part, params in sizes.items()]
    return "\n".join([str(config), "parameters of", *lines])
