"""From a ball to meshes by their pictures: template deformation and DMTet side by side.

    python benchmarks/inverse_rendering.py ../shared/data/meshes/general/od_torus.obj ... [--steps 500] [--sheet FILE]

Each watertight mesh, in a box of half side 0.8, is drawn from 24 sides at 128 x 128 pixels (averaged over 3 x 3), with
a pattern of colours in space and light from above. Then, on 12 other sides: the mean IoU of silhouettes; and the mean
distance of 16,384 points to the other surface, of both ways, over the diagonal of the mesh's box.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import trimesh

from jax3d.asset import each
from jax3d.io.image import contact_sheet, write_image
from jax3d.math import metrics
from jax3d.math.camera import Camera
from jax3d.math.orbit import turntable
from jax3d.math.triangles import points_on
from jax3d.methods.deform import Deform
from jax3d.nn.field import Voxels
from jax3d.render.antialias import edges
from jax3d.render.shade import composite, point_light
from jax3d.render.surface import render_mesh
from jax3d.scene.dmtet import DMTet
from jax3d.scene.template import Template
from jax3d.train.loop import TrainConfig, train
from jax3d.types import Mesh

SIZE, FINER = 128, 3
SCENES = {"template": Template(Voxels(48), subdivisions=5), "dmtet": DMTet(Voxels(48), cells=48)}


def rings(count: int, elevations: tuple[float, ...], start: float) -> Camera:
    """So many cameras on each of some circles."""
    circles = [turntable(count, elevation=e, start=start + 20 * k) for k, e in enumerate(elevations)]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *circles)


def load(path: Path) -> Mesh:
    """A watertight mesh in its box; ValueError for others."""
    body = trimesh.load(path, force="mesh")
    body.merge_vertices(merge_tex=True, merge_norm=True)
    if not body.is_watertight:
        raise ValueError(f"{path} is not watertight.")
    low, high = body.bounds
    vertices = 1.6 * (body.vertices - (low + high) / 2) / (high - low).max()
    return Mesh(vertices.astype(np.float32), body.faces.astype(np.int32))


def pattern(points: jax.Array) -> jax.Array:
    """Colours in space."""
    return 0.5 + 0.4 * jnp.sin(6 * points + jnp.roll(4 * points, 1, axis=-1))


def pictures(mesh: Mesh, cameras: Camera) -> np.ndarray:
    """[n, SIZE, SIZE, 4] uint8, straight alpha."""
    size, outline = FINER * SIZE, jax.tree.map(jnp.asarray, edges(mesh.faces))
    light = point_light(jnp.array([10.0, -20.0, 30.0]), 0.6)
    vertices, faces = jnp.asarray(mesh.vertices), jnp.asarray(mesh.faces)
    look = jax.jit(
        lambda camera: render_mesh(vertices, faces, outline, camera, pattern, height=size, width=size, light=light)
    )

    def small(values: jax.Array) -> np.ndarray:
        return np.asarray(values.reshape(SIZE, FINER, SIZE, FINER, -1).mean((1, 3)))

    out = []
    for camera in each(cameras):
        seen = look(camera)
        rgb, alpha = small(seen.rgb), small(seen.opacity)
        out.append(np.concatenate([rgb / np.maximum(alpha, 1e-6), alpha], axis=-1))
    return np.round(255 * np.clip(out, 0, 1)).astype(np.uint8)


def fit(name: str, mesh: Mesh, given: np.ndarray, seen: Camera, hidden: np.ndarray, unseen: Camera, steps: int):
    """The row of a table, and the picture of the last unseen view."""
    method, start = Deform(SCENES[name], steps=steps), time.time()
    task = method.task(given, seen)
    state = train(task, TrainConfig(steps, log_every=100))
    params, seconds = method.whole(state.params), time.time() - start
    look = jax.jit(lambda params, camera: method.scene.render(params, camera, None, height=SIZE, width=SIZE))
    views = [look(params, camera) for camera in each(unseen)]
    overlaps = [metrics.iou(v.opacity > 0.5, jnp.asarray(t[..., 3] > 127)) for v, t in zip(views, hidden, strict=True)]
    found = method.scene.export(params)
    clouds = [jnp.asarray(points_on(m, 16384, np.random.default_rng(k)).positions) for k, m in enumerate((mesh, found))]
    distance = float(metrics.chamfer(*clouds)) / 2 / np.linalg.norm(np.ptp(mesh.vertices, axis=0))
    body = trimesh.Trimesh(found.vertices, found.faces, process=False)
    row = f"{np.mean(overlaps):7.4f} {distance:9.3%} {seconds:8.1f} {len(found.faces):7} {body.euler_number:6}"
    return row, np.asarray(composite(views[-1].rgb, views[-1].opacity, 1.0))


def main() -> None:
    """Print a table row a mesh and scene."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meshes", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=Deform.steps)
    parser.add_argument("--scenes", nargs="+", default=list(SCENES))
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    seen, unseen = rings(8, (-20.0, 15.0, 50.0), 0.0), rings(4, (-35.0, 0.0, 35.0), 25.0)
    print(f"{'mesh':28} {'Euler':>6}  {'scene':10} {'IoU':>7} {'Chamfer':>9} {'seconds':>8} {'faces':>7} {'Euler':>6}")
    shown = []
    for path in options.meshes:
        mesh = load(path)
        given, hidden = pictures(mesh, seen), pictures(mesh, unseen)
        truth = hidden[-1] / 255.0
        shown.append(truth[..., :3] * truth[..., 3:] + 1 - truth[..., 3:])
        euler = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).euler_number
        for name in options.scenes:
            row, picture = fit(name, mesh, given, seen, hidden, unseen, options.steps)
            print(f"{path.stem:28} {euler:6}  {name:10} {row}", flush=True)
            shown.append(picture)
    if options.sheet:
        write_image(contact_sheet(np.clip(shown, 0, 1).astype(np.float32), 1 + len(options.scenes)), options.sheet)


if __name__ == "__main__":
    main()
