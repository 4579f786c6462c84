"""Point-E and Shap-E at full size: ours against OpenAI's PyTorch code, same random weights, one thread each.

    python benchmarks/openai.py base40M   --peer PYTHON --point-e FOLDER    a guided evaluation of 1,024 points
    python benchmarks/openai.py upsample  --peer PYTHON --point-e FOLDER    of 3,072 points behind 1,024 others
    python benchmarks/openai.py text300M  --peer PYTHON --shap-e FOLDER     of Shap-E's latents
    python benchmarks/openai.py field     --peer PYTHON --shap-e FOLDER     signed distances of a latent, 128^3 nodes
    python benchmarks/openai.py all       --peer PYTHON --point-e FOLDER --shap-e FOLDER

PYTHON is the interpreter of an environment with torch, numpy, pillow, pyyaml, requests, filelock, tqdm, scipy and
scikit-image; the FOLDERs are checkouts of openai/point-e and openai/shap-e. Guided is a batch of two, told features and
zeros. A field is read as the published mesh is, 4,096 places at a time. CLIP, whose features are drawn here, is a stub.

Weights are written by the published code as a published file, which both sides load by their own means. The two run by
turns, each in a process of one thread. Prints for each the first call, medians of wall and of processor time, in
seconds, and the most memory of the process, in GiB, then ratios ours / theirs and the greatest relative difference.
"""

import argparse
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FILES = {"base40M": "base_40m", "upsample": "upsample_40m", "text300M": "text_cond", "field": "vector_decoder"}
OFFICIAL = {"base40M": "point_e", "upsample": "point_e", "text300M": "shap_e", "field": "shap_e"}
GRID, BATCH, NODES = 256, 2, 128


def inputs(what: str) -> dict[str, np.ndarray]:
    """What goes in, channels last; the second of a batch is told zeros."""
    random = np.random.RandomState(0)
    normal = lambda *shape: random.standard_normal(shape).astype(np.float32)  # noqa: E731
    told = np.float32([1, 0])
    if what == "field":
        return {"latents": np.tanh(normal(1, 1024, 1024))}
    if what == "text300M":
        vector = normal(1, 768) * told[:, None]
        return {"x": normal(BATCH, 1024, 1024), "t": np.float32([300, 300]), "vector": vector / np.linalg.norm(vector)}
    points = {"base40M": 1024, "upsample": 3072}[what]
    given = {"x": normal(BATCH, points, 6), "t": np.float32([300, 300])}
    given["grid"] = normal(1, GRID, 1024) * told[:, None, None]
    if what == "upsample":
        cloud = np.concatenate([normal(1, 1024, 3) / 4, 255 * random.uniform(size=(1, 1024, 3))], -1)
        given["cloud"] = np.repeat(cloud.astype(np.float32), BATCH, 0)
    return given


def ours(what: str, folder: Path) -> Callable[[], np.ndarray]:
    """The file loaded by jax3d."""
    import jax
    import jax.numpy as jnp

    from jax3d.nn.point_e import Told
    from jax3d.prior import openai
    from jax3d.scene import shap_e

    config, params = openai.load(folder / f"{FILES[what]}.pt")
    network, given = openai.module(config), {name: jnp.asarray(array) for name, array in inputs(what).items()}
    apply = lambda params, *args, **kind: network.apply({"params": params}, *args, **kind)  # noqa: E731
    if what == "field":

        def distances(params, latents):
            matrices = apply(params, latents, method="matrices")
            read = lambda places: apply(params, matrices, places[None], method="read").distance[0]  # noqa: E731
            return shap_e.distances(read, NODES)

        field = jax.jit(distances)
        return lambda: np.asarray(field(params, given["latents"]))
    x, t = given.pop("x"), given.pop("t")
    forward = jax.jit(apply)
    return lambda: np.asarray(forward(params, x, t, Told(**given)))


def published(options: argparse.Namespace) -> Any:
    """The published network; imports that are of no use to it are stubs."""
    import torch

    for name in ("clip", "blobfile", "ipywidgets"):
        sys.modules[name] = types.ModuleType(name)
    vars(sys.modules["clip"]).update(load=lambda *_, **__: (torch.nn.Identity(), None), tokenize=None)
    package = OFFICIAL[options.what]
    sys.path.insert(0, str(getattr(options, package)))
    configs = importlib.import_module(f"{package}.models.configs")
    config = json.loads((options.folder / "config.json").read_text())
    return configs.model_from_config(config, torch.device("cpu")).eval()


def write(options: argparse.Namespace) -> None:
    """Random weights, none of them trivial, as the published file."""
    import torch

    random = np.random.default_rng(0)

    def draw(name: str, old: Any) -> Any:
        if name.startswith("channel_"):  # the units of a cloud
            return old
        x = random.standard_normal(old.shape, np.float32)
        if x.ndim > 1:
            return torch.from_numpy(x * np.float32(x.shape[1] ** -0.5))
        gain = 0.1 if "params_proj" in name else 1.0
        return torch.from_numpy(np.float32(gain) * (1 + x / 10) if name.endswith("weight") else x / 10)

    state = published(options).state_dict()
    torch.save({name: draw(name, old) for name, old in state.items()}, options.folder / f"{FILES[options.what]}.pt")


