"""Mesh files as painted triangles: OBJ with its materials, GLB, PLY, STL and OFF, in the file's own coordinates.

Unlike io/mesh.py, which keeps a colour for each vertex, a texture stays a picture here, so that a sample gets the
colour of its own place. A texture replaces the colour under it; what has no colour is white. Colours are display
values (io/mesh.py); glTF's factors and vertex colours are linear light and get encoded. As in io/mesh.py, OBJ, PLY, STL
and OFF name no axes, and GLB has y up (glTF 2.0, sec. 3.4).

A mesh file may name others (materials, textures). Those are opened only where they lie in the mesh's folder or below
it, links followed; for a name that leads elsewhere the file of that last name in the folder serves, as exporters like
to write the artist's absolute paths.
"""

import hashlib
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float
from trimesh.exchange.gltf import load_glb

from jax3d.io.srgb import encode_srgb

READABLE = (".obj", ".glb", ".ply", ".stl", ".off")
GREYS = (100, 102)  # trimesh's colours for a material that it lacks


class Surface(NamedTuple):
    """Triangles and what is painted on them, on the host."""

    vertices: np.ndarray  # [v, 3] float64
    faces: np.ndarray  # [f, 3] int64
    colors: np.ndarray  # [f, 3, 3] float32 in [0, 1], at the corners
    uv: np.ndarray  # [f, 3, 2] at the corners, v upwards; 0 where nothing is textured
    texture: np.ndarray  # [f] which of the textures, -1 for none
    textures: tuple[np.ndarray, ...]  # [h, w, 3] uint8


class Companions:
    """The files beside a mesh that it names, with the digest of each that was asked for ("" where there is none)."""

    def __init__(self, folder: Path):
        self.folder = folder.resolve()
        self.digests: dict[str, str] = {}

    def get(self, name: str) -> bytes:
        """What the named file holds. FileNotFoundError where the folder has none such."""
        self.digests[name] = ""
        relative = Path(name.strip().replace("\\", "/"))
        for candidate in (relative, Path(relative.name)):
            path = (self.folder / candidate).resolve()
            if path.is_relative_to(self.folder) and path.is_file():
                data = path.read_bytes()
                self.digests[name] = hashlib.sha256(data).hexdigest()
                return data
        raise FileNotFoundError(name)

    def unchanged(self, digests: dict[str, str]) -> bool:
        """Whether the named files are what they were when they had these digests."""
        for name in digests:
            try:
                self.get(name)
            except FileNotFoundError:
                continue
        return self.digests == digests

    __getitem__ = get


def read_surface(path: str | Path, companions: Companions | None = None, *, max_faces: int = 1_000_000) -> Surface:
    """Reads all parts of .obj, .glb, .ply, .stl or .off as one surface, polygons cut into triangles.

    `companions` tells afterwards which other files were read or missing; the parts of a missing one are white. Raises
    ValueError when the file is missing, damaged, empty of triangles, has vertices that are no numbers or more than
    `max_faces` triangles.
    """
    path = Path(path)
    scene = _scene(path, companions or Companions(path.parent))
    nodes = [node for node in scene.graph.nodes_geometry if len(getattr(_geometry(scene, node), "faces", ()))]
    count = sum(len(_geometry(scene, node).faces) for node in nodes)
    if not count:
        raise ValueError(f"{path} holds no triangles; export it as a mesh with faces.")
    if count > max_faces:
        raise ValueError(f"{path} has {count} triangles, more than {max_faces}; decimate it or raise max_faces.")
    if not all(np.isfinite(_geometry(scene, node).vertices).all() for node in nodes):
        raise ValueError(f"{path} has vertices that are no numbers; export it again.")
    surface = _joined([_part(scene, node, path.suffix.lower() == ".glb") for node in nodes])
    if surface.faces.min() < 0 or surface.faces.max() >= len(surface.vertices):
        raise ValueError(f"{path} has faces without vertices; export it again.")
    return surface


