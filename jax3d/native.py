"""3D-native models: trained on captioned shapes, loaded from a folder, and drawn from. Joins data, method and loop.

shapes = jax3d.sample_shapes("a red chair", "pointcloud", count=4)

A model's folder holds model.safetensors, the network's weights under network. and the codec's under codec. with what it
was told of some shapes as `heard`, and model.json: what the conditions are, and the config it was trained with.
"""

import dataclasses
import functools
import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from jax3d import cli
from jax3d.asset import named, unnamed
from jax3d.data.batches import shuffled
from jax3d.data.captioned import Shapes
from jax3d.data.meshes.dataset import Settings, convert
from jax3d.diffusion.inpaint import slerp
from jax3d.diffusion.sampler import euler_ancestral
from jax3d.io.hub import resolve
from jax3d.io.image import write_image
from jax3d.io.mesh import save_mesh
from jax3d.io.points import save_points
from jax3d.io.weights import read_json, read_weights, write_json, write_weights
from jax3d.math.random import normal_each
from jax3d.methods.native import Native
from jax3d.preview import preview
from jax3d.reader import Reader, Told, classes_of, conditions, reader_of
from jax3d.train.checkpoint import plain
from jax3d.train.loop import TrainConfig
from jax3d.train.state import State
from jax3d.types import Mesh, Params, Points, Task

WEIGHTS, ABOUT = "model.safetensors", "model.json"
TOGETHER = 8  # shapes of a batch
HEARD = 512  # shapes of which a model remembers what it was told
WHAT = 2**32 - 1  # the key of what shapes are to be, when nobody says, is fold_in(seed's, WHAT)


@dataclasses.dataclass(frozen=True)
class NativeModel:
    """What `train.py` makes and `sample.py` draws from."""

    method: Native
    model: str
    """The folder to draw from: a path, or the name of a bundled model."""
    shapes: Shapes = Shapes()
    told: Told = "text"
    """What conditions are: CLIP's vectors of captions, classes, or nothing."""
    judge: str = "tiny-clip"
    """The CLIP model that reads captions."""
    train: TrainConfig = TrainConfig(steps=10000, ema_decay=0.999, clip_norm=1.0, checkpoint_every=500)
    warm: bool = False
    """Begin with the weights in `model` and not with random ones: to train a model further."""

    def task(self) -> Task:
        """Shapes with their conditions."""
        data, _, kept = prepared(self)
        condition = conditions(self.told, self.judge, data).astype(np.float16)
        batches = shuffled({"kept": kept, "condition": condition}, self.method.batch_size, seed=self.shapes.seed)
        return self.method.task(batches, self.train.steps, load_model(self).params if self.warm else None)

    def finish(self, state: State, workdir: Path) -> None:
        """Write the model's folder, workdir/model, in float16, and a sheet of samples."""
        data, codec_params, _ = prepared(self)
        some = np.linspace(0, len(data["name"]) - 1, min(HEARD, len(data["name"]))).astype(int)
        heard = conditions(self.told, self.judge, data)[some, 0]
        tensors = {"network": state.averaged, "heard": heard} | ({"codec": codec_params} if codec_params else {})
        write_weights(workdir / "model" / WEIGHTS, named(tensors), jnp.float16)
        about = {"told": self.told, "judge": self.judge, "classes": classes_of(data["name"])}
        write_json(workdir / "model" / ABOUT, about | {"method": plain(self.method)})
        captions = [str(caption) for caption in data["caption"][:16]] if self.told == "text" else [None] * 16
        model = load_model(self, workdir / "model")
        write_image(preview(model.decode(model.arrays(captions))), workdir / "samples.png")


