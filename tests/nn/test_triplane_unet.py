"""The triplane U-Net: which rows of which planes meet, what permuting axes does, and what the network heeds."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.math.planes import PLANES
from jax3d.nn import patches
from jax3d.nn.transformer import Attend
from jax3d.nn.triplane_unet import PlaneBlock, TriplaneUNet, fold, shared_lines, unfold

XY, XZ, YZ = range(3)
NET = TriplaneUNet(width=8, multipliers=(1, 2), heads=2, groups=4)
WHERE = [(0, 3), (1, 2), (4, 0)]


def shaken(params, size=0.3):
    """Parameters, or their shapes for zeros, with something added to all of them."""
    count = itertools.count()

    def shake(leaf):
        start = 0.0 if isinstance(leaf, jax.ShapeDtypeStruct) else leaf
        return start + size * jax.random.normal(jax.random.key(next(count)), leaf.shape)

    return jax.tree.map(shake, params)


@pytest.fixture(scope="module")
def case():
    """Parameters, shaken parameters and inputs (x, t, condition)."""
    x = jax.random.normal(jax.random.key(0), (2, 3, 5, 5, 3))
    args = (x, jnp.array([0.3, -0.5]), jnp.eye(2, 4))
    params = jax.jit(NET.init)(jax.random.key(1), *args)["params"]
    return params, shaken(params, 0.1), args


@pytest.fixture(scope="module")
def both():
    """The network's output and the gradient of half the square of its distance from x, compiled once."""

    def loss(params, x, *args):
        y = NET.apply({"params": params}, x, *args)
        return 0.5 * jnp.sum(jnp.square(y - x)), y

    compiled = jax.jit(jax.grad(loss, has_aux=True))
    return lambda params, *args: compiled(params, *args)[::-1]


@pytest.mark.parametrize(
    "plane, rows_from, columns_from",
    [(XY, (XZ, 2), (YZ, 2)), (XZ, (XY, 2), (YZ, 1)), (YZ, (XY, 1), (XZ, 1))],
)
def test_a_plane_is_told_the_lines_of_the_table(plane, rows_from, columns_from):
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 5))
    rows, columns = shared_lines(x)
    for line, (source, axis) in ((rows[:, plane], rows_from), (columns[:, plane], columns_from)):
        chex.assert_trees_all_close(line, x[:, source].mean(axis), rtol=1e-6)


@pytest.mark.parametrize("source, place", list(zip((XY, XZ, YZ), WHERE, strict=True)))
def test_one_place_reaches_just_the_rows_that_share_a_coordinate_with_it(source, place):
    r = 5
    rows, columns = shared_lines(jnp.zeros((1, 3, r, r, 1)).at[0, source, *place].set(1.0))
    told = rows[:, :, :, None] + columns[:, :, None]  # as the block broadcasts them
    here = dict(zip(PLANES[source], place, strict=True))  # axis -> coordinate
    for plane, axes in enumerate(PLANES):
        for where in itertools.product(range(r), repeat=2):
            shares = plane != source and any(here.get(axis) == i for axis, i in zip(axes, where, strict=True))
            assert np.isclose(told[0, plane, *where, 0], shares / r), (plane, where)


def permuted(x, order):
    """The planes of the same features with axis k of space now being axis order[k] of before: x [b, 3, r, r, c]."""
    planes = []
    for axes in PLANES:
        first, second = (order[axis] for axis in axes)
        plane = x[:, PLANES.index((min(first, second), max(first, second)))]
        planes.append(plane if first < second else plane.swapaxes(1, 2))
    return jnp.stack(planes, axis=1)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_lines_follow_a_permutation_of_the_axes_of_space(order):
    def told(x):  # with rows and columns told alike, nothing depends on which axis of a plane is the first
        rows, columns = shared_lines(x)
        return rows[:, :, :, None] + columns[:, :, None]

    x = jax.random.normal(jax.random.key(0), (1, 3, 4, 4, 2))
    chex.assert_trees_all_close(told(permuted(x, order)), permuted(told(x), order), atol=1e-6)


