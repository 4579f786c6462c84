"""Stable Diffusion as a prior: text -> context, pictures <-> latents, context -> denoiser of latents.

    x0 = scaling_factor (mean(2 image - 1) - shift),      D(x, sigma) = border(UNet(z, t, context)),  see diffusion

`border` is from_eps, from_v or from_x0, as scheduler_config.json says; nothing else depends on what the network
predicts. arXiv:2112.10752; folder layout of diffusers' StableDiffusionPipeline.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jax3d.diffusion.published import Published, from_scheduler_config
from jax3d.diffusion.schedule import Schedule
from jax3d.io.hub import resolve
from jax3d.io.weights import read_json, read_weights, write_json
from jax3d.nn.clip import CLIPText, CLIPTextConfig
from jax3d.nn.unet import UNet, UNetConfig
from jax3d.nn.vae import VAE, VAEConfig
from jax3d.prior import convert, single_file
from jax3d.prior.folder import fill, read_network, text_form, unet_form, vae_form, write_network
from jax3d.prior.tokenizer import Tokenizer, load_tokenizer, openai_tokenizer, save_tokenizer, tokenize
from jax3d.types import Denoiser, Key, Params

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
UNET_STEM, TEXT_STEM = "diffusion_pytorch_model", "model"


@dataclasses.dataclass(frozen=True, eq=False)
class StableDiffusion:
    """A loaded text-to-image model; made by `load` or `assemble`.

    `params` = {"unet", "vae", "text_encoder"}. Methods take parameters as an argument, so that jitted callers pass
    them in instead of closing over them.
    """

    unet: UNetConfig
    vae: VAEConfig
    text: CLIPTextConfig
    tokenizer: Tokenizer
    scheduler: Mapping[str, Any]  # the published scheduler_config.json
    published: Published  # the same, read
    params: Params

    @property
    def schedule(self) -> Schedule:
        """The noise levels it was trained with."""
        return self.published.schedule

    @property
    def resolution(self) -> int:
        """Pixels along an edge of the pictures it was trained on."""
        return self.latent_shape[0] * self.vae.factor

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of those pictures' latents."""
        size = self.unet.sample_size or 64
        height, width = size if isinstance(size, tuple) else (size, size)
        return height, width, self.vae.latent_channels

    def embed(self, prompts: Sequence[str], params: Params | None = None) -> Float[Array, "b n d"]:
        """Prompts -> context, one vector a token, of `params` or else of the loaded weights."""
        ids = jnp.asarray(tokenize(self.tokenizer, prompts, self.text.max_position_embeddings))
        return text_states(self.text, (params or self.params)["text_encoder"], ids)

    def gaussian(self, params: Params, image: Float[Array, "b h w 3"]) -> tuple[Array, Array]:
        """(mean, standard deviation) of an image's latents, scaled as the UNet sees them."""
        if image.shape[1] % self.vae.factor or image.shape[2] % self.vae.factor:
            size = f"{image.shape[1]} x {image.shape[2]}"
            raise ValueError(f"the image is {size}, but its edges must be multiples of {self.vae.factor}.")
        mean, logvar = VAE(self.vae).apply({"params": params["vae"]}, 2 * image - 1, method="encode")
        mean, std = mean.astype(jnp.float32), jnp.exp(0.5 * logvar.astype(jnp.float32))
        return (mean - (self.vae.shift_factor or 0.0)) * self.vae.scaling_factor, std * self.vae.scaling_factor

    def encode(self, params: Params, image: Float[Array, "b h w 3"], key: Key | None = None) -> Float[Array, "b y x c"]:
        """Images in [0, 1] -> latents: the mode, or a sample where a key is given. The gradient flows through."""
        mean, std = self.gaussian(params, image)
        return mean if key is None else mean + std * jax.random.normal(key, mean.shape)

    def decode(self, params: Params, latents: Float[Array, "b y x c"]) -> Float[Array, "b h w 3"]:
        """Latents -> images in [0, 1]."""
        z = latents / self.vae.scaling_factor + (self.vae.shift_factor or 0.0)
        images = VAE(self.vae).apply({"params": params["vae"]}, z, method="decode")
        return jnp.clip(images.astype(jnp.float32) / 2 + 0.5, 0.0, 1.0)

    def denoiser(self, params: Params, context: Float[Array, "c n d"]) -> Denoiser:
        """D(x, sigma) of latents under a context of as many rows as x, or of one row for all."""

        def network(z: Array, t: Array) -> Array:
            rows = jnp.broadcast_to(context, (len(z), *context.shape[1:]))
            out = UNet(self.unet).apply({"params": params["unet"]}, z, jnp.broadcast_to(t, (len(z),)), rows)
            return out.astype(jnp.float32)

        return self.published.denoiser(network)


@functools.partial(jax.jit, static_argnums=0)
def text_states(config: CLIPTextConfig, params: Params, ids: Array) -> Array:
    """The text tower's last hidden state [b, n, d]."""
    return CLIPText(config).apply({"params": params}, ids)[0]


