"""Softmax attention, one function for every network.

y_i = sum_j p_ij v_j,   p_ij = exp(s_ij - l_i),   s = scale q k^T,   l_i = log sum_j exp s_ij
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def attention(
    q: Float[Array, "*b t h d"],
    k: Float[Array, "*b s h d"],
    v: Float[Array, "*b s h e"],
    *,
    causal: bool = False,
    scale: float | None = None,
) -> Float[Array, "*b t h e"]:
    """Attend from t queries to s keys in each head; softmax in float32; `scale` defaults to d^-1/2."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return plain(q, k, v, causal, scale)


def plain(q: Array, k: Array, v: Array, causal: bool, scale: float) -> Array:
    """All scores at once."""
    scores = jnp.einsum("...thd,...shd->...hts", q, k, preferred_element_type=jnp.float32) * scale
    if causal:
        t, s = scores.shape[-2:]
        scores = jnp.where(jnp.arange(s) > jnp.arange(t)[:, None], -jnp.inf, scores)
    weights = jax.nn.softmax(scores, -1).astype(v.dtype)
    return jnp.einsum("...hts,...shd->...thd", weights, v)
