"""Attention against a slow loop in float64; its gradient, its memory, and what chooses its execution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.nn import attention as room
from jax3d.nn.attention import attention, fused_applies, in_blocks, plain


def slow(q, k, v, causal, scale):
    """One query at a time, float64."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    y = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, i, h in np.ndindex(*q.shape[:-1]):
        keys = slice(i + 1) if causal else slice(None)
        weights = np.exp(scale * k[b, keys, h] @ q[b, i, h])
        y[b, i, h] = weights @ v[b, keys, h] / weights.sum()
    return y


def draw(t=11, s=13, b=2, h=3, d=8, e=5, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = (b, t, h, d), (b, s, h, d), (b, s, h, e), (b, t, h, e)
    return [jax.random.normal(key, shape, dtype) for key, shape in zip(keys, shapes, strict=True)]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("rows, heads", [(4, 1), (5, 4), (1, 6), (11, 2)])
def test_blocks_equal_the_slow_loop_and_the_plain_gradient(causal, rows, heads):
    q, k, v, g = draw(s=11 if causal else 13)

    def loss(of):
        return jax.value_and_grad(lambda *x: jnp.sum(of(*x) * g), (0, 1, 2))(q, k, v)

    wanted = slow(q, k, v, causal, 0.3)
    np.testing.assert_allclose(in_blocks(q, k, v, causal, 0.3, rows, heads), wanted, atol=2e-6)
    np.testing.assert_allclose(plain(q, k, v, causal, 0.3), wanted, atol=2e-6)
    in_rows = loss(lambda *x: in_blocks(*x, causal, 0.3, rows, heads))
    for a, b in zip(jax.tree.leaves(in_rows), jax.tree.leaves(loss(lambda *x: plain(*x, causal, 0.3))), strict=True):
        np.testing.assert_allclose(a, b, atol=5e-6)


def test_gradient_equals_differences(monkeypatch):
    monkeypatch.setitem(room.PLAIN_SCORES, jax.default_backend(), 0)
    q, k, v, g = draw(t=5, s=4, b=1, h=2)
    with jax.enable_x64(True):
        x = [y.astype(jnp.float64) for y in (q, k, v)]
        loss = lambda *x: jnp.sum(slow(*x, False, 8**-0.5) * np.asarray(g))  # noqa: E731
        grads = jax.grad(lambda *x: jnp.sum(attention(*x) * g), (0, 1, 2))(q, k, v)
        for i, grad in enumerate(grads):
            step = [jnp.zeros_like(y) for y in x]
            step[i] = jax.random.normal(jax.random.key(i), x[i].shape, jnp.float64) * 1e-4
            change = loss(*(a + b for a, b in zip(x, step, strict=True))) - loss(
                *(a - b for a, b in zip(x, step, strict=True))
            )
            np.testing.assert_allclose(jnp.sum(grad * step[i]) * 2, change, rtol=1e-4)


def test_large_scores_do_not_overflow():
    q, k, v, _ = draw()
    y = in_blocks(q * 1e3, k * 1e3, v, False, 1.0, 4, 2)
    best = jnp.argmax(jnp.einsum("bthd,bshd->bths", q, k), -1)
    np.testing.assert_allclose(y, v[jnp.arange(2)[:, None, None], best, jnp.arange(3)], atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_short_floats_keep_their_dtype_and_sum_in_float32(dtype):
    q, k, v, _ = draw(t=3, s=3000, dtype=dtype)  # 3000 ones would stop at 256 in bfloat16
    for y in (plain(q, k, v, False, 0.1), in_blocks(q, k, v, False, 0.1, 2, 1)):
        assert y.dtype == dtype
        np.testing.assert_allclose(y.astype(float), slow(q, k, v, False, 0.1), atol=2e-2)


def test_memory_of_a_large_problem_is_bounded():
    """4096 tokens, 8 heads: all scores are 512 MiB; values and gradient take less than 64 MiB of scratch."""
    x = jax.ShapeDtypeStruct((1, 4096, 8, 32), jnp.float32)
    loss = jax.grad(lambda q, k, v: jnp.sum(attention(q, k, v)), (0, 1, 2))
    if jax.default_backend() != "cpu":
        pytest.skip("the bound is the CPU's")
    assert jax.jit(loss).lower(x, x, x).compile().memory_analysis().temp_size_in_bytes < 64 * 2**20


def test_cudnn_is_for_short_floats_and_narrow_heads():
    x = lambda d, dtype: jax.ShapeDtypeStruct((1, 8, 1, d), dtype)  # noqa: E731
    cases = [(64, jnp.bfloat16, "8.0", True), (64, jnp.float32, "9.0", False), (160, jnp.float16, "8.0", False)]
    cases += [(160, jnp.float16, "9.0", True), (512, jnp.bfloat16, "9.0", False), (12, jnp.bfloat16, "9.0", False)]
    for d, dtype, capability, wanted in cases:
        assert fused_applies(x(d, dtype), x(d, dtype), capability) is wanted