def assemble(
    unet: UNetConfig,
    vae: VAEConfig,
    text: CLIPTextConfig,
    tokenizer: Tokenizer,
    scheduler: Mapping[str, Any],
    params: Params,
) -> StableDiffusion:
    """The prior of these parts, checked against each other; `scheduler` is a published scheduler_config.json."""
    rules = [
        ("unet.in_channels", unet.in_channels, "vae.latent_channels", vae.latent_channels),
        ("unet.out_channels", unet.out_channels, "vae.latent_channels", vae.latent_channels),
        ("unet.cross_attention_dim", unet.cross_attention_dim, "text_encoder.hidden_size", text.hidden_size),
        ("unet.class_embed_type", unet.class_embed_type, "that of a text-to-image model", None),
    ]
    for left, a, right, b in rules:
        if a != b:
            raise ValueError(f"{left} is {a}, which must equal {right} ({b}); the parts are of different models.")
    if len(tokenizer.get_vocab()) > text.vocab_size:
        raise ValueError(
            f"the tokenizer has {len(tokenizer.get_vocab())} tokens, but the text encoder knows {text.vocab_size}; "
            "the parts are of different models."
        )
    published = from_scheduler_config(dict(scheduler))
    return StableDiffusion(unet, vae, text, tokenizer, dict(scheduler), published, params)


def load(
    source: str | Path, dtype: Any = jnp.float32, *, use_ema: bool = True, prediction_type: str | None = None
) -> StableDiffusion:
    """A pipeline folder, a single file, a bundled model or a Hub id -> the prior with weights in `dtype`.

    `use_ema`: take the moving average where a single file has one. `prediction_type` overrides what folder or file
    name say. ValueError, one sentence that names file and tensor, for whatever is missing, cut off or does not fit.
    """
    path = resolve(source, [f"{part}/*" for part in PARTS], half=jnp.dtype(dtype).itemsize == 2)
    prior = _load_folder(path, dtype) if path.is_dir() else _load_file(path, dtype, use_ema, prediction_type)
    if prediction_type in (None, prior.scheduler.get("prediction_type")):
        return prior
    scheduler = {**prior.scheduler, "prediction_type": prediction_type}
    return assemble(prior.unet, prior.vae, prior.text, prior.tokenizer, scheduler, prior.params)


def save(prior: StableDiffusion, folder: str | Path, dtype: Any = None) -> None:
    """Write a folder which `load` and diffusers' StableDiffusionPipeline.from_pretrained read.

    Floating-point weights in `dtype`, or as they are where it is None. model_index.json comes last, so that a folder
    cut short is no pipeline.
    """
    folder = Path(folder)
    write_network(folder / "unet", UNET_STEM, prior.unet, prior.params["unet"], dtype)
    write_network(folder / "vae", UNET_STEM, prior.vae, prior.params["vae"], dtype)
    write_network(folder / "text_encoder", TEXT_STEM, prior.text, prior.params["text_encoder"], dtype)
    save_tokenizer(prior.tokenizer, folder / "tokenizer")
    write_json(folder / "scheduler" / "scheduler_config.json", prior.scheduler)
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", prior.scheduler.get("_class_name", "DDIMScheduler")],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    write_json(folder / "model_index.json", index)


def _load_folder(folder: Path, dtype: Any) -> StableDiffusion:
    missing = [part for part in ("model_index.json", *PARTS) if not (folder / part).exists()]
    if missing:
        raise ValueError(
            f"{folder} is no Stable Diffusion pipeline: it has no {missing[0]}; "
            "give a folder with model_index.json, " + ", ".join(f"{part}/" for part in PARTS) + "."
        )
    unet, unet_params = read_network(UNetConfig, unet_form, folder / "unet", UNET_STEM, dict, dtype)
    vae, vae_params = read_network(VAEConfig, vae_form, folder / "vae", UNET_STEM, convert.published_vae, dtype)
    text, text_params = read_network(
        CLIPTextConfig, text_form, folder / "text_encoder", TEXT_STEM, convert.published_text, dtype
    )
    params = {"unet": unet_params, "vae": vae_params, "text_encoder": text_params}
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    try:
        return assemble(unet, vae, text, load_tokenizer(folder / "tokenizer"), scheduler, params)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None


def _load_file(path: Path, dtype: Any, use_ema: bool, prediction_type: str | None) -> StableDiffusion:
    tensors = read_weights(path)
    if not convert.is_single_file(tensors):
        raise ValueError(f"{path} is no Stable Diffusion file: it has no tensor named {convert.UNET}*; fix the path.")
    second = any(name.startswith(convert.TEXT2) for name in tensors)
    prediction = prediction_type or single_file.prediction_type(path, second)
    size = 96 if prediction == "v_prediction" else 64
    try:
        parts = convert.split_single_file(tensors, use_ema)
        unet, text = (
            single_file.unet_config(parts["unet"], size),
            single_file.text_config(parts["text_encoder"], second),
        )
        vae = single_file.vae_config(parts["vae"], 8 * size)
    except (ValueError, LookupError, AttributeError) as error:
        raise ValueError(f"{path} is no Stable Diffusion file of a known form ({error}); give a folder.") from None
    forms = {"unet": unet_form(unet), "vae": vae_form(vae), "text_encoder": text_form(text)}
    params = {part: fill(parts[part], like, dtype, path) for part, like in forms.items()}
    tokenizer = openai_tokenizer("!" if second else "<|endoftext|>", text.max_position_embeddings)
    return assemble(unet, vae, text, tokenizer, {**single_file.SCHEDULER, "prediction_type": prediction}, params)
