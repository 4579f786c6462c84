"""Meshes in files: GLB, PLY, OBJ.

Axes. Our world has z up and objects face +x, so +y is the object's left. glTF 2.0 (sec. 3.4, "Coordinate System and
Units") has y up and objects face +z, so +x is the object's left. The two differ by the rotation

    (x, y, z)_glTF = (y, z, x)_ours,

applied to positions and normals when a .glb is written and undone when it is read. PLY, OBJ and STL name no axes:
they hold our coordinates as they are, z up.

Colours. `Mesh.colors` are display values (sRGB, IEC 61966-2-1), as the pixels of a rendered image are. glTF's COLOR_0
is linear light (sec. 3.7.2.1), so a .glb gets decoded values, in float32 because 8 bits of linear light are too coarse
for dark tones; viewers encode them again and show the colours that we meant. PLY and OBJ hold sRGB values of 8 bits,
as MeshLab and Blender expect, and textures are sRGB in every format (glTF 2.0, sec. 3.9.2).
"""

import io
import logging
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image
from trimesh.exchange.gltf import export_glb, load_glb
from trimesh.exchange.obj import export_obj
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from jax3d.io.atomic import replacing
from jax3d.io.image import as_bytes
from jax3d.io.srgb import decode_srgb, encode_srgb
from jax3d.math import atlas
from jax3d.types import Mesh

logging.getLogger("trimesh").setLevel(logging.ERROR)  # its warnings name its own internals

TO_GLTF, FROM_GLTF = [1, 2, 0], [2, 0, 1]
READABLE = (".glb", ".ply", ".obj", ".stl")


