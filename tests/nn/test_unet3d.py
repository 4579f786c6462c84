"""The network of volumes: its convolution against a loop, what it must depend on, and how it starts."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.nn.layers import Conv
from jax3d.nn.patches import fold, unfold
from jax3d.nn.transformer import Attend
from jax3d.nn.unet3d import UNet3D

SMALL = {"width": 4, "multipliers": (1, 2), "attention_from": 2, "heads": 2, "groups": 2}


def inputs(resolution=4, channels=3):
    x = jax.random.normal(jax.random.key(0), (2, *(resolution,) * 3, channels))
    return x, jnp.array([-0.4, 0.3]), jax.random.normal(jax.random.key(1), (2, 5))


def awake(params):
    """The same tree of random numbers: nothing is zero any more."""
    rng = np.random.default_rng(2)
    return jax.tree.map(lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), jnp.float32), params)


def loop(x, kernel, stride, padding):
    """The convolution by its definition, in float64."""
    x = np.pad(np.asarray(x, np.float64), ((0, 0), *[padding] * 3, (0, 0)))
    k, sizes = kernel.shape[0], [(n - kernel.shape[0]) // stride + 1 for n in x.shape[1:4]]
    y = np.zeros((x.shape[0], *sizes, kernel.shape[-1]))
    for i in np.ndindex(*sizes):
        a, b, c = (stride * n for n in i)
        y[(slice(None), *i)] = np.tensordot(x[:, a : a + k, b : b + k, c : c + k], np.asarray(kernel, np.float64), 4)
    return y


@pytest.mark.parametrize("stride, padding, size", [(1, (1, 1), 3), (2, (1, 1), 3), (2, (0, 1), 3), (1, (0, 0), 1)])
def test_convolution_of_volumes_is_its_definition(stride, padding, size):
    x = jax.random.normal(jax.random.key(0), (2, 6, 4, 5, 3))
    conv = Conv(4, size, stride, padding)
    params = conv.init(jax.random.key(1), x)
    kernel = params["params"]["kernel"]
    assert kernel.shape == (size, size, size, 3, 4)
    np.testing.assert_allclose(conv.apply(params, x), loop(x, kernel, stride, padding), atol=1e-5)


def test_it_starts_as_zero():
    x, t, condition = inputs()
    net = UNet3D(**{**SMALL, "multipliers": (1,)})
    y, params = jax.jit(net.init_with_output)(jax.random.key(0), x, t, condition)
    assert y.shape == x.shape and not jnp.any(y)
    assert jnp.any(params["params"]["mid.0"]["conv1"]["kernel"])


def test_everything_it_is_told_and_every_weight_counts():
    x, t, condition = inputs()
    net = UNet3D(**SMALL)
    params = awake(jax.eval_shape(net.init, jax.random.key(0), x, t, condition))

    def loss(params, x, t, condition):
        return jnp.mean(net.apply(params, x, t, condition) ** 2)

    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3)))(params, x, t, condition)
    chex.assert_tree_all_finite((value, gradients))
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert jnp.abs(gradient).max() > 1e-9, jax.tree_util.keystr(path)


def test_patches_are_a_folded_array_and_examples_do_not_meet():
    (x, t, _), nothing = inputs(channels=2), jnp.zeros((2, 0))
    params = awake(jax.eval_shape(UNet3D(**SMALL, patch=2).init, jax.random.key(0), x, t, nothing))
    apply = jax.jit(UNet3D(**SMALL, patch=2).apply)
    whole = apply(params, x, t, nothing)
    wide = jax.tree.map(lambda leaf: leaf, params)  # the same with kernels of 3^3 taps, the middle one not 0
    for name in ("conv_in", "conv_out"):
        kernel = wide["params"][name]["kernel"]
        wide["params"][name]["kernel"] = jnp.pad(kernel, [(1, 1)] * 3 + [(0, 0)] * 2)
    folded = jax.jit(UNet3D(**SMALL).apply)(wide, fold(x, 2), t, nothing)
    np.testing.assert_allclose(whole, unfold(folded, 2), atol=1e-5)
    np.testing.assert_allclose(whole[::-1], apply(params, x[::-1], t[::-1], nothing), atol=1e-5)


def test_folding():
    x = jnp.arange(2 * 4 * 4 * 4 * 3.0).reshape(2, 4, 4, 4, 3)
    folded = fold(x, 2)
    assert folded.shape == (2, 2, 2, 2, 24)
    np.testing.assert_array_equal(folded[1, 1, 0, 1].reshape(2, 2, 2, 3), x[1, 2:, :2, 2:])
    np.testing.assert_array_equal(unfold(folded, 2), x)


def test_attention_knows_no_order():
    x = inputs(2, 4)[0]
    attend = Attend(2, 2)
    params, apply = awake(jax.eval_shape(attend.init, jax.random.key(1), x)), jax.jit(attend.apply)
    order = np.random.default_rng(0).permutation(8)
    mix = lambda x: x.reshape(2, 8, 4)[:, order].reshape(x.shape)  # noqa: E731
    np.testing.assert_allclose(apply(params, mix(x)), mix(apply(params, x)), atol=1e-5)


def test_settings_that_do_not_fit_say_so():
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        jax.eval_shape(UNet3D(**SMALL, patch=2).init, jax.random.key(0), *inputs(6))
    with pytest.raises(ValueError, match="must divide the channels of every level"):
        jax.eval_shape(UNet3D(**{**SMALL, "groups": 3}).init, jax.random.key(0), *inputs())


@pytest.mark.parametrize("local, least, most", [(0, 1, 32), (24, 150, 192)])
def test_patches_pass_as_many_numbers_as_there_are_channels_or_more_with_the_local_map(local, least, most):
    """8 patches of 24 numbers, each with 4 channels: the output moves in 32 directions, or in most of 192."""
    net = UNet3D(**SMALL, patch=2, local=local)
    x, t, condition = (value[:1] for value in inputs())
    params = awake(jax.eval_shape(net.init, jax.random.key(0), x, t, condition))
    slopes = jax.jit(jax.jacrev(lambda x: net.apply(params, x, t, condition)))(x).reshape(x.size, x.size)
    sizes = np.linalg.svd(np.asarray(slopes, np.float64), compute_uv=False)
    assert least <= np.sum(sizes > 1e-5 * sizes[0]) <= most
