"""The autoencoder against PyTorch diffusers."""

import jax
import jax.numpy as jnp

from jax3d.nn.names import from_published
from jax3d.nn.vae import VAE, SelfAttention, VAEConfig


def test_tiny_vae_equals_diffusers(tiny, kit):
    vae = VAE(VAEConfig.from_json(tiny.config.VAE))
    params = {"params": tiny.weights(kit.shapes(vae, tiny.x["image"]), seed=2)}
    mean, logvar = kit.compiled(lambda p, x: vae.apply(p, x, method="encode"), params, tiny.x["image"])
    decoded = kit.compiled(lambda p, x: vae.apply(p, x, method="decode"), params, tiny.x["latents"])
    for got, name in ((mean, "mean"), (logvar, "logvar"), (decoded, "decoded")):
        assert kit.error(got, tiny.out[name]) < 5e-6


def test_vae_equals_diffusers(golden, kit):
    case = kit.stored(golden / "vae")
    z, vae = case.arrays, VAE(VAEConfig.from_json(case.config))
    image, s = kit.last(z["image"]), vae.config.scaling_factor
    params = from_published(case.weights, kit.shapes(vae, image))

    def encode(image, weight, params):
        mean, logvar = vae.apply({"params": params}, image, method="encode")
        latents = s * (mean + weight * jnp.exp(logvar / 2) * kit.last(z["eps"]))
        return jnp.sum(latents * kit.last(z["g"])), (mean, logvar, latents)

    gradient = jax.jit(jax.grad(encode, has_aux=True)).lower(image, 0.0, params).compile()
    for weight, name in ((0.0, "mode"), (1.0, "sample")):
        grad, (mean, logvar, latents) = gradient(image, weight, params)
        assert kit.error(latents, kit.last(z[f"latents_{name}"])) < 5e-6
        assert kit.error(grad, kit.last(z[f"grad_image_{name}"])) < 1e-5
    assert kit.error(mean, kit.last(z["moments_mean"])) < 5e-6
    assert kit.error(logvar, kit.last(z["moments_logvar"])) < 5e-6

    def decode(latents, params):
        return vae.apply({"params": params}, latents / s, method="decode")

    y, (grad, _) = kit.with_gradient(decode, kit.last(z["g_image"]), kit.last(z["latents_in"]), params)
    assert kit.error(y, kit.last(z["decoded"])) < 5e-6
    assert kit.error(grad, kit.last(z["grad_latents_decode"])) < 1e-5
    attention = SelfAttention(vae.config.norm_num_groups)
    mid = {"params": params["encoder"]["mid_block"]["attentions.0"]}
    assert kit.error(attention.apply(mid, kit.last(z["blk_x"])), kit.last(z["blk_attn"])) < 5e-6


def test_factor_is_pixels_per_latent():
    assert VAEConfig().factor == 1
    four = dict(down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4)
    assert VAEConfig.from_json(dict(four, block_out_channels=[32, 32, 64, 64])).factor == 8