def _scene(path: Path, companions: Companions) -> trimesh.Scene:
    suffix = path.suffix.lower()
    if suffix not in READABLE:
        raise ValueError(f"meshes are read from {', '.join(READABLE)}, not {suffix or 'without a suffix'}: {path}.")
    if not path.is_file():
        raise ValueError(f"{path} is not there; give the path of a mesh file.")
    stream = io.BytesIO(path.read_bytes())
    try:
        if suffix == ".glb":
            return trimesh.load_scene(_display(load_glb(stream, resolver=companions)))
        return trimesh.load_scene(stream, file_type=suffix[1:], resolver=companions, process=False)
    except Exception as error:  # the parsers raise whatever they stumble over
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be read as a {suffix} mesh ({reason}); the file may be damaged.") from None


def _display(loaded: dict) -> dict:
    """Vertex colours of a parsed GLB encoded before trimesh makes bytes of them, too coarse for dark linear light."""
    for part in loaded["geometry"].values():
        if "vertex_colors" in part:
            part["vertex_colors"] = np.round(255 * _unit(part["vertex_colors"], linear=True)).astype(np.uint8)
    return loaded


def _unit(colors: Any, linear: bool) -> np.ndarray:
    """Colours [..., 3] in [0, 1], as display values, from integers of any width or floats."""
    colors = np.asarray(colors)
    scaled = colors[..., :3] / np.float64(np.iinfo(colors.dtype).max if colors.dtype.kind == "u" else 1)
    return encode_srgb(scaled) if linear else np.clip(scaled, 0, 1)


def _geometry(scene: trimesh.Scene, node: str) -> Any:
    return scene.geometry[scene.graph[node][1]]


def _part(scene: trimesh.Scene, node: str, linear: bool) -> Surface:
    """One node's triangles in the scene's frame."""
    part, (world_from_part, _) = _geometry(scene, node), scene.graph[node]
    vertices = part.vertices @ world_from_part[:3, :3].T + world_from_part[:3, 3]
    faces = np.asarray(part.faces, np.int64)
    colors = np.broadcast_to(_colors(part, linear), (len(faces), 3, 3))
    material, uv = getattr(part.visual, "material", None), getattr(part.visual, "uv", None)
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    textures = () if image is None or np.shape(uv)[:1] != (len(vertices),) else (np.asarray(image.convert("RGB")),)
    if not textures or np.isin(textures[0], GREYS).all():
        textures, uv = (), np.zeros((len(faces), 3, 2))
    else:
        uv = np.nan_to_num(uv)[faces]
    texture = np.full(len(faces), len(textures) - 1)
    if np.linalg.det(world_from_part[:3, :3]) < 0:  # a mirror turns the faces inside out
        faces, colors, uv = faces[:, ::-1], colors[:, ::-1], uv[:, ::-1]
    return Surface(vertices, faces, colors, uv, texture, textures)


def _colors(part: trimesh.Trimesh, linear: bool) -> Float[np.ndarray, "..."]:
    """Colours that broadcast to [f, 3, 3], textures apart."""
    visual, white = part.visual, np.ones(3)
    if not visual.defined:
        return white
    if visual.kind == "face":
        return _unit(visual.face_colors, False)[:, None]
    if visual.kind == "vertex":
        return _unit(visual.vertex_colors, False)[part.faces]
    if "color" in visual.vertex_attributes:
        return _unit(visual.vertex_attributes["color"], linear)[part.faces]
    color = getattr(visual.material, "main_color", None)
    return white if color is None or np.isin(color[:3], GREYS).all() else _unit(color, linear)


def _joined(parts: list[Surface]) -> Surface:
    vertex_starts = np.cumsum([0] + [len(part.vertices) for part in parts])
    texture_starts = np.cumsum([0] + [len(part.textures) for part in parts])
    textured = [
        np.where(part.texture < 0, -1, part.texture + k) for part, k in zip(parts, texture_starts, strict=False)
    ]
    return Surface(
        vertices=np.concatenate([part.vertices for part in parts]),
        faces=np.concatenate([part.faces + k for part, k in zip(parts, vertex_starts, strict=False)]),
        colors=np.concatenate([part.colors for part in parts]).astype(np.float32),
        uv=np.concatenate([part.uv for part in parts]),
        texture=np.concatenate(textured),
        textures=tuple(texture for part in parts for texture in part.textures),
    )
