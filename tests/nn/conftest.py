"""Reference networks: the stored arrays beside the checkout, and the tiny ones in tests/golden."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from jax3d.nn.names import from_published, published_names

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def compiled(function, *args):
    """`function(*args)` compiled with the least optimisation, for compiling is what tests wait for."""
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(function).lower(*args).compile(compiler_options=options)(*args)


def with_gradient(function, g, *args):
    """(output, gradients of sum(output * g) to the first and last of `args`)."""

    def loss(*args):
        y = function(*args)
        return jnp.sum(y * g), y

    (_, y), grads = compiled(jax.value_and_grad(loss, (0, len(args) - 1), has_aux=True), *args)
    return y, grads


def error(got, wanted) -> float:
    """max|d| / max|ref|."""
    got, wanted = np.asarray(got, np.float32), np.asarray(wanted, np.float32)
    assert got.shape == wanted.shape
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def last(x):
    """Channels first -> last."""
    return jnp.asarray(np.moveaxis(x, 1, -1))


def shapes(model, *args, **kwargs):
    """The parameter tree as shapes, no memory spent."""
    return jax.eval_shape(lambda: model.init(jax.random.key(0), *args, **kwargs))["params"]


@pytest.fixture(scope="session")
def kit():
    """The helpers above, for the test files."""
    return SimpleNamespace(
        compiled=compiled, with_gradient=with_gradient, error=error, last=last, shapes=shapes, stored=stored
    )


def stored(folder: Path, name: str = "diffusion_pytorch_model") -> SimpleNamespace:
    """config, arrays and published weights of one stored case."""
    return SimpleNamespace(
        config=json.loads((folder / "config.json").read_text()),
        arrays={k: jnp.asarray(v) for k, v in np.load(folder / "io.npz").items()},
        weights=load_file(folder / f"{name}.safetensors"),
    )


@pytest.fixture(scope="session")
def golden(shared) -> Path:
    """The stored Stable Diffusion arrays."""
    return shared / "golden" / "stable_diffusion"


@pytest.fixture(scope="session")
def tiny():
    """Tiny networks whose outputs lie in tests/golden/networks.npz: configs, inputs, outputs, and the weights."""
    spec = importlib.util.spec_from_file_location("golden_networks", GOLDEN / "networks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def weights(like, seed):
        wanted = {k: v.shape for k, v in jax.eval_shape(published_names, like).items()}
        return from_published(module.random_weights(wanted, seed), like)

    x = {k: jnp.asarray(v) for k, v in module.inputs().items()}
    return SimpleNamespace(x=x, out=dict(np.load(module.FILE)), weights=weights, config=module)
