"""Denoisers: the borders agree on data whose denoiser is known, and guidance obeys its algebra."""

import jax.numpy as jnp
import numpy as np
import pytest
from chex import assert_tree_all_finite, assert_trees_all_close

from jax3d.diffusion.denoiser import (
    clip,
    edm,
    expand,
    from_eps,
    from_v,
    from_x0,
    guide,
    guide_batched,
    perp_neg,
    rescale,
    scale_in,
    threshold,
)
from jax3d.diffusion.schedule import scaled_linear

SCHEDULE = scaled_linear()


def arrays(count, batch=3, seed=0):
    return [jnp.asarray(a, float) for a in np.random.default_rng(seed).normal(size=(count, batch, 4, 5))]


def constant(x0):
    """A denoiser that always says x0, example by example."""
    return lambda x, sigma: jnp.broadcast_to(x0, x.shape)


def networks(gaussian):
    """The eps-, v- and x0-network of the Gaussian: the prediction as a function of z and t, by its definition."""

    def parts(z, t):
        sigma = SCHEDULE.sigma(t)
        x = z * jnp.sqrt(1 + expand(sigma, z) ** 2)
        x0 = gaussian(x, sigma)
        return x0, (x - x0) / expand(sigma, z), expand(sigma, z)

    def eps(z, t):
        return parts(z, t)[1]

    def v(z, t):  # sqrt(abar) eps - sqrt(1 - abar) x0
        x0, noise, s = parts(z, t)
        return noise / jnp.sqrt(1 + s**2) - s / jnp.sqrt(1 + s**2) * x0

    return eps, v, lambda z, t: parts(z, t)[0]


@pytest.mark.parametrize("sigma", [0.3, 2.5, jnp.array([0.05, 1.0, 14.0])])
def test_borders_agree(double, gaussian, sigma):
    (x,) = arrays(1)
    for border, network in zip((from_eps, from_v, from_x0), networks(gaussian), strict=True):
        assert_trees_all_close(border(network, SCHEDULE)(x, sigma), gaussian(x, sigma), atol=1e-12)


def test_edm_border(double, gaussian):
    (x,) = arrays(1)
    sigma, data = jnp.array([0.01, 1.0, 80.0]), 0.5

    def network(z, c_noise):  # (D - c_skip x) / c_out, with c_in, c_skip, c_out of arXiv 2206.00364, table 1
        s = expand(jnp.exp(4 * c_noise), z)
        total = jnp.sqrt(s**2 + data**2)
        return (gaussian(z * total, s[:, 0, 0]) - data**2 / total**2 * z * total) / (s * data / total)

    assert_trees_all_close(edm(network, data)(x, sigma), gaussian(x, sigma), atol=1e-11)
    direct = edm(lambda z, c: 3 * z, data, skip=False)  # no skip: what the network says, in units of the data
    s = expand(sigma, x)
    assert_trees_all_close(direct(x, sigma), 3 * data * x / jnp.sqrt(s**2 + data**2), atol=1e-11)
    far = jnp.full(3, 1e4)
    assert_trees_all_close(edm(network, data)(1e4 * x, far), edm(network, data, skip=False)(1e4 * x, far), atol=1e-3)


def test_network_sees_unit_variance_and_one_time_per_example():
    seen = []
    network = lambda z, t: seen.append((z, t)) or z  # noqa: E731
    x0, n = arrays(2, batch=4)
    from_eps(network, SCHEDULE)(x0 + 3 * n, 3.0)
    z, t = seen[0]
    assert t.shape == (4,) and jnp.ptp(t) == 0
    assert_trees_all_close(z, (x0 + 3 * n) / jnp.sqrt(10.0), rtol=1e-6)
    assert_trees_all_close(scale_in(x0 + 3 * n, 3.0), z)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_precision_is_kept(dtype):
    x = jnp.ones((2, 3), dtype)
    network = lambda z, t: z  # noqa: E731
    for denoise in (*(border(network, SCHEDULE) for border in (from_eps, from_v, from_x0)), edm(network)):
        twice = lambda x, s, d=denoise: jnp.concatenate([d(x[:2], s[:2]), d(x[2:], s[2:])])  # noqa: E731
        for each in (guide(denoise, denoise, 3.0, rescaled=0.5), guide_batched(twice, 3.0), clip(denoise)):
            assert each(x, jnp.array([0.5, 2.0])).dtype == dtype


def test_noise_levels_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"must be \(\) or \[b\] = \(2,\), got \(3,\)"):
        expand(jnp.ones(3), jnp.ones((2, 4)))


def test_guidance_commutes_with_the_border(double):
    x, e_c, e_u = arrays(3)
    scale, sigma = 7.5, jnp.array([0.1, 1.0, 9.0])
    denoisers = [from_eps(lambda z, t, e=e: e, SCHEDULE) for e in (e_c, e_u)]
    mixed = from_eps(lambda z, t: e_u + scale * (e_c - e_u), SCHEDULE)
    assert_trees_all_close(guide(*denoisers, scale)(x, sigma), mixed(x, sigma), atol=1e-12)
    assert_trees_all_close(guide(*denoisers, 1.0)(x, sigma), denoisers[0](x, sigma), atol=1e-12)
    each = guide(*denoisers, jnp.array([0.0, 1.0, 2.0]))(x, sigma)
    assert_trees_all_close(each[0], denoisers[1](x, sigma)[0], atol=1e-12)
    assert_trees_all_close(each[1], denoisers[0](x, sigma)[1], atol=1e-12)


