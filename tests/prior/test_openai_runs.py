"""Point-E's and Shap-E's runs on tiny random networks against recorded ones of the published code, draw by draw."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.diffusion import openai as diffusions
from jax3d.diffusion.denoiser import clip, guide_batched
from jax3d.diffusion.loss import denoising_loss, eps_weight
from jax3d.diffusion.sampler import ddim, sample
from jax3d.diffusion.schedule import inverse_parabola
from jax3d.diffusion.variance import below, ddpm_learned, prediction, variational_bound, with_variance
from jax3d.nn.point_e import Told
from jax3d.nn.point_e_config import PointEConfig
from jax3d.nn.shap_e_config import LatentConfig
from jax3d.prior import openai

BASE, UPSAMPLE = (diffusions.from_config(c) for c in (diffusions.POINT_E_BASE, diffusions.POINT_E_UPSAMPLE))


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "golden" / "native"


@pytest.fixture(scope="module")
def stored(folder):
    """name -> (apply(params, z, t, told), params) of a stored tiny network."""
    configs = json.loads((folder / "point_e_tiny" / "manifest.json").read_text())

    def case(name):
        config = PointEConfig.from_json(configs[name]["config"])
        _, params = openai.load(folder / "point_e_tiny" / f"{name}.safetensors", config)
        network = openai.module(config)
        return lambda params, *args: network.apply({"params": params}, *args), params

    return case


def arrays(path):
    return {k: jnp.asarray(np.moveaxis(v, 1, -1) if v.ndim == 3 else v) for k, v in np.load(path).items()}


def noises(z, first, last):
    return jnp.stack([z[f"in_noise_{i:03d}"] for i in range(first, last)])


def apart(got, wanted) -> float:
    """Relative L2."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize(
    "name", ["point_e_tiny/diffusion_cosine", "point_e_tiny/diffusion_linear", "shap_e_tiny/diffusion_exp"]
)
def test_tables_and_grids_are_the_published_ones(folder, name):
    z, law = np.load(folder / f"{name}.npz"), name.rpartition("_")[2]
    table = diffusions.from_config({"schedule": law, "timesteps": 1024}).schedule
    np.testing.assert_allclose(table.betas, z["out_betas"], rtol=1e-7)
    np.testing.assert_allclose(table.abar, z["out_alphas_cumprod"], rtol=1e-7)
    sigmas = diffusions.levels(64, float(z["out_karras_sigmas"][0]))
    np.testing.assert_allclose(sigmas, z["out_karras_sigmas"], rtol=1e-5)
    t = np.clip(np.searchsorted(table.sigmas, sigmas[:-1], side="right") - 1, 0, 1023)
    np.testing.assert_array_equal(t, z["out_karras_t"])


def test_the_table_of_the_bottleneck_is_the_published_one(folder):
    z = np.load(folder / "shap_e_tiny" / "diffusion_inv_parabola5.npz")
    np.testing.assert_allclose(inverse_parabola(power=5.0).abar, z["out_alphas_cumprod"], rtol=1e-6)


@pytest.mark.parametrize("name, churn", [("sampler_karras", 0.0), ("sampler_karras_churn", 3.0)])
def test_a_cloud_and_its_finer_one_are_the_published_ones(folder, stored, name, churn):
    """Eight guided steps each; what tells nothing in guidance is zeros, of the smaller cloud too."""
    z = arrays(folder / "point_e_tiny" / f"{name}.npz")
    both = lambda x: jnp.concatenate([x, jnp.zeros_like(x)])  # noqa: E731
    grid = both(z["in_embeddings"])

    def run(diffusion, network, params, told, draws, **options):
        denoise = guide_batched(diffusion.denoiser(lambda z, t: network(params, z, t, told)), 3.0)
        return diffusion.sample(denoise, draws[0], 8, noise=draws[1:], **options)

    network, params = stored("sampler_base_net")
    base = jax.jit(lambda p, n: run(BASE, network, p, Told(grid=grid), n, sigma_max=120.0, churn=churn))
    coarse = base(params, noises(z, 0, 9))
    wanted = z["out_base"][-1:]  # from here on: random networks let rounding grow
    assert apart(BASE.enter(coarse), BASE.enter(wanted)) < 1e-3
    network, params = stored("sampler_up_net")
    finer = jax.jit(lambda p, c, n: run(UPSAMPLE, network, p, Told(grid=grid, cloud=both(c)), n))
    cloud = jnp.concatenate([wanted, finer(params, wanted, noises(z, 9, 18))], 1)
    assert apart(BASE.enter(cloud), BASE.enter(z["out_final"])) < 1e-3


