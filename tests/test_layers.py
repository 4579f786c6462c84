"""The plan of the house, read off the syntax trees: who imports whom, and what a file may be (design page, 3 and 7)."""

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "jax3d"
MAY_IMPORT = {
    "math": "",
    "diffusion": "",
    "nn": "math",
    "render": "math",
    "scene": "render nn math",
    "codec": "render nn math",
    "prior": "nn diffusion math io",
    "methods": "scene codec prior diffusion nn render math",
    "train": "math",
    "io": "math",
    "data": "io render math",
    "assets": "",
}
FILES = {path.relative_to(PACKAGE): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}


def imports(file: Path, text: str) -> set[str]:
    """Full dotted names of all modules (and of the names taken from them) that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            here = ("jax3d", *file.parent.parts)
            base = ".".join(here[: len(here) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def strangers(file: Path, text: str) -> set[str]:
    """The imports of a file that the plan forbids."""
    names = imports(file, text)
    bad = {name for name in names if name.split(".")[0] == "torch"}
    if len(file.parts) == 1:  # __init__, api, types, ... stand above the rooms, or below all of them
        return bad | {name for name in names if file.stem == "types" and name.startswith("jax3d")}
    room = file.parts[0]
    allowed = {room, "types", *MAY_IMPORT.get(room, "").split()}
    for name in names:
        top, *rest = name.split(".")
        if top == "jax3d" and (not rest or rest[0] not in allowed):
            bad.add(name)
        if room == "methods" and rest[:1] == ["methods"]:
            bad.add(name)
    return bad


def test_rooms_import_only_what_they_may():
    assert set(MAY_IMPORT) >= {file.parts[0] for file in FILES if len(file.parts) > 1}, "a room without a rule"
    assert {str(file): strangers(file, text) for file, text in FILES.items() if strangers(file, text)} == {}


def test_the_rule_itself():
    def found(file, text):
        return strangers(Path(file), text)

    assert found("math/a.py", "from jax3d.nn import unet") == {"jax3d.nn.unet"}
    assert found("math/a.py", "from ..nn.unet import UNet") == {"jax3d.nn.unet.UNet"}
    assert found("nn/a.py", "def f():\n    import torch.nn") == {"torch.nn"}
    assert found("methods/a.py", "from jax3d.methods import b") == {"jax3d.methods.b"}
    assert found("methods/a.py", "from .b import c") == {"jax3d.methods.b.c"}
    assert found("types.py", "from jax3d import math") == {"jax3d.math"}
    assert (
        found("scene/a.py", "import jax3d.render.volume, jax\nfrom jax3d.types import Mesh\nfrom . import b") == set()
    )
    assert found("api.py", "import jax3d.methods.dreamfusion") == set()


def test_every_file_is_small_finished_and_explained():
    for file, text in FILES.items():
        assert text.count("\n") <= 300, f"{file} has more than 300 lines; it holds more than one idea"
        unfinished = re.search(r"\b(TODO|FIXME)\b", text)
        assert not unfinished, f"{file} holds a {unfinished}"
        if text.strip() and not file.name.startswith("_"):
            assert ast.get_docstring(ast.parse(text)), f"{file} has no docstring"


def test_the_bundled_models_stay_small():
    files = [file for file in (PACKAGE / "assets").rglob("*") if file.is_file()]
    sizes = {file.relative_to(PACKAGE): file.stat().st_size for file in files}
    assert sum(sizes.values()) < 40e6, "all of assets/ stays under 40 MB"
    assert max(sizes.values()) < 12e6, f"{max(sizes, key=sizes.get)} has more than 12 MB"
