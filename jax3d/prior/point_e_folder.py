"""A folder of Point-E: its networks by their published names or as folders of ours, and the CLIP that reads for them.

base_40m_textvec.pt ...  upsample_40m.pt  sdf.pt             as published, or .safetensors of the same tensors
base/  upsample/  sdf/                                       ours (prior/openai_folder)
"""

from pathlib import Path

from jax3d.prior import openai
from jax3d.prior.openai_folder import denoiser, find, opened, reader_of
from jax3d.prior.point_e import PointE

TRAIN = "python train.py point_e_base, point_e_upsample and point_e_sdf"


def load(source: str | Path, base: str | None = None, reader: str | None = None) -> PointE:
    """The model in a folder, by path, bundled name or Hub id; ValueError, one sentence, for what is missing or wrong.

    `base` is the name of its base network, where it holds several, and `reader` a CLIP instead of its own.
    """
    folder = opened(source, TRAIN)
    bases = [name for name in openai.PUBLISHED if name.startswith("base")]
    names = {"base": [base] if base else ["base", *bases], "upsample": ("upsample", "upsample_40m"), "sdf": ("sdf",)}
    found = {part: find(folder, offered) for part, offered in names.items()}
    if not found["base"]:
        wanted = f"network {base}" if base else f"base network (base/, or {', '.join(bases)} as .pt or .safetensors)"
        raise ValueError(f"{folder} holds no {wanted}; train one ({TRAIN}), or give --model FOLDER.")
    if len(found["base"]) > 1:
        several = ", ".join(path.stem for path in found["base"])
        raise ValueError(f"{folder} holds several base networks ({several}); choose one with --base NAME.")
    networks = {part: denoiser(part, paths[0]) if paths else None for part, paths in found.items() if part != "sdf"}
    sdf = openai.load(found["sdf"][0]) if found["sdf"] else None
    return PointE(networks["base"], networks["upsample"], sdf, reader_of(folder, networks, reader))
