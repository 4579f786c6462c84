"""The UNet against PyTorch diffusers: values, gradients, intermediates, and what its batch axis means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.nn.names import from_published
from jax3d.nn.resnet import ResnetBlock, double
from jax3d.nn.transformer import SpatialTransformer
from jax3d.nn.unet import UNet, UNetConfig

INTERMEDIATES = {
    "conv_in": "mid_conv_in",
    "down_blocks.0.downsamplers.0.conv": "mid_down0",
    "down_blocks.3.resnets.0": "mid_down3",
    "mid_block.resnets.1": "mid_mid",
    "up_blocks.0.upsamplers.0.conv": "mid_up0",
    "up_blocks.3.attentions.1": "mid_up3",
    "time_embedding": "mid_time_embedding",
}


@pytest.mark.parametrize("name", ["unet_1", "unet_2"])
def test_tiny_unet_equals_diffusers_at_odd_sizes_and_fractional_times(tiny, kit, name):
    x, config = tiny.x, UNetConfig.from_json(tiny.config.UNETS[name])
    unet, labels = UNet(config), x["labels"] if config.class_embed_type else None
    args = x["sample"], x["t"], x["context"], labels
    params = tiny.weights(kit.shapes(unet, *args), seed=int(name[-1]) - 1)

    def run(sample, params):
        return unet.apply({"params": params}, sample, *args[1:])

    y, (grad, _) = kit.with_gradient(run, x["unet_g"], x["sample"], params)
    assert kit.error(y, tiny.out[f"{name}_out"]) < 5e-6
    assert kit.error(grad, tiny.out[f"{name}_grad"]) < 1e-5


@pytest.mark.parametrize("name", ["unet_sd15", "unet_sd21", "unet_zero123", "unet_mvdream"])
def test_unet_equals_diffusers(golden, kit, name):
    case = kit.stored(golden / name)
    z, unet = case.arrays, UNet(UNetConfig.from_json(case.config))
    frames, camera = int(z.get("num_frames", 1)), z.get("camera")
    sample, t, context = kit.last(z["sample"]), jnp.asarray(z["timestep"]), jnp.asarray(z["encoder_hidden_states"])
    like = kit.shapes(unet, sample, t, context, camera, frames)
    params = from_published(case.weights, like)
    assert len(case.weights) == len(jax.tree.leaves(params))

    def run(sample, params, camera, context):
        return unet.apply({"params": params}, sample, t, context, camera, frames)

    y, (to_sample, to_context) = kit.with_gradient(run, kit.last(z["g"]), sample, params, camera, context)
    assert kit.error(y, kit.last(z["out"])) < 5e-6
    assert kit.error(to_sample, kit.last(z["grad_sample"])) < 1e-5
    assert kit.error(to_context, z["grad_encoder_hidden_states"]) < 1e-5
    check_blocks(kit, unet.config, params, z)
    if name == "unet_sd21":
        check_intermediates(kit, unet, params, z, (sample, t, context))


def check_intermediates(kit, unet, params, z, args):
    """Where a port goes wrong: the stored states along the way, and time 500 given to all."""

    def run(params, sample, t, context):
        keep = lambda module, _: module.name in INTERMEDIATES  # noqa: E731
        return unet.apply({"params": params}, sample, t, context, capture_intermediates=keep, mutable=["intermediates"])

    sample, t, context = args
    _, state = kit.compiled(run, params, *args)
    for module, name in INTERMEDIATES.items():
        if module in state["intermediates"]:
            y = state["intermediates"][module]["__call__"][0]
            assert kit.error(y, kit.last(z[name]) if y.ndim == 4 else z[name]) < 5e-6, module
    y, _ = kit.compiled(run, params, sample, jnp.full_like(t, 500), context)
    assert kit.error(y, kit.last(z["out_scalar_t500"])) < 5e-6


def check_blocks(kit, config, params, z):
    """One resnet and one transformer alone, on an input of low variance where each epsilon shows."""
    x, block = kit.last(z["blk_x"]), "down_blocks.0.{}.0"
    resnet = ResnetBlock(config.block_out_channels[0], config.norm_num_groups, config.norm_eps)
    y = resnet.apply({"params": params[block.format("resnets")]}, x, z["blk_temb"])
    assert kit.error(y, kit.last(z["blk_resnet"])) < 5e-6
    heads = config.per_block("attention_head_dim")[0]
    transformer = SpatialTransformer(heads, config.norm_num_groups, config.use_linear_projection)
    y = transformer.apply({"params": params[block.format("attentions")]}, x, z["blk_ctx"], int(z.get("num_frames", 1)))
    assert kit.error(y, kit.last(z["blk_transformer"])) < 5e-6


def test_frames_are_one_scene(kit):
    """Equal frames give what one gives alone; another frame changes the first; their order is free."""
    block = SpatialTransformer(heads=2, groups=2, linear=True)
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 8))
    context = jax.random.normal(jax.random.key(1), (2, 5, 6))
    params = {"params": block.init(jax.random.key(2), x, context)["params"]}
    params = jax.tree.map(lambda p: p + 0.1, params)  # the last projection starts at zero
    twice = jnp.zeros(2, int)
    alone = block.apply(params, x[:1], context[:1])
    same = block.apply(params, x[twice], context[twice], 2)
    both = block.apply(params, x, context, 2)
    np.testing.assert_allclose(same, alone[twice], atol=1e-5)
    np.testing.assert_allclose(both, block.apply(params, x[::-1], context[::-1], 2)[::-1], atol=1e-5)
    assert np.abs(both[0] - alone[0]).max() > 1e-3


@pytest.mark.parametrize("size", [(6, 4), (5, 4), (5, 3), (1, 1)])
def test_doubling_is_nearest_neighbour_to_the_size_of_the_skip(size):
    x = jax.random.normal(jax.random.key(0), (1, -(-size[0] // 2), -(-size[1] // 2), 2))
    rows, columns = (np.floor(np.arange(n) * m / n).astype(int) for n, m in zip(size, x.shape[1:3], strict=True))
    np.testing.assert_array_equal(double(x, *size), np.asarray(x)[:, rows][:, :, columns])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_computes_in_the_dtype_of_the_weights(tiny, kit, dtype):
    x, unet = tiny.x, UNet(UNetConfig.from_json(tiny.config.UNETS["unet_1"]))
    params = tiny.weights(kit.shapes(unet, x["sample"], x["t"], x["context"]), seed=0)
    half = jax.tree.map(lambda p: p.astype(dtype), params)
    y = kit.compiled(lambda p: unet.apply({"params": p}, x["sample"], x["t"], x["context"]), half)
    assert y.dtype == dtype
    assert kit.error(y, tiny.out["unet_1_out"]) < 20 * jnp.finfo(dtype).eps


def test_labels_go_with_the_class_embedding(tiny):
    x, unet = tiny.x, UNet(UNetConfig.from_json(tiny.config.UNETS["unet_1"]))
    with pytest.raises(ValueError, match="class_labels must be given exactly when class_embed_type is set"):
        jax.eval_shape(lambda: unet.init(jax.random.key(0), x["sample"], x["t"], x["context"], x["labels"]))
