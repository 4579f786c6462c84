"""Point-E's networks against the published PyTorch code, their published names and configs, and what they mean."""

import dataclasses
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from jax3d.nn import point_e_config as configs
from jax3d.nn.names import from_published, published_names
from jax3d.nn.point_e import PointSDF, PointTransformer, Told, nothing
from jax3d.nn.point_e_config import PointEConfig, PointSDFConfig
from tests.golden import openai_point_e as golden

BUFFERS = {"channel_scales", "channel_biases"}
FULL = {
    "base40M-uncond": configs.BASE40M_UNCOND,
    "base40M-imagevec": configs.BASE40M_VECTOR,
    "base40M-textvec": configs.BASE40M_VECTOR,
    "base40M": configs.BASE40M,
    "base300M": configs.BASE300M,
    "upsample": configs.UPSAMPLE,
}


def last(x):
    return jnp.asarray(np.moveaxis(x, 1, -1))


X = {k: jnp.asarray(v) for k, v in golden.inputs().items()}


@pytest.fixture(scope="module")
def outputs():
    """Of the published code."""
    return dict(np.load(golden.FILE))


def drawn(like, seed):
    """The weights that both sides draw."""
    wanted = {k: v.shape for k, v in jax.eval_shape(published_names, like).items()}
    return from_published(golden.random_weights(wanted, seed), like)


@pytest.mark.parametrize("seed, name", list(enumerate(["uncond", "vector", "grid", "upsample"])))
def test_tiny_point_transformers_equal_the_published_code(outputs, kit, seed, name):
    given, data = X, golden.CONFIGS[name]
    config = PointEConfig.from_json(data)
    features = {k: v for k, v in golden.FEATURES.items() if getattr(config, k)}
    config = dataclasses.replace(config, **features)
    told = Told(*(given[k] if v is not None else None for k, v in nothing(config, 1)._asdict().items()))
    module = PointTransformer(config)
    params = drawn(kit.shapes(module, given["x"], given["t"], told), seed)
    y = kit.compiled(lambda p, *args: module.apply({"params": p}, *args), params, given["x"], given["t"], told)
    assert kit.error(y, outputs[name]) < 5e-6


def test_computes_in_the_dtype_of_the_weights(outputs, kit):
    config = dataclasses.replace(PointEConfig.from_json(golden.CONFIGS["grid"]), grid_features=5)
    module, args = PointTransformer(config), (X["x"], X["t"], Told(grid=X["grid"]))
    half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), drawn(kit.shapes(module, *args), 2))
    y = kit.compiled(lambda p, *args: module.apply({"params": p}, *args), half, *args)
    assert y.dtype == jnp.bfloat16
    assert kit.error(y, outputs["grid"]) < 20 * jnp.finfo(jnp.bfloat16).eps


def test_the_tiny_sdf_regressor_equals_the_published_code(outputs, kit):
    module, args = (
        PointSDF(PointSDFConfig(**golden.SDF)),
        (X["x"][..., :3], X["places"]),
    )
    params = drawn(kit.shapes(module, *args), 4)
    y = kit.compiled(lambda p, *args: module.apply({"params": p}, *args), params, *args)
    assert kit.error(y, outputs["sdf"]) < 5e-6


@pytest.fixture(scope="module")
def stored(shared):
    """name -> (published config, arrays, weights) of a tiny case."""
    folder = shared / "golden" / "native" / "point_e_tiny"
    manifest = json.loads((folder / "manifest.json").read_text())

    def case(name):
        arrays = dict(np.load(folder / f"{name}.npz"))
        return manifest[name]["config"], arrays, load_file(folder / f"{name}.safetensors")

    return case


@pytest.mark.parametrize("name", FULL)
def test_point_transformers_equal_the_published_code(stored, kit, name):
    data, z, weights = stored(name)
    config = PointEConfig.from_json(data)
    module, x, t = PointTransformer(config), last(z["in_x"]), jnp.asarray(z["in_t"])
    given = nothing(config, 1)
    if given.vector is not None:
        given = given._replace(vector=jnp.asarray(z["in_embeddings"]))
    if given.grid is not None:
        given = given._replace(grid=last(z["in_embeddings"]))
    if given.cloud is not None:
        given = given._replace(cloud=last(z["in_low_res"]))
    params = from_published(weights, kit.shapes(module, x, t, given))
    assert weights.keys() - BUFFERS == published_names(params).keys()
    run = jax.jit(lambda params, given: module.apply({"params": params}, x, t, given))
    assert kit.error(run(params, given), last(z["out_y"])) < 5e-6
    if "out_y_zero_cond" in z:  # zeros in place of all that is told
        zeros = jax.tree.map(jnp.zeros_like, given)
        assert kit.error(run(params, zeros), last(z["out_y_zero_cond"])) < 5e-6


