"""Stable Diffusion 2.1-base at full size: ours against PyTorch diffusers, same cores, same random weights.

    python benchmarks/stable_diffusion.py --peer PYTHON [--repeat 3]

PYTHON is the interpreter of an environment with torch and diffusers (this one need not have them). Prints medians of

    unet     one forward pass, batch 2, 64 x 64 latents, 77 tokens
    encode   the VAE's encoder on a 512 x 512 picture
    gradient the same and the gradient to the picture
    sds      ours only: one whole SDS step (64 x 64 render of voxels, encode + gradient, guided UNet)

with the time of the first call (tracing and compiling), in float32 on CPUs, and the ratios ours / theirs.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

UNET = {
    "sample_size": 64,
    "attention_head_dim": [5, 10, 20, 20],
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "sample_size": 512,
}


def timed(call: Callable[[], Any], repeat: int) -> dict[str, float]:
    """Seconds of the first call and the median of the others."""
    seconds = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return {"first": round(seconds[0], 2), "median": round(statistics.median(seconds[1:]), 3)}


def ours(folder: Path, repeat: int) -> dict[str, dict[str, float]]:
    """Make the weights, write them for the peer, and time jax3d."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jax3d.cli import keep_freed_memory
    from jax3d.diffusion import from_eps, guide_batched, scaled_linear, sds
    from jax3d.nn.field import Voxels
    from jax3d.nn.unet import UNet, UNetConfig
    from jax3d.nn.vae import VAE as Autoencoder
    from jax3d.nn.vae import VAEConfig
    from jax3d.prior.folder import unet_form, vae_form, write_network
    from jax3d.scene.nerf import NeRF

    keep_freed_memory()
    unet_config, vae_config = UNetConfig.from_json(UNET), VAEConfig.from_json(VAE)
    rng = np.random.default_rng(0)

    def random(form):
        scaled = lambda leaf: rng.standard_normal(leaf.shape, np.float32) / np.sqrt(max(np.prod(leaf.shape[:-1]), 1))  # noqa: E731
        return jax.tree.map(lambda leaf: jnp.asarray(scaled(leaf)), form)

    unet_params, vae_params = random(unet_form(unet_config)), random(vae_form(vae_config))
    write_network(folder / "unet", "diffusion_pytorch_model", unet_config, unet_params, None)
    write_network(folder / "vae", "diffusion_pytorch_model", vae_config, vae_params, None)
    latents, t, context = jnp.ones((2, 64, 64, 4)), jnp.full((2,), 500.0), jnp.ones((2, 77, 1024))
    image = jnp.full((1, 512, 512, 3), 0.3)
    network, autoencoder = UNet(unet_config), Autoencoder(vae_config)

    def encode(params, x):
        return autoencoder.apply({"params": params}, x, method="encode")[0]

    unet = jax.jit(lambda p, z, t, c: network.apply({"params": p}, z, t, c))
    encoder = jax.jit(encode)
    gradient = jax.jit(jax.grad(lambda x, p: jnp.sum(encode(p, x) ** 2)))
    results = {
        "unet": timed(lambda: unet(unet_params, latents, t, context).block_until_ready(), repeat),
        "encode": timed(lambda: encoder(vae_params, image).block_until_ready(), repeat),
        "gradient": timed(lambda: gradient(image, vae_params).block_until_ready(), repeat),
    }
    scene, schedule = NeRF(field=Voxels(64)), scaled_linear()
    from jax3d.math.orbit import turntable

    camera, field = turntable(1), scene.init(jax.random.key(0))

    def loss(field, unet_params, vae_params):
        out = scene.render(field, camera, None, height=64, width=64)
        x = encode(vae_params, jax.image.resize(2 * out.rgb - 1, (1, 512, 512, 3), "bilinear"))
        denoise = from_eps(lambda z, t: network.apply({"params": unet_params}, z, t, context), schedule)
        return sds(guide_batched(denoise, 7.5), x, jnp.ones(1), jnp.ones_like(x), 1.0)[0]

    step = jax.jit(jax.grad(loss))
    results["sds"] = timed(lambda: jax.block_until_ready(step(field, unet_params, vae_params)), repeat)
    return results


def theirs(folder: Path, repeat: int) -> dict[str, dict[str, float]]:
    """Time PyTorch diffusers on the same weights."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(folder / "unet").eval().requires_grad_(False)
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval().requires_grad_(False)
    latents, t, context = torch.ones(2, 4, 64, 64), torch.full((2,), 500.0), torch.ones(2, 77, 1024)
    image = torch.full((1, 3, 512, 512), 0.3)

    def gradient():
        x = image.clone().requires_grad_(True)
        vae.encode(x).latent_dist.mean.square().sum().backward()

    with torch.no_grad():
        results = {
            "unet": timed(lambda: unet(latents, t, context), repeat),
            "encode": timed(lambda: vae.encode(image).latent_dist.mean, repeat),
        }
    return results | {"gradient": timed(gradient, repeat)}


def main() -> None:
    """Run both, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="python of an environment with torch and diffusers")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--part", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps({"ours": ours, "theirs": theirs}[options.part](options.folder, options.repeat)))
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for part, python in (("ours", sys.executable), ("theirs", options.peer)):
            if python:
                arguments = [python, __file__, "--part", part, "--folder", folder, "--repeat", str(options.repeat)]
                done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True)
                results[part] = json.loads(done.stdout.splitlines()[-1])
    print(f"{'seconds':10}{'ours first':>12}{'ours':>10}{'theirs first':>14}{'theirs':>10}{'ratio':>8}")
    for name, mine in results["ours"].items():
        other = results.get("theirs", {}).get(name)
        tail = f"{other['first']:14.2f}{other['median']:10.3f}{mine['median'] / other['median']:8.2f}" if other else ""
        print(f"{name:10}{mine['first']:12.2f}{mine['median']:10.3f}{tail}")


if __name__ == "__main__":
    main()
