"""What the diffusion tests share: double precision, and the one model whose answers are known in closed form."""

import jax
import jax.numpy as jnp
import pytest

from jax3d.diffusion.denoiser import expand

MEAN, STD = 0.7, 0.5


@pytest.fixture
def double():
    """64-bit numbers within this test alone."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def gaussian():
    """The exact denoiser of data ~ N(MEAN, STD^2)."""

    def denoise(x, sigma):
        s = expand(sigma, x)
        return (MEAN + STD**2 / (STD**2 + s**2) * (x - MEAN)).astype(x.dtype)

    return denoise


@pytest.fixture(scope="session")
def flow():
    """The exact probability flow of that data: flow(x at sigma, sigma, other) -> x at other."""
    return lambda x, sigma, other: MEAN + jnp.sqrt((STD**2 + other**2) / (STD**2 + sigma**2)) * (x - MEAN)