def save_mesh(mesh: Mesh, path: str | Path) -> None:
    """Writes .glb (turned to y up, linear colours), .ply or .obj (z up as it is, sRGB colours), by the suffix.

    Normals are written always: the mesh's own, or the angle-weighted means of its faces'. A texture goes into a rough
    dielectric material of a .glb, with the normal map, or into files of the same stem beside an .obj (.mtl and .png);
    without one, and in a .ply, the vertices are coloured. Such a .glb carries no material, as readers like trimesh drop
    vertex colours in favour of one. Raises ValueError for another suffix, a mesh without faces or with bad numbers, and
    a place that cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    _check(mesh)
    files = {}
    if suffix == ".glb":
        files[path.name] = _glb_bytes(mesh)
    elif suffix == ".ply":
        files[path.name] = _trimesh(mesh._replace(texture=None)).export(file_type="ply", vertex_normal=True)
    elif suffix == ".obj":
        made, stem = _trimesh(mesh, path.stem), path.stem
        text, files = export_obj(made, include_normals=True, return_texture=True, mtl_name=f"{stem}.mtl")
        files[path.name] = text.encode()
    else:
        raise ValueError(f"meshes are written as .glb, .ply or .obj, not {suffix or 'without a suffix'}: {path}.")
    for name, data in files.items():  # the mesh last, when all it names is there
        with replacing(path.with_name(name)) as temporary:
            temporary.write_bytes(data)


def load_mesh(path: str | Path) -> Mesh:
    """Reads .glb, .ply, .obj or .stl as one mesh in our axes, with normals (the file's, or computed).

    All parts of a scene are joined and polygons cut into triangles. Vertices keep the order of the file; in .obj and
    .stl, whose corners do not say which are shared, those of one position and colour become one. Colours are those of
    the vertices, or of the texture there, or the material's; None when the file has none. Raises ValueError when the
    file is missing, truncated or holds no triangles.
    """
    scene = _read_scene(Path(path))
    parts = [_part(scene, node) for node in scene.graph.nodes_geometry]
    parts = [part for part in parts if part is not None]
    if not parts:
        raise ValueError(f"{path} holds no triangles; read point clouds with load_points.")
    mesh = _joined(parts)
    if not np.isfinite(mesh.vertices).all() or mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        raise ValueError(f"{path} has vertices that are no numbers or faces without vertices; export it again.")
    suffix = Path(path).suffix.lower()
    if suffix in (".obj", ".stl"):
        return _welded(mesh)
    if suffix == ".glb":
        return mesh._replace(vertices=mesh.vertices[:, FROM_GLTF], normals=mesh.normals[:, FROM_GLTF])
    return mesh


def _check(mesh: Mesh) -> None:
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3 or not len(faces):
        raise ValueError(f"a mesh needs vertices [v, 3] and faces [f, 3], got {vertices.shape} and {faces.shape}.")
    if not np.isfinite(vertices).all():
        raise ValueError("a mesh needs finite vertices, some are NaN or infinite; check the field it was taken from.")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError(f"faces must index {len(vertices)} vertices, got {faces.min()} to {faces.max()}.")
    for name, values in (("colors", mesh.colors), ("normals", mesh.normals)):
        if values is not None and np.shape(values) != vertices.shape:
            raise ValueError(f"{name} must be {vertices.shape} as the vertices are, got {np.shape(values)}.")
    if mesh.texture is not None and np.shape(mesh.uv) != (len(vertices), 2):
        raise ValueError(f"a texture needs uv [{len(vertices)}, 2] for the vertices, got {np.shape(mesh.uv)}.")


def _trimesh(mesh: Mesh, name: str = "material") -> trimesh.Trimesh:
    if mesh.texture is None:
        colors = None if mesh.colors is None else np.clip(np.array(mesh.colors, np.float64), 0, 1)
        made = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colors, process=False)
    else:
        made = trimesh.Trimesh(mesh.vertices, mesh.faces, visual=_textured(mesh, name), process=False)
    normals = np.array(made.vertex_normals if mesh.normals is None else mesh.normals, np.float64)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    made.vertex_normals = np.where(length > 0, normals / np.maximum(length, 1e-30), [0.0, 0.0, 1.0])
    return made


def _textured(mesh: Mesh, name: str) -> TextureVisuals:
    """The texture, and the normal map, as a material that neither mirrors nor shines."""
    normal_map = None if mesh.normal_map is None else Image.fromarray(as_bytes(0.5 + 0.5 * mesh.normal_map))
    material = PBRMaterial(
        name=name,
        baseColorTexture=Image.fromarray(as_bytes(mesh.texture)),
        normalTexture=normal_map,
        metallicFactor=0.0,
        roughnessFactor=1.0,
    )
    return TextureVisuals(np.array(mesh.uv, np.float64), material)


def _glb_bytes(mesh: Mesh) -> bytes:
    made = _trimesh(mesh._replace(colors=None))
    visual = made.visual if mesh.texture is not None else None
    turned = trimesh.Trimesh(made.vertices[:, TO_GLTF], made.faces, visual=visual, process=False)
    turned.vertex_normals = made.vertex_normals[:, TO_GLTF]
    names = {}  # attributes of the application's own keep float32; the exporter's colours are bytes
    if mesh.texture is not None and mesh.normal_map is not None:
        tangents = atlas.tangents(mesh._replace(normals=made.vertex_normals))
        turned.vertex_attributes["_tangent"] = tangents[:, [*TO_GLTF, 3]]
        names["_tangent"] = "TANGENT"
    if mesh.colors is not None and mesh.texture is None:
        turned.vertex_attributes["_linear"] = decode_srgb(np.asarray(mesh.colors, np.float64)).astype(np.float32)
        names["_linear"] = "COLOR_0"

    def rename(tree):
        for entry in tree["meshes"]:
            attributes = entry["primitives"][0]["attributes"]
            for name in names:
                attributes[names[name]] = attributes.pop(name)

    return export_glb(trimesh.Scene(turned), include_normals=True, tree_postprocessor=rename)


def _read_scene(path: Path) -> trimesh.Scene:
    suffix = path.suffix.lower()
    if suffix not in READABLE:
        raise ValueError(f"meshes are read from {', '.join(READABLE)}, not {suffix or 'without a suffix'}: {path}.")
    if not path.is_file():
        raise ValueError(f"{path} is not there; give the path of a mesh file.")
    try:
        if suffix == ".glb":
            return trimesh.load_scene(_display_colors(load_glb(io.BytesIO(path.read_bytes()))))
        return trimesh.load_scene(path, process=False)
    except Exception as error:  # the parsers raise whatever they stumble over
        raise ValueError(f"{path} cannot be read as a {suffix} mesh ({error}); the file may be truncated.") from None


def _display_colors(loaded: dict) -> dict:
    """Vertex colours of a parsed GLB (linear bytes, shorts or floats) -> sRGB bytes, its vertices kept as filed."""
    for part in loaded["geometry"].values():
        part["process"] = False
        if "vertex_colors" in part:
            part["vertex_colors"] = _display_bytes(part["vertex_colors"])
        attributes = getattr(part.get("visual"), "vertex_attributes", {})
        material = getattr(part.get("visual"), "material", None)
        if getattr(material, "baseColorFactor", None) is not None:
            material.baseColorFactor = _display_bytes(material.baseColorFactor[None])[0]
        if "color" in attributes:
            attributes["color"] = _display_bytes(attributes["color"])
    return loaded


def _display_bytes(colors: np.ndarray) -> np.ndarray:
    scale = np.iinfo(colors.dtype).max if colors.dtype.kind == "u" else 1
    return np.round(255 * encode_srgb(colors[:, :3].astype(np.float64) / scale)).astype(np.uint8)


def _part(scene: trimesh.Scene, node: str) -> Mesh | None:
    """One node's triangles in the scene's frame; None for lines and points."""
    world_from_part, name = scene.graph[node]
    part = scene.geometry[name]
    if not isinstance(part, trimesh.Trimesh) or not len(part.faces):
        return None
    linear = world_from_part[:3, :3]
    normals = part.vertex_normals @ np.linalg.inv(linear)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-30)
    faces = part.faces[:, ::-1] if np.linalg.det(linear) < 0 else part.faces  # a mirror turns the faces inside out
    return Mesh(part.vertices @ linear.T + world_from_part[:3, 3], faces, _colors(part), normals)


def _colors(part: trimesh.Trimesh) -> np.ndarray | None:
    visual = part.visual
    if not visual.defined:
        return None
    if visual.kind != "texture":
        return visual.vertex_colors[:, :3] / 255
    colors = visual.vertex_attributes.get("color")
    if colors is None:
        colors = visual.material.to_color(visual.uv) if visual.uv is not None else visual.material.main_color
    if colors is None or np.isin(colors[..., :3], (100, 102)).all():  # trimesh's greys for a material it lacks
        return None
    return np.broadcast_to(np.asarray(colors)[..., :3] / 255, part.vertices.shape)


def _joined(parts: list[Mesh]) -> Mesh:
    starts = np.cumsum([0] + [len(part.vertices) for part in parts])
    faces = [part.faces + start for part, start in zip(parts, starts[:-1], strict=True)]
    colors = None
    if any(part.colors is not None for part in parts):  # parts without a colour are white
        filled = [np.ones_like(part.vertices) if part.colors is None else part.colors for part in parts]
        colors = np.concatenate(filled).astype(np.float32)
    return Mesh(
        vertices=np.concatenate([part.vertices for part in parts]).astype(np.float32),
        faces=np.concatenate(faces).astype(np.int32),
        colors=colors,
        normals=np.concatenate([part.normals for part in parts]).astype(np.float32),
    )


def _welded(mesh: Mesh) -> Mesh:
    """One vertex for all those of one position and colour, in the order of their first; their normals averaged."""
    rows = mesh.vertices if mesh.colors is None else np.concatenate([mesh.vertices, mesh.colors], axis=-1)
    _, first, group = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    group = np.argsort(order)[group.reshape(-1)]
    kept = first[order]
    normals = np.zeros((len(kept), 3), np.float32)
    np.add.at(normals, group, mesh.normals)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-30)
    colors = None if mesh.colors is None else mesh.colors[kept]
    return Mesh(mesh.vertices[kept], group[mesh.faces].astype(np.int32), colors, normals)
