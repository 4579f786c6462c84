"""A person's own meshes as Shap-E's latents, and what the fields that these stand for look like (arXiv:2305.02463).

    python -m jax3d.encode chair.glb [more.obj ...] [--model FOLDER] [--out outputs/encoded] [--up y]

Each mesh is brought into [-1, 1]^3, points are drawn from its surface, and pictures with depth of those; the encoder of
`model` reads both. Writes of each NAME.safetensors, NAME.glb, the textured surface of the latents, and preview.png:
the meshes as they were above what became of them; and metrics.json with the Chamfer distances between them.
"""

import dataclasses
import sys
import time
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jax3d import cli
from jax3d.data.meshes.pieces import bounding_pieces
from jax3d.data.meshes.sample import sample
from jax3d.data.meshes.shape import prepare
from jax3d.data.meshes.surface import Companions, read_surface
from jax3d.data.meshes.views import poses, spread, views
from jax3d.io.image import contact_sheet, write_image
from jax3d.io.mesh import save_mesh
from jax3d.io.weights import write_json, write_weights
from jax3d.math.axes import to_blender
from jax3d.math.metrics import chamfer
from jax3d.math.orbit import turntable
from jax3d.math.triangles import points_on
from jax3d.methods.shap_e import encode
from jax3d.nn.shap_e_config import TransmitterConfig
from jax3d.preview import picture
from jax3d.prior.openai import decoder_of
from jax3d.prior.shap_e_folder import transmitter
from jax3d.shap_e import mesh_of
from jax3d.types import Mesh, Points

DRAWN = 65536
"""Points of a mesh that its pictures are drawn from."""
SIZE = 192


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of jax3d.encode."""

    meshes: tyro.conf.Positional[tuple[Path, ...]]
    """Mesh files: .glb, .obj, .ply, .stl or .off."""
    model: str = "tiny-shap-e"
    """The folder of the transmitter: a path, the name of a bundled model, or a Hub id."""
    out: Path = Path("outputs/encoded")
    """Folder of the results."""
    up: Literal["z", "y"] = "z"
    """The axis that points up in files other than .glb."""
    resolution: int = 128
    """Nodes along an edge of the grid of distances."""
    texture: int | None = 1024
    """Texels along an edge; None leaves the colours to the vertices."""


def read_points(path: Path, up: str = "z") -> Points:
    """Coloured points with normals of a mesh's surface, in our world; ValueError where it has none."""
    surface, _ = prepare(read_surface(path, Companions(path.parent)), y_up=up == "y" or path.suffix.lower() == ".glb")
    pieces = bounding_pieces(surface.vertices[surface.faces], 0.05)
    return sample(surface, pieces, DRAWN, np.random.default_rng(0))


def shown(points: Points, config: TransmitterConfig) -> dict[str, np.ndarray]:
    """What the encoder reads of a shape, in Blender's axes."""
    positions, normals = to_blender(points.positions), to_blender(points.normals)
    count, seen = config.inner_batch_size
    pose = poses(seen, 0, config.image_size, np.random.default_rng(0))
    pictured = views(Points(positions, points.colors, normals), pose, config.image_size)
    few = {"points": positions[: 4 * count], "colors": points.colors[: 4 * count]}
    return {**few, "rows": spread(few["points"], config.data_ctx).astype(np.int32), **pictured, "poses": pose}


def write_encoded(options: Options) -> None:
    """Encode and decode; ValueError, one sentence, for what can't be read."""
    names = [path.stem for path in options.meshes]
    if len(set(names)) < len(names):
        raise ValueError(f"results have the names of the meshes, but these repeat: {', '.join(names)}; rename one.")
    clouds = [read_points(path, options.up) for path in options.meshes]
    config, params = transmitter(options.model)
    run, figures, rows = jax.jit(lambda params, of, keys: encode(config, params, of, keys)), {}, []
    for name, cloud in zip(names, clouds, strict=True):
        start = time.time()
        of = {key: array[None] for key, array in shown(cloud, config).items()}
        latents = np.asarray(run(params, of, jax.random.split(jax.random.key(0), 1)))[0]
        encoded = time.time()
        write_weights(options.out / f"{name}.safetensors", {"latents": latents})
        made = mesh_of(
            config.decoder, decoder_of(params), latents, resolution=options.resolution, texture=options.texture
        )
        figures[name] = {"encode_s": round(encoded - start, 2), "decode_s": round(time.time() - encoded, 2)}
        rows.append([cloud, made])
        if made is not None:
            save_mesh(made, options.out / f"{name}.glb")
            figures[name]["chamfer"] = apart(cloud, made)
    write_image(sheet(rows), options.out / "preview.png")
    write_json(options.out / "metrics.json", figures)


def apart(cloud: Points, mesh: Mesh, count: int = 4096) -> float:
    """Chamfer distance of a surface's points and a mesh: the mean way to the other, both ways added."""
    made = points_on(mesh, count, np.random.default_rng(0)).positions
    return float(chamfer(jnp.asarray(cloud.positions[:count]), jnp.asarray(made)))


def sheet(rows: list[list[Points | Mesh | None]]) -> np.ndarray:
    """Above the meshes as they were, below what became of them."""
    camera = jax.tree.map(lambda leaf: leaf[0], turntable(1, start=35.0, elevation=20.0))
    blank = np.ones((SIZE, SIZE, 3), np.float32)
    pictures = [[blank if shape is None else picture(shape, camera, SIZE) for shape in row] for row in rows]
    return contact_sheet(np.stack([picture for row in zip(*pictures, strict=True) for picture in row]), len(rows))


def main(argv: list[str]) -> None:
    """Read the command line."""
    options = tyro.cli(Options, args=argv, description=__doc__)
    write_encoded(options)
    print(f"wrote {options.out}: {', '.join(sorted(path.name for path in options.out.iterdir()))}", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