@pytest.mark.parametrize("name", ["sampler_ddpm16", "sampler_ddim16"])
def test_runs_over_some_of_the_times_are_the_published_ones(folder, stored, name):
    z = arrays(folder / "point_e_tiny" / f"{name}.npz")
    network, params = stored("sampler_base_net")
    times = np.round(np.linspace(0, 1023, 16)).astype(int)
    sigmas = np.append(BASE.schedule.sigmas[times][::-1], 0.0)
    draws, told = noises(z, 0, 17), Told(grid=z["in_embeddings"])

    @jax.jit
    def run(params, draws):
        start = draws[0] * np.sqrt(1 + sigmas[0] ** 2)
        said = lambda z, t: network(params, z, t, told)  # noqa: E731
        if "ddim" in name:
            denoise = clip(BASE.border(prediction(said), BASE.schedule))
            return sample(ddim(), denoise, start, sigmas)
        both = with_variance(BASE.border, said, BASE.schedule)
        return sample(ddpm_learned(bound=1.0), both, start, sigmas, noise=draws[1:])

    assert apart(run(params, draws), BASE.enter(z["out_y"])) < 1e-3


def test_the_loss_of_a_network_is_the_published_one(folder, stored):
    z = arrays(folder / "point_e_tiny" / "loss_base.npz")
    network, params = stored("loss_base")
    x0, noise, told = BASE.enter(z["in_x_start"]), z["in_noise"], Told(grid=z["in_embeddings"])
    np.testing.assert_allclose(x0, z["out_x_scaled"], rtol=1e-6)
    sigma = jnp.asarray(BASE.schedule.sigmas, jnp.float32)[z["in_t"]]
    both = with_variance(BASE.border, lambda *args: network(params, *args, told), BASE.schedule)
    foretold, u = jax.jit(both)(x0 + sigma[:, None, None] * noise, sigma)
    bits = variational_bound(x0, foretold, u, sigma, below(BASE.schedule, sigma))
    np.testing.assert_allclose(bits, z["out_vb"], rtol=1e-4, atol=1e-7)
    each = [
        denoising_loss(lambda *_, i=i: foretold[i : i + 1], x0[i : i + 1], s, noise[i : i + 1], eps_weight(s))
        for i, s in enumerate(sigma)
    ]
    np.testing.assert_allclose(each, z["out_mse"], rtol=1e-4)


SHAP_E = diffusions.from_config(diffusions.SHAP_E)


def latents(folder, name, weights):
    """A stored case of latents: arrays [b, rows, c] where they are latents, the network and its parameters."""
    configs = json.loads((folder / "shap_e_tiny" / "manifest.json").read_text())
    config = LatentConfig.from_json(configs[weights]["config"])
    _, params = openai.load(folder / "shap_e_tiny" / f"{weights}.safetensors", config)
    rows, channels = config.inner.n_ctx, config.inner.input_channels
    z = {k: jnp.asarray(v) for k, v in np.load(folder / "shap_e_tiny" / f"{name}.npz").items()}
    z = {k: v.reshape(-1, rows, channels) if v.shape[-1] == rows * channels else v for k, v in z.items()}
    network, told = openai.module(config), Told(vector=z["in_embeddings"])
    return z, lambda params, z, t, told=told: network.apply({"params": params}, z, t, told), params, told


@pytest.mark.parametrize("name, churn", [("sampler_karras", 0.0), ("sampler_karras_churn", 3.0)])
def test_latents_are_the_published_ones(folder, name, churn):
    z, network, params, told = latents(folder, name, "sampler_karras")
    told = jax.tree.map(lambda x: jnp.concatenate([x, jnp.zeros_like(x)]), told)
    draws = jnp.stack([z[f"in_draw_{i:03d}_randn"] for i in range(9)])

    @jax.jit
    def run(params, draws):
        denoise = guide_batched(SHAP_E.denoiser(lambda z, t: network(params, z, t, told)), 15.0)
        return SHAP_E.sample(denoise, draws[0], 8, noise=draws[1:], churn=churn)

    assert apart(run(params, draws), z["out_latent"]) < 1e-3


def test_the_loss_of_latents_is_the_published_one(folder):
    z, network, params, _ = latents(folder, "loss_text", "loss_text")
    x0, sigma = z["in_x_start"], jnp.asarray(SHAP_E.schedule.sigmas, jnp.float32)[z["in_t"]]
    both = with_variance(SHAP_E.border, lambda *args: network(params, *args), SHAP_E.schedule)
    foretold, u = jax.jit(both)(x0 + sigma[:, None, None] * z["in_noise"], sigma)
    bits = variational_bound(x0, foretold, u, sigma, below(SHAP_E.schedule, sigma))
    np.testing.assert_allclose(bits, z["out_vb"], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(jnp.mean((foretold - x0) ** 2, (1, 2)), z["out_mse"], rtol=1e-4)
