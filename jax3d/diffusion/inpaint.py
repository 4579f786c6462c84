"""Completing and interpolating with a trained denoiser: what its sampler is told, whatever x is.

    inpaint   D'(x, sigma) = m y + (1 - m) D(x, sigma)

y is known where the mask m is 1. This is replacement on x0 (arXiv:2212.00490, its range-null space decomposition with
the mask as operator). Every sampler here is written on D, and where D' = y its Euler step

    x_r = y + (r / s) (x_s - y)    keeps    x_sigma = y + sigma n,    n the noise that the sampler began with;

so the known part carries its own noise at every level, as the replacement of x itself does (arXiv:2011.13456, appendix
I.2), and an ancestral sampler draws it anew at each step, as RePaint does (arXiv:2201.09865, without its jumps back).
The unknown part is drawn exactly where it does not depend on the known one. Elsewhere it sees the known part through
D at every level, an approximation that these methods share: of Gaussian pairs with correlation 0.9 the unknown's mean
goes 2/3 of its way to the right one with ddpm, under half with euler. So prefer samplers that draw noise.

    slerp     (sin((1 - u) a) x + sin(u a) y) / sin a,    cos a = <x, y> / |x| |y|

leads from one initial noise to another along the sphere near which all normal noise lies (arXiv:1609.04468).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from jax3d.diffusion.denoiser import expand
from jax3d.diffusion.schedule import Number
from jax3d.types import Denoiser


def inpaint(denoise: Denoiser, known: Float[Array, "..."], mask: Shaped[Array, "..."]) -> Denoiser:
    """The denoiser whose x0 is `known` where `mask` is 1 and free where it is 0; between them a blend.

    Both broadcast against x [b, ...]: one example for all or one each. Raises ValueError where they do not.
    """

    def completed(x, sigma):
        for name, array in (("known", known), ("mask", mask)):
            fits = zip(array.shape[::-1], x.shape[::-1], strict=False)
            if array.ndim > x.ndim or any(size not in (1, wanted) for size, wanted in fits):
                raise ValueError(f"`{name}` must broadcast to x of shape {x.shape}, got shape {array.shape}.")
        x0 = denoise(x, sigma)
        return (mask * known + (1 - mask) * x0).astype(x0.dtype)

    return completed


def slerp(a: Float[Array, "b ..."], b: Float[Array, "b ..."], share: Number) -> Float[Array, "b ..."]:
    """From a (share 0) to b (share 1) along the great circle, each example by itself; share is () or [b].

    Arrays of equal length keep it. Parallel ones, which have no angle, are mixed linearly.
    """
    axes = tuple(range(1, a.ndim))
    inner = lambda x, y: jnp.sum(x * y, axis=axes, keepdims=True)  # noqa: E731
    wide = jnp.promote_types(a.dtype, jnp.float32)
    x, y, u = a.astype(wide), b.astype(wide), expand(share, a)
    unit_x, unit_y = (v / jnp.sqrt(jnp.maximum(inner(v, v), jnp.finfo(wide).tiny)) for v in (x, y))
    # Half the angle from its tangent: the arc cosine loses all digits where the two are nearly parallel.
    half = jnp.arctan2(*(jnp.sqrt(inner(v, v)) for v in (unit_x - unit_y, unit_x + unit_y)))
    sine = jnp.sin(2 * half)
    flat = sine < 1e-6
    ratio = lambda u: jnp.where(flat, u, jnp.sin(2 * u * half) / jnp.where(flat, 1, sine))  # noqa: E731
    return (ratio(1 - u) * x + ratio(u) * y).astype(a.dtype)