@functools.lru_cache(maxsize=1)
def prepared(config: NativeModel) -> tuple[dict[str, np.ndarray], Params, np.ndarray]:
    """The data, the codec's weights and what it keeps of the data; what it had to learn for that is kept on disk."""
    codec, data = config.method.codec, config.shapes.load()
    if config.warm:
        return data, *codec.encode(data, load_model(config).codec_params)
    digest = hashlib.sha256(repr((codec, config.shapes)).encode()).hexdigest()[:24]
    path = Path(".cache/codecs") / f"{digest}.safetensors"
    try:
        found = dict(read_weights(path)) if path.is_file() else {}
    except ValueError as error:
        found = {}
        print(f"{error} It is made again.", file=sys.stderr)
    if found:
        kept = found.pop("kept")
        return data, unflatten_dict(found, sep="."), kept
    params, kept = codec.encode(data)
    if params:
        write_weights(path, {"kept": kept} | named(params))
    return data, params, kept


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A trained model in memory."""

    method: Native
    params: Params
    codec_params: Params
    reader: Reader
    heard: np.ndarray
    """Some of the conditions of training [k, d]; k = 0 where the folder holds none."""

    def conditions(self, prompts: Sequence[str | None], seed: int | None = None) -> jax.Array:
        """[b, d]; for None, with a seed, one of those heard, in a random order, and 0 without.

        ValueError for words that the model cannot be told.
        """
        told = [prompt for prompt in prompts if prompt is not None]
        if told and not self.reader.size:
            raise ValueError("this model knows no conditions; leave the prompt out.")
        vectors = iter(self.reader.vectors(told) if told else ())
        drawn = np.zeros((len(prompts), self.reader.size))
        if seed is not None and len(self.heard):
            order = jax.random.permutation(jax.random.fold_in(jax.random.key(seed), WHAT), len(self.heard))
            drawn = self.heard[np.resize(order, len(prompts))]
        rows = [row if prompt is None else next(vectors) for prompt, row in zip(prompts, drawn, strict=True)]
        return jnp.asarray(np.stack(rows), jnp.float32)

    def arrays(
        self,
        prompts: Sequence[str | None],
        seed: int = 0,
        *,
        between: bool = False,
        known: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> np.ndarray:
        """x0 [b, *shape], one a prompt (None = what it heard of some shape of its training); the k-th depends on the
        seed, on k and on its prompt alone, and on whether all are None, which then are not guided.

        between: only the first and the last are drawn so, and the others lie between them, prompt and noise.
        known: (x0, mask) [*shape], with x0 as it must be where the mask is 1; None is then told nothing, lest it be
        something else than what is there.
        """
        count, method = len(prompts), self.method
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(count))
        condition = self.conditions(prompts, seed if known is None else None)
        start = None
        if between:
            share = jnp.linspace(0, 1, count)
            first, last = normal_each(keys[np.array([0, -1])], method.codec.shape)
            start = slerp(*(jnp.broadcast_to(end, (count, *end.shape)) for end in (first, last)), share)
            condition = condition[0] + share[:, None] * (condition[-1] - condition[0])
        if all(prompt is None for prompt in prompts):
            method = dataclasses.replace(method, guidance=1.0)  # as various as what it was trained with
        if known is not None:
            method = dataclasses.replace(method, sampler=euler_ancestral, sample_steps=2 * method.sample_steps)
        found, together = [], min(TOGETHER, count)
        for begin in range(0, count, together):
            rows = np.minimum(np.arange(begin, begin + together), count - 1)
            part = condition[rows], keys[rows], None if start is None else start[rows]
            found.append(np.asarray(method.sample(self.params, *part, *(known or ()))))
        return np.concatenate(found)[:count]

    def decode(self, arrays: np.ndarray) -> list[Mesh | Points]:
        """The assets of arrays [b, *shape]."""
        return [self.method.codec.decode(self.codec_params, x0) for x0 in arrays]


def load_model(config: NativeModel, source: str | Path | None = None) -> Model:
    """The model in a folder (that of the config by default); ValueError where it is none or of another config."""
    folder = resolve(source or config.model)
    path = folder / WEIGHTS
    if not path.is_file() or not (folder / ABOUT).is_file():
        raise ValueError(f"{folder} holds no {WEIGHTS} with {ABOUT}; train it first, or give --model FOLDER.")
    about = read_json(folder / ABOUT)
    reader = reader_of(about["told"], about["judge"], about["classes"])
    found = read_weights(path)
    network, codec = (
        {name.removeprefix(start): found[name] for name in found if name.startswith(start)}
        for start in ("network.", "codec.")
    )
    form = jax.eval_shape(functools.partial(config.method.init, told=reader.size), jax.random.key(0))
    codec = {name: jnp.asarray(leaf, jnp.float32) for name, leaf in codec.items()}
    heard = np.asarray(found.get("heard", np.zeros((0, reader.size))), np.float32)
    return Model(config.method, unnamed(network, form, path), unflatten_dict(codec, sep="."), reader, heard)


def sample_shapes(
    prompt: str | None = None,
    config: str | NativeModel = "pointcloud",
    *,
    model: str | Path | None = None,
    count: int = 1,
    seed: int = 0,
) -> list[Mesh | Points]:
    """`count` assets for a prompt (None = of anything).

    `config` is a config or its name, `model` a folder of its weights instead of the config's own. ValueError, one
    sentence, for a model that is none and for words that it can't be told.
    """
    config = cli.load_config(config)[0] if isinstance(config, str) else config
    loaded = load_model(config, model)
    return loaded.decode(loaded.arrays([prompt] * count, seed))


def describe(config: NativeModel) -> str:
    """What a run would draw from, without drawing."""
    model = load_model(config)
    count = sum(leaf.size for leaf in jax.tree.leaves(model.params))
    return f"{config}\nparameters: {count:,}\narrays: {config.method.codec.shape}, {config.method.sample_steps} steps"


Half = Literal["+x", "-x", "+y", "-y", "+z", "-z"]


def half_of(config: NativeModel, file: Path, half: Half) -> tuple[np.ndarray, np.ndarray]:
    """(x0, mask) of the half of a mesh file that is to stay; ValueError where file or codec can't give it."""
    codec = config.method.codec
    if not hasattr(codec, "half"):
        raise ValueError(f"{type(codec).__name__} can't be completed from a half; take pointcloud or sdf.")
    if not file.is_file():
        raise ValueError(f"{file} is not there; give --complete a mesh file.")
    shapes = config.shapes
    settings = Settings(shapes.points, shapes.resolution, shapes.inflate, shapes.up, shapes.seed, 1_000_000)
    example = convert(file, settings, np.random.default_rng(shapes.seed))
    _, kept = codec.encode({name: np.asarray(value)[None] for name, value in example.items()})
    return codec.half(kept[0], "xyz".index(half[1]), 1 if half[0] == "+" else -1)