def test_several_conditions_in_one_call(double):
    """A condition weighted by minus its own scale cancels; scales may be one an example."""
    x, *answers = arrays(4)
    sigma, scale = jnp.array([0.1, 1.0, 9.0]), jnp.array([0.5, -2.0, 3.0])
    several = lambda *parts: lambda x, sigma: jnp.concatenate(parts) + 0 * x  # noqa: E731
    a, b, base = answers
    got = guide_batched(several(a, b, base), 7.5, scale)(x, sigma)
    want = base + 7.5 * (a - base) + jnp.reshape(scale, (3,) + (1,) * (x.ndim - 1)) * (b - base)
    assert_trees_all_close(got, want, atol=1e-12)
    assert_trees_all_close(guide_batched(several(a, a, base), 7.5, -6.5)(x, sigma), a, atol=1e-12)


@pytest.mark.parametrize("sigma", [2.0, jnp.array([0.1, 1.0, 9.0])])
def test_guidance_in_one_call(gaussian, sigma):
    (x,) = arrays(1)
    conditional = lambda x, s: gaussian(x, s) + 1  # noqa: E731

    def doubled(x, s):
        s = jnp.broadcast_to(s, x.shape[:1])
        return jnp.concatenate([conditional(x[:3], s[:3]), gaussian(x[3:], s[3:])])

    for share in (0.0, 0.7):
        want = guide(conditional, gaussian, 5.0, rescaled=share)(x, sigma)
        assert_trees_all_close(guide_batched(doubled, 5.0, rescaled=share)(x, sigma), want, rtol=1e-6)


def test_rescale(double):
    guided, conditional = arrays(2, batch=4)
    guided = 3 * guided
    whole = rescale(guided, conditional, 1.0)
    assert_trees_all_close(jnp.std(whole, axis=(1, 2)), jnp.std(conditional, axis=(1, 2)), rtol=1e-12)
    assert_trees_all_close(rescale(guided, conditional, 0.0), guided)
    assert_trees_all_close(rescale(guided, conditional, 0.3), 0.3 * whole + 0.7 * guided, rtol=1e-12)
    pairs = rescale(guided, conditional, 1.0, group=2).reshape(2, -1)
    assert_trees_all_close(jnp.std(pairs, axis=1), jnp.std(conditional.reshape(2, -1), axis=1), rtol=1e-12)
    assert_tree_all_finite(rescale(jnp.zeros((1, 3)), jnp.zeros((1, 3)), 1.0))


def perp_neg_case(order, weights, x):
    c, u, a, b = (array[order] for array in arrays(4, seed=5))
    negatives = [(constant(a), weights[0][order]), (constant(b), weights[1][order])]
    return perp_neg(constant(c), constant(u), negatives, 7.5)(x[order], 1.0), (c, u, a, b)


def test_perp_neg_examples_do_not_meet(double):
    (x,) = arrays(1)
    weights = [jnp.array([0.2, 1.0, 3.0]), jnp.array([1.5, 0.0, 0.4])]
    together, _ = perp_neg_case(np.arange(3), weights, x)
    for order in ([2, 0, 1], [1, 0, 2], [0], [1], [2]):
        permuted, _ = perp_neg_case(np.array(order), weights, x)
        assert_trees_all_close(permuted, together[np.array(order)], atol=1e-12)


def test_perp_neg_leaves_the_positive_direction(double):
    (x,) = arrays(1)
    weights = [jnp.array([0.2, 1.0, 3.0]), jnp.array([1.5, 0.0, 0.4])]
    out, (c, u, a, b) = perp_neg_case(np.arange(3), weights, x)
    for i in range(3):  # against a slow loop over examples, with vectors
        e = np.ravel(c[i] - u[i])
        away = np.zeros_like(e)
        for negative, weight in ((a, weights[0]), (b, weights[1])):
            n = np.ravel(negative[i] - u[i])
            away += float(weight[i]) * (n - (n @ e) / (e @ e) * e)
        assert abs(away @ e) < 1e-10
        assert_trees_all_close(np.ravel(out[i]), np.ravel(u[i]) + 7.5 * (e - away), atol=1e-11)


def test_perp_neg_limits(double):
    x, c, u = arrays(3)
    parallel = constant(u - 2 * (c - u))
    plain = guide(constant(c), constant(u), 5.0)(x, 1.0)
    assert_trees_all_close(perp_neg(constant(c), constant(u), [], 5.0)(x, 1.0), plain, atol=1e-12)
    assert_trees_all_close(perp_neg(constant(c), constant(u), [(parallel, 1.0)], 5.0)(x, 1.0), plain, atol=1e-11)
    assert_tree_all_finite(perp_neg(constant(u), constant(u), [(parallel, 1.0)], 5.0)(x, 1.0))


def test_bounds():
    x0 = 4 * jnp.linspace(-1, 1, 202).reshape(2, 101)
    assert jnp.max(jnp.abs(clip(constant(x0), 1.5)(x0, 1.0))) == 1.5
    small = 0.2 * x0
    assert_trees_all_close(threshold(constant(small))(x0, 1.0), small)
    bounded = threshold(constant(x0), 0.9)(x0, 1.0)
    sizes = jnp.quantile(jnp.abs(x0), 0.9, axis=1, keepdims=True)
    assert_trees_all_close(bounded, jnp.clip(x0 / sizes, -1, 1), rtol=1e-6)
