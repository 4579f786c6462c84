"""A folder of Point-E: its networks by their published names or as folders of ours, and the CLIP that reads for them.

base_40m_textvec.pt ...  upsample_40m.pt  sdf.pt             as published, or .safetensors of the same tensors
base/  upsample/  sdf/   config.json, model.safetensors, and diffusion.json, a published diffusion dict
clip/ or model.json      a CLIP folder, or the name of one; without them it is the published one
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jax3d.diffusion import openai as diffusions
from jax3d.io.hub import resolve
from jax3d.io.weights import read_json
from jax3d.nn.point_e_config import PointEConfig
from jax3d.prior import clip, openai
from jax3d.prior.clip import CLIPScore
from jax3d.prior.point_e import Network, PointE

VIT_L = "openai/clip-vit-large-patch14"
DIFFUSION, ABOUT = "diffusion.json", "model.json"
DICTS = {"base": diffusions.POINT_E_BASE, "upsample": diffusions.POINT_E_UPSAMPLE}
TRAIN = "python train.py point_e_base, point_e_upsample and point_e_sdf"


def load(source: str | Path, base: str | None = None, reader: str | None = None) -> PointE:
    """The model in a folder, by path, bundled name or Hub id; ValueError, one sentence, for what is missing or wrong.

    `base` is the name of its base network, where it holds several, and `reader` a CLIP instead of its own.
    """
    try:
        folder = resolve(source)
    except ValueError as error:
        raise ValueError(f"{str(error).rstrip('.')}; train one ({TRAIN}), or give --model FOLDER.") from None
    if not folder.is_dir():
        raise ValueError(f"{folder} is one file, but Point-E is several; give the folder that holds them.")
    bases = [name for name in openai.PUBLISHED if name.startswith("base")]
    found = {part: find(folder, names) for part, names in parts([base] if base else ["base", *bases]).items()}
    if not found["base"]:
        wanted = f"network {base}" if base else f"base network (base/, or {', '.join(bases)} as .pt or .safetensors)"
        raise ValueError(f"{folder} holds no {wanted}; train one ({TRAIN}), or give --model FOLDER.")
    if len(found["base"]) > 1:
        names = ", ".join(path.stem for path in found["base"])
        raise ValueError(f"{folder} holds several base networks ({names}); choose one with --base NAME.")
    networks = {part: _network(part, paths[0]) if paths else None for part, paths in found.items() if part != "sdf"}
    sdf = openai.load(found["sdf"][0]) if found["sdf"] else None
    return PointE(networks["base"], networks["upsample"], sdf, _reader(folder, networks, reader))


def parts(bases: Sequence[str]) -> dict[str, Sequence[str]]:
    """The names under which each network may lie in a folder."""
    return {"base": bases, "upsample": ("upsample", "upsample_40m"), "sdf": ("sdf",)}


def find(folder: Path, names: Sequence[str]) -> list[Path]:
    """For each of the names that the folder holds, its folder or its file; safetensors before .pt."""
    offered = [[folder / name / "config.json", folder / f"{name}.safetensors", folder / f"{name}.pt"] for name in names]
    there = [next((path for path in paths if path.is_file()), None) for paths in offered]
    return [path.parent if path.name == "config.json" else path for path in there if path]


def _network(part: str, path: Path) -> Network:
    config, params = openai.load(path)
    diffusion = diffusions.from_config(diffusion_dict(part, path))
    if not isinstance(config, PointEConfig) or bool(config.cond_ctx) != (part == "upsample"):
        raise ValueError(f"{path} holds another network than {part}; give each file its published name.")
    return Network(config, params, diffusion)


def diffusion_dict(part: str, path: Path) -> dict[str, Any]:
    """The published dict of a denoiser's diffusion: its own, or the one of published files."""
    own = path / DIFFUSION
    return read_json(own) if own.is_file() else DICTS[part]


def _reader(folder: Path, networks: dict[str, Network | None], reader: str | None) -> CLIPScore | None:
    """The CLIP of a folder's networks; ValueError where it gives other features than they read."""
    told = [(part, net.config) for part, net in networks.items() if net]
    if not any(config.vector_features or config.grid_features for _, config in told):
        return None
    about = read_json(folder / ABOUT) if (folder / ABOUT).is_file() else {}
    own = folder / "clip" if (folder / "clip").is_dir() else about.get("clip", VIT_L)
    found = clip.load(reader or own)
    for part, config in told:
        check_reader(part, config, found, reader or own)
    return found


def check_reader(part: str, config: PointEConfig, reader: CLIPScore, name: str | Path) -> None:
    """ValueError where a network reads other features than CLIP gives."""
    sizes = {"vector": reader.config.projection_dim, "grid": reader.config.vision_config.hidden_size}
    for kind, size in sizes.items():
        wanted = getattr(config, f"{kind}_features")
        if wanted not in (0, size):
            raise ValueError(
                f"{part} is told CLIP's {kind} of {wanted} features, but {name} gives {size}; give the CLIP that it "
                f"reads with --clip FOLDER ({VIT_L} for the published networks)."
            )
