"""Score distillation: move x until a denoiser likes it, without differentiating the denoiser.

With x_sigma = x + sigma n, each rule is a gradient on x: w(sigma) / sigma times a difference of two estimates of x0.

    sds          x         - D(x_sigma)            DreamFusion, arXiv 2209.14988; D is the guided denoiser
    csd          s (D_uncond - D_cond)(x_sigma)    Classifier score distillation, arXiv 2310.19415
    vsd          (D_student - D)(x_sigma)          ProlificDreamer, arXiv 2305.16213; the student trains on renders
    reconstruct  x - D(x_sigma), no w / sigma      MVDream, arXiv 2308.16512, eq. 4: sds with w = sigma

sds's g is w (eps_hat - n). Each function gives a loss whose gradient is that rule: with g held constant

    loss = mean_b 1/2 |x_b - (x_b - g_b)|^2 = mean_b 1/2 |g_b|^2,        d loss / d x_b = g_b / b

summed, not averaged, over the numbers of an example: a latent of twice the edge pulls four times as hard. The loss's
value says nothing of progress; watch `gradient_norm`, the mean over examples of |g_b| before any bound.
"""

import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from jax3d.diffusion.denoiser import expand
from jax3d.diffusion.schedule import Number
from jax3d.types import Denoiser, Metrics

Loss = tuple[Float[Array, ""], Metrics]


def dreamfusion_weight(sigma: Float[Array, "..."]) -> Float[Array, "..."]:
    """sigma^2 / (1 + sigma^2) = 1 - abar: DreamFusion's w(t) = sigma_t^2."""
    return sigma**2 / (1 + sigma**2)


def uniform_weight(sigma: Float[Array, "..."]) -> Float[Array, "..."]:
    """1: Magic3D's open configs."""
    return jnp.ones_like(sigma)


def sigma_weight(sigma: Float[Array, "..."]) -> Float[Array, "..."]:
    """sigma: cancels the division, so that sds becomes reconstruct."""
    return sigma


def fantasia_weight(sigma: Float[Array, "..."]) -> Float[Array, "..."]:
    """sqrt(abar) (1 - abar): Fantasia3D (arXiv 2303.13873)."""
    return sigma**2 / (1 + sigma**2) ** 1.5


def sds(
    denoise: Denoiser,
    x: Float[Array, "b ..."],
    sigma: Float[Array, "..."],
    noise: Float[Array, "b ..."],
    weight: Number,
    *,
    max_norm: Number | None = None,
) -> Loss:
    """Score distillation sampling: gradient weight (x - D(x + sigma n)) / sigma. sigma, weight are () or [b]."""
    clean = stop_gradient(x)
    return pull(x, _ratio(weight, sigma, x) * (clean - denoise(_noisy(clean, sigma, noise), sigma)), max_norm=max_norm)


def reconstruct(
    denoise: Denoiser,
    x: Float[Array, "b ..."],
    sigma: Float[Array, "..."],
    noise: Float[Array, "b ..."],
    *,
    max_norm: Number | None = None,
) -> Loss:
    """MVDream's x0-reconstruction: gradient x - D(x + sigma n)."""
    return sds(denoise, x, sigma, noise, sigma, max_norm=max_norm)


def csd(
    conditional: Denoiser,
    unconditional: Denoiser,
    x: Float[Array, "b ..."],
    sigma: Float[Array, "..."],
    noise: Float[Array, "b ..."],
    weight: Number,
    scale: Number = 1.0,
    *,
    max_norm: Number | None = None,
) -> Loss:
    """Classifier score distillation: gradient weight scale (D_uncond - D_cond) / sigma, sds's guidance term alone."""
    noisy = _noisy(stop_gradient(x), sigma, noise)
    difference = expand(scale, x) * (unconditional(noisy, sigma) - conditional(noisy, sigma))
    return pull(x, _ratio(weight, sigma, x) * difference, max_norm=max_norm)


def vsd(
    student: Denoiser,
    pretrained: Denoiser,
    x: Float[Array, "b ..."],
    sigma: Float[Array, "..."],
    noise: Float[Array, "b ..."],
    weight: Number,
    *,
    max_norm: Number | None = None,
) -> Loss:
    """Variational score distillation: gradient weight (D_student - D_pretrained) / sigma.

    The student trains apart, by `loss.denoising_loss` on stop_gradient(x); no gradient reaches it from here.
    """
    noisy = _noisy(stop_gradient(x), sigma, noise)
    difference = student(noisy, sigma) - pretrained(noisy, sigma)
    return pull(x, _ratio(weight, sigma, x) * difference, max_norm=max_norm)


def pull(x: Float[Array, "b ..."], gradient: Float[Array, "b ..."], *, max_norm: Number | None = None) -> Loss:
    """The loss with a given gradient on x, and its metrics.

    Numbers of the gradient that are not finite count as 0 (their share is the metric `nonfinite`); with `max_norm`,
    each example's gradient is then scaled down to that norm.
    """
    gradient = stop_gradient(gradient)
    finite = jnp.isfinite(gradient)
    gradient = jnp.where(finite, gradient, 0).astype(jnp.promote_types(x.dtype, jnp.float32))
    norm = jnp.sqrt(jnp.sum(gradient**2, axis=tuple(range(1, x.ndim))))
    if max_norm is not None:
        gradient = gradient * expand(jnp.minimum(1, max_norm / jnp.maximum(norm, 1e-12)), gradient)
    # 1/2 |x - sg(x - g)|^2 written so that no rounding of x - g enters the gradient
    loss = jnp.sum(gradient * (x - stop_gradient(x)) + 0.5 * gradient**2) / x.shape[0]
    return loss, {"gradient_norm": jnp.mean(norm), "nonfinite": 1 - jnp.mean(finite.astype(norm.dtype))}


def _noisy(x: Array, sigma: Number, noise: Array) -> Array:
    return (x + expand(sigma, x) * noise).astype(x.dtype)


def _ratio(weight: Number, sigma: Number, x: Array) -> Array:
    return expand(weight, x) / expand(sigma, x)