def theirs(options: argparse.Namespace) -> Callable[[], np.ndarray]:
    """The file loaded by the published code."""
    import torch

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    model = published(options)
    model.load_state_dict(torch.load(options.folder / f"{FILES[options.what]}.pt", map_location="cpu"))
    given = {name: torch.from_numpy(array) for name, array in inputs(options.what).items()}
    if options.what == "field":
        from shap_e.models.nn.meta import subdict
        from shap_e.models.query import Query
        from shap_e.models.stf.renderer import volume_query_points
        from shap_e.util.collections import AttrDict

        def field() -> np.ndarray:
            params = model.renderer.update(model.bottleneck_to_params(given["latents"].flatten(1)))
            query = Query(position=volume_query_points(model.renderer.volume, NODES)[None])
            kind = {"query_batch_size": 4096, "params": subdict(params, "nerstf"), "options": AttrDict()}
            found = model.renderer.nerstf.forward_batched(query=query, **kind)
            return found.signed_distance.numpy().reshape(NODES, NODES, NODES)

        return field
    if options.what == "text300M":

        def latents() -> np.ndarray:
            y = model(given["x"].flatten(1), given["t"], embeddings=given["vector"]).numpy()
            return np.concatenate([part.reshape(BATCH, 1024, 1024) for part in np.split(y, 2, 1)], -1)

        return latents
    first = {name: array.movedim(-1, 1) for name, array in given.items() if array.ndim > 1}
    told = {"embeddings": first["grid"]} | ({"low_res": first["cloud"]} if "cloud" in first else {})
    return lambda: model(first["x"], given["t"], **told).movedim(1, -1).numpy()


def serve(options: argparse.Namespace) -> None:
    """Work once for each line that comes in, and answer with the figures."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # before a library counts the cores
    work = ours(options.what, options.folder) if options.part == "ours" else theirs(options)
    for _ in sys.stdin:
        wall, core = time.perf_counter(), time.process_time()
        found = work()
        row = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - core}
        row["gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        np.save(options.folder / f"{options.part}.npy", found)
        print(json.dumps(row), flush=True)


def compare(what: str, options: argparse.Namespace) -> None:
    """Both by turns, and what is to be said of them."""
    from jax3d.prior.openai import PUBLISHED

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps(PUBLISHED[FILES[what]].to_json()))
        words = [__file__, what, "--folder", name]
        words += ["--point-e", str(options.point_e), "--shap-e", str(options.shap_e), "--part"]
        subprocess.run([options.peer, "-W", "ignore", *words, "write"], check=True)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        parts = {"ours": [sys.executable], "theirs": [options.peer, "-W", "ignore"]}
        running = {part: subprocess.Popen([*python, *words, part], **pipes) for part, python in parts.items()}
        rows: dict[str, list] = {part: [] for part in running}
        for _ in range(options.repeat + 1):
            for part, process in running.items():
                print("go", file=process.stdin, flush=True)
                rows[part].append(json.loads(process.stdout.readline()))
        for process in running.values():
            process.communicate()
        found, wanted = (np.load(folder / f"{part}.npy") for part in ("ours", "theirs"))
    sums = {}
    for part, (first, *others) in rows.items():
        wall, cpu = (statistics.median(row[kind] for row in others) for kind in ("wall", "cpu"))
        sums[part] = {"first": first["wall"], "wall": wall, "cpu": cpu, "gib": others[-1]["gib"]}
        print(f"{what:9} {part:7}", *(f"{kind} {value:.2f}" for kind, value in sums[part].items()), flush=True)
    ratios = (f"{kind} {sums['ours'][kind] / sums['theirs'][kind]:.2f}" for kind in ("wall", "cpu", "gib"))
    apart = np.abs(found - wanted).max() / np.abs(wanted).max()
    print(f"{what:9} ratio  ", *ratios, f"difference {apart:.1e}", flush=True)


def main() -> None:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=(*FILES, "all"))
    parser.add_argument("--peer", required="--part" not in sys.argv, help="python of an environment with torch")
    parser.add_argument("--point-e", type=Path, help="checkout of openai/point-e")
    parser.add_argument("--shap-e", type=Path, help="checkout of openai/shap-e")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--part", choices=("write", "ours", "theirs"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        (write if options.part == "write" else serve)(options)
    else:
        chosen = FILES if options.what == "all" else (options.what,)
        for what in chosen:
            if getattr(options, OFFICIAL[what]) is None:
                parser.error(f"{what} needs --{OFFICIAL[what].replace('_', '-')}, a checkout of OpenAI's code")
        for what in chosen:
            compare(what, options)


if __name__ == "__main__":
    main()