def test_a_block_is_the_convolution_of_the_concatenated_means():
    block, x = PlaneBlock(4, groups=1), jax.random.normal(jax.random.key(0), (3, 5, 5, 4))
    e = jax.random.normal(jax.random.key(1), (3, 6))
    p = shaken(block.init(jax.random.key(2), x, e)["params"])
    # norm1 with groups=1 and its own scale, by hand
    h = (x - x.mean((1, 2, 3), keepdims=True)) / jnp.sqrt(x.var((1, 2, 3), keepdims=True) + 1e-5)
    h = jax.nn.silu(h * p["norm1"]["scale"] + p["norm1"]["bias"])
    rows, columns = shared_lines(unfold(h))
    wide = [h, jnp.broadcast_to(fold(rows)[:, :, None], h.shape), jnp.broadcast_to(fold(columns)[:, None], h.shape)]
    center = jnp.concatenate([jnp.zeros((4, 4)), p["rows"]["kernel"], p["columns"]["kernel"]])
    kernel = jnp.zeros((3, 3, 12, 4)).at[:, :, :4].set(p["conv1"]["kernel"]).at[1, 1].add(center)
    convolve = lambda x, kernel: jax.lax.conv_general_dilated(  # noqa: E731
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    h = convolve(jnp.concatenate(wide, -1), kernel) + p["conv1"]["bias"]
    h = (h - h.mean((1, 2, 3), keepdims=True)) / jnp.sqrt(h.var((1, 2, 3), keepdims=True) + 1e-5)
    h = h * p["norm2"]["scale"] + p["norm2"]["bias"]
    scale, shift = jnp.split(e @ p["modulation"]["kernel"] + p["modulation"]["bias"], 2, -1)
    h = jax.nn.silu(h * (1 + scale[:, None, None]) + shift[:, None, None])
    h = convolve(h, p["conv2"]["kernel"]) + p["conv2"]["bias"]
    chex.assert_trees_all_close(block.apply({"params": p}, x, e), x + h, rtol=1e-4, atol=1e-5)


def test_at_the_lowest_level_every_place_of_every_plane_sees_all_others():
    module, h = Attend(2, groups=1, positions=True), jax.random.normal(jax.random.key(0), (2, 3, 2, 2, 4))
    attend = lambda params, h: module.apply({"params": params}, h)  # noqa: E731
    params = shaken(jax.eval_shape(lambda: module.init(jax.random.key(1), h))["params"])
    seen = jax.jacobian(lambda h: attend(params, h))(h).reshape(2, 12, 4, 2, 12, 4)
    assert jnp.all(jnp.abs(seen[0, :, :, 0]).max((1, 3)) > 1e-4)
    chex.assert_trees_all_equal(seen[0, :, :, 1], jnp.zeros((12, 4, 12, 4)))  # another example is not seen
    order = jnp.array([1, 2, 0])
    moved = params | {"positions": params["positions"][order]}
    chex.assert_trees_all_close(attend(moved, h[:, order]), attend(params, h)[:, order], rtol=1e-4, atol=1e-5)


def test_it_gives_zeros_at_first_and_learns_from_there(case, both):
    params, _, args = case
    y, gradient = both(params, *args)
    chex.assert_trees_all_equal(y, jnp.zeros_like(args[0]))
    chex.assert_tree_all_finite(gradient)
    assert jnp.any(gradient["conv_out"]["kernel"] != 0)


def test_every_weight_of_a_trained_network_has_a_finite_gradient(case, both):
    _, params, args = case
    _, gradient = both(params, *args)
    chex.assert_tree_all_finite(gradient)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert jnp.any(leaf != 0), path


def test_time_condition_and_each_plane_matter(case, both):
    run = lambda *args: both(*args)[0]  # noqa: E731
    _, params, (x, t, condition) = case
    y = run(params, x, t, condition)
    assert y.shape == x.shape and y.dtype == x.dtype
    for other in ((x, t + 0.1, condition), (x, t, jnp.zeros_like(condition))):
        assert jnp.all(jnp.abs(run(params, *other) - y).max((1, 2, 3, 4)) > 1e-3)
    for plane in range(3):  # what one plane says reaches all three
        changed = jnp.abs(run(params, x.at[:, plane].mul(-1.0), t, condition) - y).max((0, 2, 3, 4))
        assert jnp.all(changed > 1e-3)
    alone = run(params, x.at[1].set(0.0), t, condition)
    chex.assert_trees_all_close(alone[0], y[0], rtol=1e-4, atol=1e-5)  # examples do not meet


def test_planes_of_the_same_content_are_told_apart(case, both):
    _, params, (x, t, condition) = case
    y, _ = both(params, jnp.broadcast_to(x[:, :1], x.shape), t, condition)
    assert jnp.abs(y[:, 0] - y[:, 1]).max() > 1e-3 and jnp.abs(y[:, 1] - y[:, 2]).max() > 1e-3


def test_patches_are_squares_of_places_and_come_back():
    x = jnp.arange(2 * 4 * 4 * 3.0).reshape(2, 4, 4, 3)
    folded = patches.fold(x, 2)
    chex.assert_trees_all_equal(folded[1, 0, 1].reshape(2, 2, 3), x[1, :2, 2:])
    chex.assert_trees_all_equal(patches.unfold(folded, 2), x)


def test_an_edge_that_is_no_multiple_of_the_patch_is_refused():
    net = TriplaneUNet(width=8, multipliers=(1,), patch=2)
    with pytest.raises(ValueError, match="multiple of it, got 5"):
        net.init(jax.random.key(0), jnp.zeros((1, 3, 5, 5, 2)), jnp.zeros(1), jnp.zeros((1, 0)))


def test_channels_that_do_not_divide_are_refused():
    net = TriplaneUNet(width=12, multipliers=(1,), groups=8)
    with pytest.raises(ValueError, match="groups=8, heads=4 and channels"):
        net.init(jax.random.key(0), jnp.zeros((1, 3, 4, 4, 2)), jnp.zeros(1), jnp.zeros((1, 0)))
