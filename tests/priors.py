"""Fixtures: small pipelines with random weights, made once a session."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.io.weights import write_weights
from jax3d.nn.clip import CLIPTextConfig
from jax3d.nn.unet import UNetConfig
from jax3d.nn.vae import VAEConfig
from jax3d.prior import openai
from jax3d.prior.folder import text_form, unet_form, vae_form
from jax3d.prior.stable_diffusion import assemble
from jax3d.prior.tokenizer import train_bpe

CAPTIONS = [f"a {color} {kind}" for color in ("red", "green") for kind in ("chair", "table", "lamp")]
SCHEDULER = {
    **{"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    **{"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1, "num_train_timesteps": 1000},
}


def _random_params(form, seed):
    """Normal numbers of about the size of trained weights; no zeros, so that nothing hides."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.1 * rng.normal(size=leaf.shape) + (leaf.ndim == 1), jnp.float32), form
    )


@pytest.fixture(scope="session")
def random_params():
    """random_params(form, seed) -> parameters."""
    return _random_params


@pytest.fixture(scope="session")
def make_prior(tmp_path_factory):
    """make_prior(**scheduler fields) -> a StableDiffusion of some ten thousand parameters, 16 x 16 pixels."""
    tokenizer = train_bpe(CAPTIONS, 600, 8, tmp_path_factory.mktemp("tokenizer"))
    unet = UNetConfig(
        **{"sample_size": 8, "block_out_channels": (8,), "layers_per_block": 1, "cross_attention_dim": 8},
        **{"attention_head_dim": 2, "norm_num_groups": 4},
        **{"down_block_types": ("CrossAttnDownBlock2D",)},
        **{"up_block_types": ("CrossAttnUpBlock2D",)},
    )
    vae = VAEConfig(
        **{"block_out_channels": (8, 8), "norm_num_groups": 4, "sample_size": 16},
        **{"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2},
    )
    size = len(tokenizer.get_vocab())
    text = CLIPTextConfig(
        **{"vocab_size": size, "hidden_size": 8, "intermediate_size": 16, "projection_dim": 8},
        **{"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 8},
        **{"bos_token_id": size - 2, "eos_token_id": size - 1, "pad_token_id": size - 1},
    )
    forms = {"unet": unet_form(unet), "vae": vae_form(vae), "text_encoder": text_form(text)}
    params = {name: _random_params(form, i) for i, (name, form) in enumerate(forms.items())}
    return lambda **fields: assemble(unet, vae, text, tokenizer, SCHEDULER | fields, params)


@contextlib.contextmanager
def published_folders(tmp_path_factory, named, network):
    """make(*names) -> a folder with files of those published names, whose configs are those of `named` meanwhile.

    network(config, seed) gives the weights.
    """

    def make(*names):
        made = tmp_path_factory.mktemp("model")
        for k, name in enumerate(names):
            write_weights(made / f"{name}.safetensors", openai.state(named[name], network(named[name], k)))
        return made

    with pytest.MonkeyPatch.context() as patch:
        for name, config in named.items():
            patch.setitem(openai.PUBLISHED, name, config)
        yield make
