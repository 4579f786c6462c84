"""The surface of a density: from values at the nodes of a grid to a triangle mesh in world coordinates.

Marching cubes (scikit-image; Lewiner et al. 2003) finds the level set {density = threshold}. Node i of r along an axis
stands at -half + 2 half i / (r - 1). The grid is padded with empty nodes, so that matter at the border is closed.
Faces are counter-clockwise seen from outside: density falls outwards.

The automatic threshold is the level whose solid has the silhouette that the field shows. Look along the three axes: a
line of nodes with densities sigma_i and spacing h has opacity 1 - exp(-h sum sigma_i) and is covered by the solid where
max sigma_i > threshold. The threshold with the fewest disagreements between "covered" and "opacity above one half (of
the greatest)" wins; of several, the geometric middle. It does not depend on the scale of the density.
"""

import fast_simplification
import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from jax.tree_util import Partial
from jaxtyping import Array, Float
from scipy import ndimage
from skimage import measure

from jax3d.types import Mesh

EMPTY = 0.05  # a field is empty if no axis-parallel line is more opaque than this


def evaluate(density: Partial, resolution: int, half: float, *, block: int = 64) -> Float[np.ndarray, "r r r"]:
    """density(points [n, 3]) -> [n] at the nodes of [-half, half]^3, some planes of the grid at a time.

    What is compiled serves every density of the same function and with arrays of the same shapes.
    """
    line = half * np.linspace(-1.0, 1.0, resolution, dtype=np.float32)
    planes = max(1, block**3 // resolution**2)
    padded = np.pad(line, (0, -resolution % planes), mode="edge").reshape(-1, planes)
    return np.concatenate([np.asarray(_at_planes(density, x, line)) for x in padded])[:resolution]


@jax.jit
def _at_planes(density: Partial, x: Float[Array, " p"], line: Float[Array, " r"]) -> Float[Array, "p r r"]:
    points = jnp.stack(jnp.meshgrid(x, line, line, indexing="ij"), axis=-1)
    return density(points.reshape(-1, 3)).reshape(points.shape[:-1])


def automatic_threshold(density: Float[np.ndarray, "r r r"], half: float) -> float:
    """The level with the silhouettes of the field in [-half, half]^3; ValueError for an empty or broken field."""
    low, high = float(np.min(density)), float(np.max(density))
    if not np.isfinite(low + high):
        raise ValueError(
            "the density has values that are not finite: the optimisation diverged; resume from an earlier checkpoint "
            "with a lower learning rate or tighter gradient clipping."
        )
    spacing = 2 * half / (density.shape[0] - 1)
    opacity = np.concatenate([-np.expm1(-spacing * density.sum(axis=axis)).ravel() for axis in range(3)])
    if opacity.max() < EMPTY or high <= low:
        raise ValueError(
            f"the field is empty: its density lies in [{low:.3g}, {high:.3g}] and stops at most {opacity.max():.1%} of "
            "the light; train longer, or lower the sparsity and opacity terms, or raise the initial density's blob."
        )
    return _fewest_disagreements(
        np.concatenate([density.max(axis=axis).ravel() for axis in range(3)]),
        opacity > 0.5 * min(1.0, opacity.max()),
        low,
    )


def _fewest_disagreements(peak: np.ndarray, seen: np.ndarray, low: float) -> float:
    """The t for which `peak > t` differs least often from `seen`."""
    order = np.argsort(peak)
    peak, seen = peak[order].astype(np.float64), seen[order]
    # Cut k puts the k smallest peaks outside the solid: those that are seen are wrong, and the others that are not.
    wrong = np.append(0, np.cumsum(seen)) + np.append(np.cumsum(~seen[::-1])[::-1], 0)
    wrong[1:-1][peak[1:] == peak[:-1]] = len(peak)  # no level parts equal peaks
    best = np.flatnonzero(wrong[:-1] == wrong[:-1].min())
    below = np.append(low, peak)[best[0]]
    return float(np.sqrt(max(below, 1e-3 * peak[best[-1]]) * peak[best[-1]]))


def extract(
    density: Float[np.ndarray, "r r r"], half: float, *, threshold: float | None = None, keep: float = 0.02
) -> Mesh:
    """The mesh of {density = threshold} in [-half, half]^3; threshold None = automatic.

    Connected parts with fewer than `keep` of all faces are dropped; the largest always stays.
    """
    level = automatic_threshold(density, half) if threshold is None else float(threshold)
    low, high = float(np.min(density)), float(np.max(density))
    if not low <= level < high:
        raise ValueError(
            f"the threshold must lie inside the range of the density, [{low:.3g}, {high:.3g}], got {level:.3g}; "
            "give threshold=None to choose it from the distribution."
        )
    padded = np.pad(density.astype(np.float32), 1, constant_values=min(low, level - (high - level)))
    # A node at the level would be several vertices in one place, and dropping the flat faces between them leaves holes.
    tiny = 1e-4 * (high - level)
    padded = np.where(np.abs(padded - level) < tiny, level - tiny, padded)
    # "ascent" is what turns the faces outwards where matter is the high side (tested by the sign of a ball's volume).
    vertices, faces, _, _ = measure.marching_cubes(padded, level, gradient_direction="ascent", allow_degenerate=False)
    resolution = np.array(density.shape)
    vertices = half * (2 * (vertices - 1) / (resolution - 1) - 1)
    return drop_small_parts(Mesh(vertices.astype(np.float32), faces.astype(np.int32)), keep)


def distances(
    density: Float[np.ndarray, "r r r"], threshold: float, *, keep: float = 0.02
) -> Float[np.ndarray, "r r r"]:
    """Signed distances to {density = threshold}, in spacings, negative where it is denser: where to begin a refinement.

    Next to the surface log density is taken for linear; farther away it is the distance of the nearest node on the
    other side. Parts with fewer than `keep` of the largest part's nodes, and cavities, are filled in; nodes at the
    border of the cube are outside.
    """
    level = np.log(threshold) - np.log(np.maximum(density, 1e-6 * threshold))
    inside = np.pad((level < 0)[1:-1, 1:-1, 1:-1], 1)
    parts, _ = ndimage.label(inside)
    sizes = np.bincount(parts.ravel())
    inside = ndimage.binary_fill_holes(inside & (sizes >= keep * sizes[1:].max(initial=0))[parts])
    far = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    far -= 0.5 * np.sign(far)
    near = level / np.maximum(np.linalg.norm(np.gradient(level), axis=0), 1e-6)
    linear = (np.abs(far) < 1.3) & ((near < 0) == inside) & (near != 0)  # 1.3: some neighbours are diagonal
    return np.where(linear, np.clip(near, -1.5, 1.5), far).astype(np.float32)


def drop_small_parts(mesh: Mesh, keep: float) -> Mesh:
    """Without the connected parts that have fewer than `keep` of all faces; the largest always stays."""
    labels = trimesh.graph.connected_component_labels(
        trimesh.graph.face_adjacency(faces=mesh.faces), node_count=len(mesh.faces)
    )
    sizes = np.bincount(labels)
    kept = sizes >= min(keep * len(mesh.faces), sizes.max())
    faces = mesh.faces[kept[labels]]
    used, renumbered = np.unique(faces, return_inverse=True)
    colors, normals = (None if each is None else each[used] for each in (mesh.colors, mesh.normals))
    return Mesh(mesh.vertices[used], renumbered.reshape(-1, 3).astype(np.int32), colors, normals)


def decimate(mesh: Mesh, max_faces: int) -> Mesh:
    """At most `max_faces` triangles that keep the shape, by quadric error (Garland & Heckbert 1997); no colours."""
    if max_faces < 4:
        raise ValueError(f"a closed mesh has 4 faces or more, got max_faces={max_faces}; None keeps all.")
    if len(mesh.faces) <= max_faces:
        return mesh
    vertices, faces = fast_simplification.simplify(mesh.vertices, mesh.faces, target_count=max_faces)
    return Mesh(vertices.astype(np.float32), faces.astype(np.int32))


def node_values(
    values: Float[np.ndarray, "r r r c"], points: Float[np.ndarray, "n 3"], half: float
) -> Float[np.ndarray, "n c"]:
    """Trilinear values at points; outside the cube those of its border.

    On the host, for every mesh has another number of vertices and XLA would compile for each.
    """
    where = 0.5 * (points.T / half + 1) * (values.shape[0] - 1)
    channels = np.moveaxis(values, -1, 0)
    return np.stack([ndimage.map_coordinates(each, where, order=1, mode="nearest") for each in channels], axis=-1)


def node_normals(
    density: Float[np.ndarray, "r r r"], points: Float[np.ndarray, "n 3"], half: float
) -> Float[np.ndarray, "n 3"]:
    """Unit outward normals -grad density / |grad density| at points, by central differences; 0 where there is none."""
    gradient = node_values(np.stack(np.gradient(density), axis=-1), points, half)
    return -gradient / np.maximum(np.linalg.norm(gradient, axis=-1, keepdims=True), 1e-12)
