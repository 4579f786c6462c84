"""What the folders of Point-E and Shap-E have in common: networks by their published names or as folders of ours.

NAME.safetensors, NAME.pt     as published
NAME/                         config.json, model.safetensors; of a denoiser diffusion.json, a published diffusion dict
clip/ or model.json           the CLIP that reads for them, or the name of one; without them it is the published one
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jax3d.diffusion import openai as diffusions
from jax3d.io.hub import resolve
from jax3d.io.weights import read_json
from jax3d.nn.point_e_config import PointEConfig
from jax3d.prior import clip, openai
from jax3d.prior.clip import CLIPScore
from jax3d.prior.openai_denoiser import Network

VIT_L = "openai/clip-vit-large-patch14"
DIFFUSION, ABOUT = "diffusion.json", "model.json"
DICTS = {
    "base": diffusions.POINT_E_BASE,
    "upsample": diffusions.POINT_E_UPSAMPLE,
    "text": diffusions.SHAP_E,
    "image": diffusions.SHAP_E,
}


def opened(source: str | Path, train: str) -> Path:
    """The folder of a model, by path, bundled name or Hub id; ValueError, which tells how to `train` one."""
    try:
        folder = resolve(source)
    except ValueError as error:
        raise ValueError(f"{str(error).rstrip('.')}; train one ({train}), or give --model FOLDER.") from None
    if not folder.is_dir():
        raise ValueError(f"{folder} is one file, but the model is several; give the folder that holds them.")
    return folder


def find(folder: Path, names: Sequence[str]) -> list[Path]:
    """For each of the names that the folder holds, its folder or its file; safetensors before .pt."""
    offered = [[folder / name / "config.json", folder / f"{name}.safetensors", folder / f"{name}.pt"] for name in names]
    there = [next((path for path in paths if path.is_file()), None) for paths in offered]
    return [path.parent if path.name == "config.json" else path for path in there if path]


def denoiser(part: str, path: Path) -> Network:
    """The denoiser of a file or folder; ValueError for another kind of network than `part`."""
    config, params = openai.load(path)
    kind = openai.LatentConfig if part in ("text", "image") else PointEConfig
    if not isinstance(config, kind) or bool(openai.inner(config).cond_ctx) != (part == "upsample"):
        raise ValueError(f"{path} holds another network than {part}; give each file its published name.")
    return Network(config, params, diffusions.from_config(diffusion_dict(part, path)))


def diffusion_dict(part: str, path: Path) -> dict[str, Any]:
    """The published dict of a denoiser's diffusion: its own, or the one of published files."""
    own = path / DIFFUSION
    return read_json(own) if own.is_file() else DICTS[part]


def reader_of(folder: Path, networks: Mapping[str, Network | None], reader: str | None) -> CLIPScore | None:
    """The CLIP of a folder's networks, or the one named; ValueError where it gives other features than they read."""
    told = [(part, network.inner) for part, network in networks.items() if network]
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