def write_shapes(
    config: NativeModel,
    prompt: str | None,
    out: Path,
    *,
    count: int,
    seed: int,
    between: bool = False,
    until: str | None = None,
    complete: Path | None = None,
    half: Half = "+x",
) -> None:
    """Draw shapes and write 0000.glb or .ply ..., preview.png and metrics.json with the seconds of every part.

    between: all shapes lie between the first and the last, whose prompt is `until` where given.
    """
    if count < 1:
        raise ValueError(f"--count must be 1 or more, is {count}; ask for some.")
    clock = [time.time()]
    loaded = load_model(config)
    known = half_of(config, complete, half) if complete else None
    clock.append(time.time())
    prompts = [prompt] * (count - 1) + [prompt if until is None else until]
    arrays = loaded.arrays(prompts, seed, between=between or until is not None, known=known)
    clock.append(time.time())
    shapes = loaded.decode(arrays)
    clock.append(time.time())
    for k, shape in enumerate(shapes):
        save = save_points if isinstance(shape, Points) else save_mesh
        save(shape, out / f"{k:04d}.{'ply' if isinstance(shape, Points) else 'glb'}")
    write_image(preview(shapes), out / "preview.png")
    seconds = dict(zip(("load", "sample", "decode"), np.diff(clock).round(2).tolist(), strict=True))
    figures = {"prompt": prompt, "count": count, "seed": seed, "seconds": seconds}  # sample: with its compilation
    write_json(out / "metrics.json", figures | {"device": jax.devices()[0].device_kind})
