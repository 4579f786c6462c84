"""From a mesh and functions of space to a textured mesh: unwrap, ask at every texel, fill what lies between charts."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float
from scipy import spatial

from jax3d.math import atlas, isosurface
from jax3d.math.fairing import vertex_normals
from jax3d.types import Mesh

TEXTURED_FACES = 20_000
"""More take too long to unwrap, and the normal map shows what is lost."""

Colors = Callable[[np.ndarray, np.ndarray], np.ndarray]  # positions [n, 3], unit normals [n, 3] -> colours [n, 3]
Normals = Callable[[np.ndarray], np.ndarray]  # positions [n, 3] -> unit normals [n, 3]


def baked(mesh: Mesh, size: int, colors: Colors, normals: Normals | None = None, *, seconds: float = 30.0) -> Mesh:
    """The mesh, which has normals, with an atlas and a texture of `size` texels along an edge.

    With `normals` given it gets a normal map too, of how those differ from the mesh's own. xatlas has so many `seconds`
    (`math/atlas.unwrap`). ValueError where `size` is too small for the faces.
    """
    mesh = atlas.unwrap(mesh, size, seconds=seconds)
    face, weights = atlas.texels(mesh.uv, mesh.faces, size)
    known = face >= 0
    corners, weights = mesh.faces[face[known]], weights[known]

    def at_texels(values: np.ndarray) -> np.ndarray:
        return np.einsum("nk,nkd->nd", weights, values[corners]).astype(np.float32)

    def picture(values: np.ndarray) -> np.ndarray:
        image = np.zeros((size, size, 3), np.float32)
        image[known] = values
        return atlas.filled(image, known)

    positions, own = at_texels(mesh.vertices), _unit(at_texels(mesh.normals))
    mesh = mesh._replace(texture=np.clip(picture(colors(positions, own)), 0, 1))
    if normals is None:
        return mesh
    tangents = atlas.tangents(mesh)
    along = at_texels(tangents[:, :3])
    along = _unit(along - np.sum(along * own, -1, keepdims=True) * own)
    hand = tangents[corners[:, 0], 3:]  # all vertices of a chart have one
    frame = np.stack([along, hand * np.cross(own, along), own], axis=-2)
    return mesh._replace(normal_map=picture(np.einsum("nkd,nd->nk", frame, normals(positions))))


def finished(mesh: Mesh, colors: Colors, normals: Normals | None, max_faces: int | None, texture: int | None) -> Mesh:
    """A surface as an asset: decimated, with colours and normals and, of `texture` texels along an edge, a texture.

    With a texture it has 20,000 triangles at most where `max_faces` is None, and a normal map of the surface that it
    was where `normals` says them; otherwise normals are those of the faces. `colors` is a JAX function.
    """
    if texture is not None:
        max_faces = min(max_faces or TEXTURED_FACES, atlas.most_faces(texture))
    mesh = mesh if max_faces is None else isosurface.decimate(mesh, max_faces)
    if normals is None:
        mesh = mesh._replace(normals=np.asarray(vertex_normals(*map(jnp.asarray, mesh[:2]))))
    else:
        mesh = mesh._replace(normals=normals(mesh.vertices))
    colors = _in_blocks(colors)
    mesh = mesh._replace(colors=colors(mesh.vertices, mesh.normals))
    return mesh if texture is None else baked(mesh, texture, colors, normals)


def smooth_normals(mesh: Mesh, neighbours: int = 4) -> Normals:
    """Normals in space near a fine surface: of the vertices nearest to a point, weighted by 1 / distance."""
    own = np.asarray(vertex_normals(*map(jnp.asarray, mesh[:2])))
    tree = spatial.KDTree(mesh.vertices)

    def normals(points: np.ndarray) -> np.ndarray:
        distance, nearest = tree.query(points, min(neighbours, len(own)))
        weights = 1 / np.maximum(distance, 1e-9)
        return _unit(np.einsum("nk,nkd->nd", weights, own[nearest]).astype(np.float32))

    return normals


def _in_blocks(colors: Callable, block: int = 65536) -> Colors:
    """Compiled once for arrays of any length, and of a Partial of arrays once for all of these."""
    asked = functools.partial(_asked, colors if isinstance(colors, Partial) else Partial(colors))

    def evaluate(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        count = len(points)
        index = np.minimum(np.arange(-(-count // block) * block), count - 1).reshape(-1, block)
        return np.concatenate([np.asarray(asked(points[rows], normals[rows])) for rows in index])[:count]

    return evaluate


@jax.jit
def _asked(colors: Partial, points: Array, normals: Array) -> Array:
    return colors(points, normals)


def _unit(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
