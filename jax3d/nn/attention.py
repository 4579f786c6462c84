"""Softmax attention: one function for every network, its execution chosen by backend and size.

    y_i = sum_j p_ij v_j,   p_ij = exp(s_ij - l_i),   s_ij = scale <q_i, k_j>,   l_i = log sum_j exp s_ij

`plain` holds all scores. `blockwise` holds those of some rows of one head at a time, forward and backward: it saves
y and the row statistics l, and the gradient computes p again from them (arXiv:2205.14135, section 3.1):

    g_ij = <dy_i, v_j>,   ds_ij = p_ij (g_ij - <dy_i, y_i>),   dq = scale ds k,   dk = scale ds^T q,   dv = p^T dy

On GPUs cuDNN's fused kernel runs where it applies (16-bit arrays, heads of 8, 16, .., 128 features, 256 from
compute capability 9). Softmax is float32 everywhere.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

PLAIN_SCORES = {"cpu": 2**20, "gpu": 2**28, "tpu": 2**28}  # up to here all scores at once are faster
BLOCK_SCORES = {"cpu": 2**19, "gpu": 2**26, "tpu": 2**26}  # what a block may hold


def attention(
    q: Float[Array, "*b t h d"],
    k: Float[Array, "*b s h d"],
    v: Float[Array, "*b s h e"],
    *,
    causal: bool = False,
    scale: float | None = None,
) -> Float[Array, "*b t h e"]:
    """Attend from t queries to s keys in each of h heads; `scale` defaults to d^-1/2.

    Causal: query i sees the keys j <= i. Differentiable in reverse mode.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    backend = jax.default_backend()
    scores = math.prod(q.shape[:-1]) * k.shape[-3]
    if backend == "gpu" and fused_applies(q, v, jax.devices()[0].compute_capability):
        return fused(q, k, v, causal, scale)
    if scores <= PLAIN_SCORES.get(backend, PLAIN_SCORES["gpu"]):
        return plain(q, k, v, causal, scale)
    limit = BLOCK_SCORES.get(backend, BLOCK_SCORES["gpu"])
    blocks = -(-q.shape[-3] // max(1, limit // k.shape[-3]))
    rows = -(-q.shape[-3] // blocks)  # as even as can be: what the last block lacks is padding that costs the same
    heads = max(1, limit // (rows * k.shape[-3]))
    return in_blocks(q, k, v, causal, scale, rows, heads)


def plain(q: Array, k: Array, v: Array, causal: bool, scale: float) -> Array:
    """All scores at once."""
    scores = jnp.einsum("...thd,...shd->...hts", q, k, preferred_element_type=jnp.float32) * scale
    if causal:
        scores = jnp.where(seen(0, *scores.shape[-2:]), scores, -jnp.inf)
    return jnp.einsum("...hts,...shd->...thd", jax.nn.softmax(scores, -1).astype(v.dtype), v)


def seen(first: Array | int, rows: int, keys: int) -> Array:
    """Causal mask [rows, keys] of the queries from `first` on."""
    return jnp.arange(keys) <= first + jnp.arange(rows)[:, None]


def fused_applies(q: Array | jax.ShapeDtypeStruct, v: Array | jax.ShapeDtypeStruct, compute_capability: str) -> bool:
    """Whether cuDNN's kernel takes these arrays."""
    width = 256 if float(compute_capability) >= 9 else 128
    sixteen_bits = q.dtype == v.dtype and q.dtype in (jnp.bfloat16, jnp.float16)
    return sixteen_bits and q.shape[-1] == v.shape[-1] <= width and q.shape[-1] % 8 == 0


def fused(q: Array, k: Array, v: Array, causal: bool, scale: float) -> Array:
    """cuDNN flash attention on [b, t, h, d]."""
    flat = (x.reshape(-1, *x.shape[-3:]) for x in (q, k, v))
    y = jax.nn.dot_product_attention(*flat, is_causal=causal, scale=scale, implementation="cudnn")
    return y.reshape(*q.shape[:-1], v.shape[-1])


def in_blocks(q: Array, k: Array, v: Array, causal: bool, scale: float, rows: int, heads: int) -> Array:
    """`blockwise` on [..., t, h, d]: heads become the batch, t is padded to whole blocks of `rows`."""
    lead, (t, h) = q.shape[:-3], q.shape[-3:-1]
    q, k, v = (jnp.moveaxis(x, -2, -3).reshape(-1, x.shape[-3], x.shape[-1]) for x in (q, k, v))
    blocks = jnp.pad(q, ((0, 0), (0, -t % rows), (0, 0))).reshape(len(q), -1, rows, q.shape[-1])
    y = blockwise(blocks, k, v, causal, scale, heads)
    return jnp.moveaxis(y.reshape(*lead, h, -1, v.shape[-1])[..., :t, :], -3, -2)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def blockwise(q: Array, k: Array, v: Array, causal: bool, scale: float, heads: int) -> Array:
    """q [n, blocks, rows, d], k [n, s, d], v [n, s, e] -> [n, blocks, rows, e], `heads` of the n side by side."""
    return forward(q, k, v, causal, scale, heads)[0]


def forward(q: Array, k: Array, v: Array, causal: bool, scale: float, heads: int) -> tuple[Array, tuple]:
    """The values, and what the gradient needs."""

    def head(args: tuple) -> tuple[Array, Array]:
        q, k, v = args

        def block(args: tuple) -> tuple[Array, Array]:
            scores = block_scores(*args, k, causal, scale)
            top = scores.max(-1, keepdims=True)
            weights = jnp.exp(scores - top)
            total = weights.sum(-1, keepdims=True)
            y = jnp.dot(weights.astype(v.dtype), v, preferred_element_type=jnp.float32) / total
            return y.astype(v.dtype), (top + jnp.log(total))[:, 0]

        return jax.lax.map(block, (jnp.arange(len(q)), q))

    y, stats = jax.lax.map(head, (q, k, v), batch_size=heads)
    return y, (q, k, v, y, stats)


def block_scores(index: Array, q: Array, k: Array, causal: bool, scale: float) -> Array:
    """Scaled scores [rows, s] of block `index`, in float32."""
    scores = jnp.dot(q, k.T, preferred_element_type=jnp.float32) * scale
    return jnp.where(seen(index * len(q), *scores.shape), scores, -jnp.inf) if causal else scores


def backward(causal: bool, scale: float, heads: int, saved: tuple, dy: Array) -> tuple[Array, Array, Array]:
    """The gradient by blocks of rows; those of keys and values add up over the blocks in float32."""

    def head(args: tuple) -> tuple[Array, Array, Array]:
        q, k, v, y, stats, dy = args

        def block(carry: tuple, args: tuple) -> tuple[tuple, Array]:
            dk, dv = carry
            i, q, y, stats, dy = args
            p = jnp.exp(block_scores(i, q, k, causal, scale) - stats[:, None])
            inner = jnp.sum(dy.astype(jnp.float32) * y, -1, keepdims=True)
            ds = (p * (product(dy, v.T) - inner) * scale).astype(q.dtype)
            return (dk + product(ds.T, q), dv + product(p.astype(dy.dtype).T, dy)), product(ds, k).astype(q.dtype)

        zeros = jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32)
        (dk, dv), dq = jax.lax.scan(block, zeros, (jnp.arange(len(q)), q, y, stats, dy))
        return dq, dk.astype(k.dtype), dv.astype(v.dtype)

    return jax.lax.map(head, (*saved, dy), batch_size=heads)


product = functools.partial(jnp.dot, preferred_element_type=jnp.float32)
blockwise.defvjp(forward, backward)
