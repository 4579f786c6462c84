"""Makes openai_sampler.npz: every state of sampling runs of the published Point-E and Shap-E code on a toy network.

Run where torch and the checkouts (openai/point-e fc8a607, openai/shap-e 5013101) can be imported:
`python tests/golden/openai_sampler.py`. Computed in float64; channels are last. The network is the formula `toy`, whose
time dependence shows whether times are whole.
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("openai_sampler.npz")
STEPS, POINTS, SCALE = 8, 3, 3.0
CHANNELS = {
    "channel_scales": [2.0, 2.0, 2.0, 0.007843137255, 0.007843137255, 0.007843137255],
    "channel_biases": [0.0, 0.0, 0.0, -1.0, -1.0, -1.0],
}
CONFIGS = {
    "base": {**CHANNELS, "mean_type": "epsilon", "schedule": "cosine", "timesteps": 1024},
    "upsample": {**CHANNELS, "mean_type": "epsilon", "schedule": "linear", "timesteps": 1024},
    "latents": {"mean_type": "x_start", "schedule": "exp", "timesteps": 1024},
}
RUNS = {"base": (120.0, 3.0), "upsample": (160.0, 0.0), "latents": (160.0, 0.0)}
"""sigma_max, churn."""


def toy(xp, z, t, told):
    """(z [b, n, c], t [b], told [b]) -> a prediction and the place of its variance, [b, n, 2 c]."""
    t, told = t[:, None, None], told[:, None, None]
    mean = xp.tanh(0.9 * z + 0.3 * told) + 0.2 * xp.sin(t / 64)
    return xp.concatenate([mean, xp.cos(z + told)], -1)


def main() -> None:
    """Needs torch, point_e and shap_e."""
    import torch
    from point_e.diffusion import configs, k_diffusion
    from shap_e.diffusion import gaussian_diffusion as latent_configs
    from shap_e.diffusion import k_diffusion as latent_k_diffusion

    torch.set_default_dtype(torch.float64)
    draws = []

    def randn(*shape, **_):
        draws.append(np.random.RandomState(len(draws)).standard_normal(shape))
        return torch.tensor(draws[-1])

    torch.randn, torch.randn_like = randn, lambda x: randn(*x.shape)
    first, last = (lambda x: np.moveaxis(x, -1, 1)), (lambda x: np.moveaxis(np.asarray(x), 1, -1))

    def network(x, t, told):
        return torch.tensor(first(toy(np, last(x), t.numpy(), told.numpy())))

    out = {}
    for name, config in CONFIGS.items():
        draws.clear()
        made, runs = (latent_configs, latent_k_diffusion) if name == "latents" else (configs, k_diffusion)
        diffusion = made.diffusion_from_config(config)
        diffusion.unscale_out_dict = lambda x: x
        sigma_max, churn = RUNS[name]
        told = {"told": torch.tensor([1.0, 0.0])}
        options = dict(model_kwargs=told, sigma_min=1e-3, sigma_max=sigma_max, s_churn=churn, guidance_scale=SCALE)
        run = runs.karras_sample_progressive(diffusion, network, (1, 6, POINTS), STEPS, device="cpu", **options)
        run = list(run)
        churned = [x["sigma_hat"] ** 2 - x["sigma"] ** 2 for x in run[:-1]]  # what is yielded has its noise already
        added = [np.sqrt(float(c)) * torch.tensor(noise) for c, noise in zip(churned, draws[1:], strict=True)]
        out[f"{name}_states"] = np.stack([last(x["x"] - y) for x, y in zip(run, [*added, 0], strict=True)])
        out[f"{name}_noise"] = np.stack([last(x) for x in draws])
    draws.clear()
    diffusion = configs.diffusion_from_config({**CONFIGS["base"], "respacing": str(STEPS)})
    diffusion.unscale_out_dict = lambda x: x
    told = {"told": torch.tensor([1.0])}
    run = diffusion.p_sample_loop_progressive(
        network, (1, 6, POINTS), device="cpu", model_kwargs=told, clip_denoised=True
    )
    out["ddpm_states"] = np.stack([last(x["sample"]) for x in run])
    out["ddpm_noise"] = np.stack([last(x) for x in draws])
    diffusion = configs.diffusion_from_config(CONFIGS["base"])
    x0, noise = (
        torch.tensor(first(0.5 * np.random.RandomState(i).standard_normal((3, POINTS, 6)))) for i in (100, 101)
    )
    diffusion.scale_channels = lambda x: x
    terms = diffusion.training_losses(network, x0, torch.tensor([0, 400, 1020]), {"told": torch.ones(3)}, 2 * noise)
    out |= {f"loss_{name}": terms[name].numpy() for name in ("vb", "mse")}
    out |= {"loss_x0": last(x0), "loss_noise": last(2 * noise)}
    np.savez_compressed(FILE, **{k: v.astype(np.float32) for k, v in out.items()})


if __name__ == "__main__":
    main()
