"""The one idea: every diffusion model is a denoiser D(x, sigma) -> x0 with x = x0 + sigma n, n ~ N(0, I).

A network is made a denoiser once, here. With z = x / sqrt(1 + sigma^2) and t = t(sigma):

    from_eps   D = x - sigma eps(z, t)                                    arXiv 2006.11239
    from_v     D = x / (1 + sigma^2) - sigma / sqrt(1 + sigma^2) v(z, t)  arXiv 2202.00512
    from_x0    D = f(z, t)
    edm        D = c_skip x + c_out F(c_in x, log(sigma) / 4)             arXiv 2206.00364, table 1
               D = sigma_d F(c_in x, log(sigma) / 4)                      without the skip

All are affine in the network's output, so whatever is linear in predictions may be written on x0. A function that takes
denoisers and gives one is an adjective of the model:

    guide      D_u + s (D_c - D_u)                  arXiv 2207.12598 with s as in its code (DreamFusion's w = s - 1)
    perp_neg   D_u + s (e - sum_i w_i perp(e_i, e)),  e = D_c - D_u,  e_i = D_i - D_u        arXiv 2304.04968
    rescale    the guided x0 with the spread of the conditional one                         arXiv 2305.08891
    clip, threshold   x0 kept within its range                             arXiv 2205.11487, sec. 2.3
    whole_times   D(z sqrt(1 + u^2), u) at the last level u <= sigma of the table           Point-E's and Shap-E's code
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.diffusion.schedule import Number, Schedule
from jax3d.types import Denoiser

Network = Callable[[Array, Array], Array]
"""network(z [b, ...], t [b]) -> prediction [b, ...]."""


def expand(scalars: Number, x: Float[Array, "b ..."]) -> Float[Array, "..."]:
    """Scalars () or [b] with trailing axes to broadcast over x [b, ...]; in x's precision, float32 at least."""
    scalars = jnp.asarray(scalars, jnp.promote_types(x.dtype, jnp.float32))
    if scalars.ndim and scalars.shape != x.shape[:1]:
        raise ValueError(f"A noise level or weight must be () or [b] = {x.shape[:1]}, got {scalars.shape}.")
    return scalars.reshape(scalars.shape + (1,) * (x.ndim - scalars.ndim)) if scalars.ndim else scalars


def scale_in(x: Float[Array, "b ..."], sigma: Number) -> Float[Array, "b ..."]:
    """z = x / sqrt(1 + sigma^2), the unit-variance input of a variance-preserving network."""
    return (x / jnp.sqrt(1 + expand(sigma, x) ** 2)).astype(x.dtype)


def from_eps(network: Network, schedule: Schedule) -> Denoiser:
    """The denoiser of a network that predicts the noise."""

    def denoise(x, sigma):
        s = expand(sigma, x)
        return (x - s * _predict(network, schedule, x, sigma)).astype(x.dtype)

    return denoise


def from_v(network: Network, schedule: Schedule) -> Denoiser:
    """The denoiser of a network that predicts v = (n - sigma x0) / sqrt(1 + sigma^2)."""

    def denoise(x, sigma):
        s = expand(sigma, x)
        scale = jnp.sqrt(1 + s**2)
        return (x / scale**2 - s / scale * _predict(network, schedule, x, sigma)).astype(x.dtype)

    return denoise


def from_x0(network: Network, schedule: Schedule) -> Denoiser:
    """The denoiser of a network that predicts the clean array."""

    def denoise(x, sigma):
        return _predict(network, schedule, x, sigma).astype(x.dtype)

    return denoise


def edm(network: Network, sigma_data: float = 0.5, *, skip: bool = True) -> Denoiser:
    """The denoiser of Karras et al.'s preconditioned network F(c_in x, log(sigma) / 4).

    Without `skip` it is D = sigma_data F instead, the same at large sigma. With it, at small sigma, F has to take the
    noise away number by number, which a network narrower than its input cannot; x0 itself lies on a manifold that it
    may know (arXiv 2511.13720).
    """

    def denoise(x, sigma):
        s = expand(sigma, x)
        total = jnp.sqrt(s**2 + sigma_data**2)
        c_noise = jnp.broadcast_to(jnp.log(jnp.asarray(sigma, s.dtype)) / 4, x.shape[:1])
        out = network((x / total).astype(x.dtype), c_noise)
        if not skip:
            return (sigma_data * out).astype(x.dtype)
        return ((sigma_data / total) ** 2 * x + s * sigma_data / total * out).astype(x.dtype)

    return denoise


def guide(conditional: Denoiser, unconditional: Denoiser, scale: Number, *, rescaled: Number = 0.0) -> Denoiser:
    """Classifier-free guidance D_u + s (D_c - D_u), s () or [b]; `rescaled` in [0, 1] is the share of `rescale`."""

    def denoise(x, sigma):
        toward, base = conditional(x, sigma), unconditional(x, sigma)
        guided = base + expand(scale, x) * (toward - base)
        return _rescaled(guided.astype(toward.dtype), toward, rescaled)

    return denoise


