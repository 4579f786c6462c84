"""The surface of a density: from values at the nodes of a grid to a triangle mesh in world coordinates.

Marching cubes (scikit-image; Lewiner et al. 2003) finds the level set {density = threshold}. Node i of r along an axis
stands at -half + 2 half i / (r - 1). The grid is padded with empty nodes, so that matter at the border is closed.
Faces are counter-clockwise seen from outside: density falls outwards.

A threshold for every field: the light a cell of side h stops is 1 - exp(-density h), so the natural level is where
density h is about 1/2 for an h of some 1/50 of the cube (density 12.5 in [-1, 1]^3). A field whose range does not
straddle that is cut by Otsu's method on the logarithm of the density, which separates two populations best.
"""

import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from jaxtyping import Float
from skimage import filters, measure

from jax3d.math import grid, linalg
from jax3d.types import Mesh

NATURAL = 12.5  # density at which a fiftieth of the cube [-1, 1]^3 stops 2 of 5 photons


def evaluate(density, resolution: int, half: float, *, block: int = 64) -> Float[np.ndarray, "r r r"]:
    """density(points [n, 3]) -> [n] at the nodes of [-half, half]^3, some planes of the grid at a time."""
    line = half * np.linspace(-1.0, 1.0, resolution, dtype=np.float32)
    planes = max(1, block**3 // resolution**2)
    at_planes = jax.jit(lambda x: density(_plane_points(x, jnp.asarray(line))))
    padded = np.pad(line, (0, -resolution % planes), mode="edge").reshape(-1, planes)
    values = np.concatenate([np.asarray(at_planes(x)).reshape(planes, resolution, resolution) for x in padded])
    return values[:resolution]


def _plane_points(x, line):
    return jnp.stack(jnp.meshgrid(x, line, line, indexing="ij"), axis=-1).reshape(-1, 3)


def automatic_threshold(density: np.ndarray) -> float:
    """The level that separates matter from empty space; ValueError for an empty or broken field."""
    low, high = float(np.min(density)), float(np.max(density))
    if not np.isfinite(low + high):
        raise ValueError(
            "the density has values that are not finite: the optimisation diverged; resume from an earlier checkpoint "
            "with a lower learning rate or tighter gradient clipping."
        )
    if high < 1e-2 or high - low < 1e-3 * high:
        raise ValueError(
            f"the field is empty: its density lies in [{low:.3g}, {high:.3g}] and has no surface; train longer, or "
            "lower the sparsity and opacity terms, or raise the blob of the initial density."
        )
    if low < NATURAL < 0.5 * high:
        return NATURAL
    level = float(np.exp(filters.threshold_otsu(np.log(np.maximum(density, 1e-3 * high)))))
    return float(np.clip(level, low + 1e-3 * (high - low), high - 1e-3 * (high - low)))


def extract(
    density: Float[np.ndarray, "r r r"], half: float, *, threshold: float | None = None, keep: float = 0.02
) -> Mesh:
    """The mesh of {density = threshold} in [-half, half]^3; threshold None = automatic.

    Connected parts with fewer than `keep` of all faces are dropped; the largest always stays.
    """
    level = automatic_threshold(density) if threshold is None else float(threshold)
    low, high = float(np.min(density)), float(np.max(density))
    if not low <= level < high:
        raise ValueError(
            f"the threshold must lie inside the range of the density, [{low:.3g}, {high:.3g}], got {level:.3g}; "
            "give threshold=None to choose it from the distribution."
        )
    padded = np.pad(density.astype(np.float32), 1, constant_values=min(low, level - (high - level)))
    # "ascent" is what turns the faces outwards where matter is the high side (tested by the sign of a ball's volume).
    vertices, faces, _, _ = measure.marching_cubes(padded, level, gradient_direction="ascent", allow_degenerate=False)
    resolution = np.array(density.shape)
    vertices = half * (2 * (vertices - 1) / (resolution - 1) - 1)
    return drop_small_parts(Mesh(vertices.astype(np.float32), faces.astype(np.int32)), keep)


def drop_small_parts(mesh: Mesh, keep: float) -> Mesh:
    """Without the connected parts that have fewer than `keep` of all faces; the largest always stays."""
    labels = trimesh.graph.connected_component_labels(
        trimesh.graph.face_adjacency(faces=mesh.faces), node_count=len(mesh.faces)
    )
    sizes = np.bincount(labels)
    kept = sizes >= min(keep * len(mesh.faces), sizes.max())
    faces = mesh.faces[kept[labels]]
    used, renumbered = np.unique(faces, return_inverse=True)
    return Mesh(mesh.vertices[used], renumbered.reshape(-1, 3).astype(np.int32))


def node_normals(density: Float[np.ndarray, "r r r"], points: Float[np.ndarray, "n 3"], half: float):
    """Unit outward normals -grad density / |grad density| at points, by central differences: [n, 3] numpy."""
    gradient = grid.interpolate(grid.central_differences(jnp.asarray(density)), jnp.asarray(points / half))
    return np.asarray(linalg.normalize(-gradient))
