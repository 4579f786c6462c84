"""How far two images, two masks or two point sets are from each other.

PSNR     -10 log10 mean (a - b)^2, in dB, for values in [0, 1]
SSIM     Wang, Bovik, Sheikh, Simoncelli 2004, eq. 13: with local means m, variances v and covariance c under a
         Gaussian window of 11 x 11 and standard deviation 1.5,
             (2 m_a m_b + C1) (2 c_ab + C2) / ((m_a^2 + m_b^2 + C1) (v_a + v_b + C2)),  C1 = 0.01^2, C2 = 0.03^2,
         averaged over the windows that lie wholly inside the image, and over channels
IoU      |a and b| / |a or b|
Chamfer  mean_i min_j |a_i - b_j|^p + mean_j min_i |a_i - b_j|^p:  both directions added, each a mean over its own
         points; p = 2 is `chamfer_squared`, p = 1 `chamfer`. Papers differ: some add, or halve.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

RADIUS, SIGMA = 5, 1.5
C1, C2 = 0.01**2, 0.03**2


def psnr(a: Float[Array, "*b h w c"], b: Float[Array, "*b h w c"]) -> Float[Array, "*b"]:
    """Peak signal-to-noise ratio in dB of images in [0, 1]; infinite for equal ones."""
    return -10 * jnp.log10(jnp.mean((a - b) ** 2, axis=(-3, -2, -1)))


def ssim(a: Float[Array, "*b h w c"], b: Float[Array, "*b h w c"]) -> Float[Array, "*b"]:
    """Structural similarity in [-1, 1] of images in [0, 1], 1 for equal ones. Images must be 11 x 11 or larger."""
    if min(a.shape[-3:-1]) < 2 * RADIUS + 1:
        raise ValueError(f"SSIM needs images of at least 11 x 11, got {a.shape[-3]} x {a.shape[-2]}; use PSNR there.")
    mean_a, mean_b, squares, product = _blur(jnp.stack([a, b, a * a + b * b, a * b]))
    variance = squares - mean_a**2 - mean_b**2  # of a and b together
    covariance = product - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return jnp.mean(luminance * (2 * covariance + C2) / (variance + C2), axis=(-3, -2, -1))


def iou(a: Bool[Array, "*b h w"], b: Bool[Array, "*b h w"]) -> Float[Array, "*b"]:
    """Intersection over union of masks; 1 where both are empty."""
    union = jnp.sum(a | b, axis=(-2, -1))
    return jnp.where(union > 0, jnp.sum(a & b, axis=(-2, -1)) / jnp.maximum(union, 1), 1.0)


def nearest(points: Float[Array, "n d"], others: Float[Array, "m d"], chunk: int = 1024) -> Int[Array, "n"]:
    """The index of the nearest of `others` to each point, by brute force in memory of about chunk * m numbers."""
    if not len(points) or not len(others):
        raise ValueError(f"the nearest point needs points on both sides, got {len(points)} and {len(others)}.")

    def one(point):
        return jnp.argmin(jnp.sum((point - others) ** 2, axis=-1))  # |p|^2 - 2 p.q + |q|^2 would lose the small digits

    return jax.lax.map(one, points, batch_size=min(chunk, len(points)))


def chamfer_squared(a: Float[Array, "n d"], b: Float[Array, "m d"], chunk: int = 1024) -> Float[Array, ""]:
    """Chamfer distance with squared Euclidean distances (p = 2), in squared units of length; differentiable."""
    return jnp.mean(_gaps(a, b, chunk)) + jnp.mean(_gaps(b, a, chunk))


def chamfer(a: Float[Array, "n d"], b: Float[Array, "m d"], chunk: int = 1024) -> Float[Array, ""]:
    """Chamfer distance with Euclidean distances (p = 1), in units of length; differentiable, 0 at coincident points."""
    return jnp.mean(_root(_gaps(a, b, chunk))) + jnp.mean(_root(_gaps(b, a, chunk)))


def _gaps(points: Array, others: Array, chunk: int) -> Array:
    """Squared distances to the nearest neighbours: gathered, so that the gradient needs no n x m array."""
    index = nearest(jax.lax.stop_gradient(points), jax.lax.stop_gradient(others), chunk)
    return jnp.sum((points - others[index]) ** 2, axis=-1)


def _root(squared: Array) -> Array:
    """The square root with gradient 0 instead of infinity at 0."""
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def _blur(images: Array) -> Array:
    """The Gaussian window's mean at each place where it fits: [..., h, w, c] -> [..., h - 10, w - 10, c]."""
    offsets = jnp.arange(-RADIUS, RADIUS + 1)
    weights = jnp.exp(-0.5 * (offsets / SIGMA) ** 2).astype(images.dtype)
    weights /= weights.sum()
    *_, height, width, _ = images.shape
    rows = sum(w * images[..., i : height - 2 * RADIUS + i, :, :] for i, w in enumerate(weights))
    return sum(w * rows[..., :, i : width - 2 * RADIUS + i, :] for i, w in enumerate(weights))