def guide_batched(many: Denoiser, *scales: Number, rescaled: Number = 0.0) -> Denoiser:
    """`guide` with one call, or with several conditions D_u + sum_i s_i (D_i - D_u) (arXiv 2206.01714).

    `many` denoises b examples under each condition, one condition after the other, and then b under none. A scale () or
    [b] may be negative: away from that condition. `rescaled` is the share of `rescale` to the first condition.
    """
    parts = len(scales) + 1

    def denoise(x, sigma):
        sigma = jnp.asarray(sigma)
        every = many(jnp.concatenate([x] * parts), jnp.concatenate([sigma] * parts) if sigma.ndim else sigma)
        *conditional, base = jnp.split(every, parts)
        toward = sum(expand(scale, x) * (each - base) for scale, each in zip(scales, conditional, strict=True))
        return _rescaled((base + toward).astype(base.dtype), conditional[0], rescaled)

    return denoise


def rescale(
    guided: Float[Array, "b ..."], conditional: Float[Array, "b ..."], share: Number, *, group: int = 1
) -> Float[Array, "b ..."]:
    """Give the guided x0 the standard deviation of the conditional x0, blended by `share` (phi of arXiv 2305.08891).

    The deviation is over each example, or over `group` consecutive examples together (MVDream's views).
    """
    spread = _spread(conditional, group) / jnp.maximum(_spread(guided, group), 1e-5)
    return (guided * (1 + expand(share, guided) * (spread - 1))).astype(guided.dtype)


def perp_neg(
    conditional: Denoiser, unconditional: Denoiser, negatives: Sequence[tuple[Denoiser, Number]], scale: Number
) -> Denoiser:
    """Guidance that leaves each negative prompt's direction only where it does not oppose the positive one.

    negatives: (denoiser, weight () or [b]), weights >= 0; with several of them per example, each example has its own
    weights. Inner products are over each example alone, so examples of a batch never meet.
    """

    def denoise(x, sigma):
        base = unconditional(x, sigma)
        toward = conditional(x, sigma) - base
        away = sum(
            (expand(weight, x) * _perpendicular(negative(x, sigma) - base, toward) for negative, weight in negatives),
            start=jnp.zeros_like(x),
        )
        return (base + expand(scale, x) * (toward - away)).astype(x.dtype)

    return denoise


def clip(denoise: Denoiser, bound: float = 1.0) -> Denoiser:
    """Keep x0 within [-bound, bound]."""
    return lambda x, sigma: jnp.clip(denoise(x, sigma), -bound, bound)


def threshold(denoise: Denoiser, quantile: float = 0.995, bound: float = 1.0) -> Denoiser:
    """Imagen's dynamic thresholding: clip |x0| at its quantile of each example, if above `bound`, and scale back."""

    def bounded(x, sigma):
        x0 = denoise(x, sigma)
        size = jnp.quantile(jnp.abs(x0.astype(jnp.float32)), quantile, axis=_inner(x0), keepdims=True)
        size = jnp.maximum(size, bound).astype(x0.dtype)
        return jnp.clip(x0, -size, size) * (bound / size)

    return bounded


def whole_times(denoise: Denoiser, schedule: Schedule) -> Denoiser:
    """Ask the network at the whole time below alone, and take its z for one of that time's level.

    A level in between is then read with up to one step of the table too little noise: an approximation that published
    code makes, and nothing else needs.
    """

    def floored(x, sigma):
        sigma = jnp.asarray(sigma, jnp.promote_types(x.dtype, jnp.float32))
        table = jnp.asarray(schedule.sigmas, sigma.dtype)
        below = jnp.max(jnp.where(table <= sigma[..., None], table, table[0]), -1)
        x = scale_in(x, sigma) * jnp.sqrt(1 + expand(below, x) ** 2)
        return denoise(x, below)

    return floored


def _predict(network: Network, schedule: Schedule, x: Array, sigma: Number) -> Array:
    t = jnp.broadcast_to(schedule.time(jnp.asarray(sigma, jnp.promote_types(x.dtype, jnp.float32))), x.shape[:1])
    return network(scale_in(x, sigma), t)


def _rescaled(guided: Array, conditional: Array, share: Number) -> Array:
    return guided if isinstance(share, float | int) and share == 0 else rescale(guided, conditional, share)


def _perpendicular(vector: Array, to: Array) -> Array:
    axes = _inner(to)
    along = jnp.sum(vector * to, axis=axes, keepdims=True)
    square = jnp.sum(to * to, axis=axes, keepdims=True)
    return vector - along / jnp.where(square > 0, square, 1) * to


def _spread(x: Array, group: int) -> Array:
    together = x.reshape(x.shape[0] // group, -1).astype(jnp.promote_types(x.dtype, jnp.float32))
    return jnp.repeat(jnp.std(together, axis=1), group).reshape((-1,) + (1,) * (x.ndim - 1))


def _inner(x: Array) -> tuple[int, ...]:
    return tuple(range(1, x.ndim))