def test_the_sdf_regressor_equals_the_published_code(stored, kit):
    data, z, weights = stored("sdf")
    module = PointSDF(PointSDFConfig.from_json(data))
    cloud, places = last(z["in_point_clouds"]), last(z["in_x"])
    params = from_published(weights, kit.shapes(module, cloud, places))
    assert weights.keys() == published_names(params).keys()
    run = lambda method, *args: module.apply({"params": params}, *args, method=method)  # noqa: E731
    latents = jax.jit(lambda cloud: run("encode", cloud))(cloud)
    assert kit.error(latents, z["out_latents"]) < 5e-6
    assert kit.error(jax.jit(lambda *args: run("decode", *args))(latents, places), z["out_sdf"]) < 5e-6


@pytest.mark.parametrize("name", [*FULL, "sdf"])
def test_full_size_names_and_shapes_are_the_published_ones(shared, kit, name):
    wanted = json.loads((shared / "golden" / "native" / "keys" / f"{name}.json").read_text())
    if name == "sdf":
        config, module = configs.SDF, PointSDF(configs.SDF)
        like = kit.shapes(module, jnp.zeros((1, 1, 3)), jnp.zeros((1, 1, 3)))
    else:
        config = FULL[name]
        like = kit.shapes(PointTransformer(config), jnp.zeros((1, 1, 6)), jnp.zeros(1), nothing(config, 1, 1))
    got = {k: list(v.shape) for k, v in jax.eval_shape(published_names, like).items()}
    assert got == {k: v for k, v in wanted["keys"].items() if k not in BUFFERS}
    assert sum(np.prod(s, dtype=int) for s in got.values()) == wanted["n_params"]
    assert type(config).from_json(wanted["config"]) == config
    assert config.to_json() == wanted["config"]


def test_the_largest_has_its_published_number_of_parameters(kit):
    like = kit.shapes(
        PointTransformer(configs.BASE1B), jnp.zeros((1, 1, 6)), jnp.zeros(1), nothing(configs.BASE1B, 1, 1)
    )
    assert sum(x.size for x in jax.tree.leaves(like)) == 1_244_311_564


TINY = PointEConfig(16, 1, 2, 5, 3, 6, grid_features=4, cond_ctx=3)


def live(module, *args):
    """Parameters, none of which is 0."""
    params = jax.jit(module.init)(jax.random.key(0), *args)["params"]
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(
        tree, [x + 0.3 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    )


def test_clouds_have_no_order_and_what_is_told_matters():
    module, t = PointTransformer(TINY), jnp.array([7.0])
    x, grid, cloud = (
        jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate([(1, 5, 3), (1, 2, 4), (1, 3, 3)], 2)
    )
    params = live(module, x, t, Told(grid=grid, cloud=cloud))
    run = jax.jit(lambda x, t, grid, cloud: module.apply({"params": params}, x, t, Told(grid=grid, cloud=cloud)))
    y = run(x, t, grid, cloud)
    assert y.shape == (1, 5, 6)
    chex.assert_trees_all_close(run(x[:, ::-1], t, grid, cloud[:, ::-1]), y[:, ::-1], atol=2e-5)
    for other in ((x, t + 1, grid, cloud), (x, t, 0 * grid, cloud), (x, t, grid, 2 * cloud)):
        assert np.abs(run(*other) - y).max() > 1e-3


def test_distances_do_not_depend_on_the_order_of_points_nor_on_other_places():
    module = PointSDF(PointSDFConfig(16, 1, 2, 1, 2))
    cloud, places = jax.random.normal(jax.random.key(2), (1, 6, 3)), jax.random.normal(jax.random.key(3), (1, 4, 3))
    params = live(module, cloud, places)
    run = jax.jit(lambda cloud, places: module.apply({"params": params}, cloud, places))
    y = run(cloud, places)
    chex.assert_trees_all_close(run(cloud[:, ::-1], places), y, atol=2e-5)
    chex.assert_trees_all_close(run(cloud, places[:, 1:3]), y[:, 1:3], atol=2e-5)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: PointEConfig(width=10, heads=4), "heads is 4, which must divide width 10"),
        (lambda: PointEConfig(cond_ctx=4), "told CLIP's vector, or its grid, or the grid and a cloud"),
        (lambda: PointEConfig.from_json({"name": "PointNet"}), "PointEConfig.name is 'PointNet', but only"),
        (lambda: PointEConfig.from_json({"name": "PointDiffusionTransformer"}), "time_token_cond is False"),
        (lambda: PointSDFConfig(width=10), "8 heads, which must divide width 10"),
        (lambda: PointSDFConfig.from_json({}), "PointSDFConfig.name is None"),
    ],
)
def test_configs_that_are_not_built_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_told_goes_with_the_config():
    for config, given in ((TINY, Told()), (dataclasses.replace(TINY, cond_ctx=0), nothing(TINY, 1))):
        with pytest.raises(ValueError, match="the network is told .* but its config wants"):
            jax.eval_shape(PointTransformer(config).init, jax.random.key(0), jnp.zeros((1, 5, 3)), jnp.zeros(1), given)
