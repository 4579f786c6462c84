"""A folder of Shap-E: its networks by their published names or as folders of ours, and the CLIP that reads for them.

text_cond.pt  image_cond.pt  vector_decoder.pt  transmitter.pt     as published, or .safetensors of the same tensors
text/  image/  transmitter/                                        ours (prior/openai_folder)

A transmitter holds the decoder, too.
"""

from pathlib import Path
from typing import Literal

from jax3d.nn.shap_e_config import DecoderConfig, TransmitterConfig
from jax3d.prior import openai
from jax3d.prior.openai_folder import denoiser, find, opened, reader_of
from jax3d.prior.shap_e import ShapE
from jax3d.types import Params

TRAIN = "python train.py shap_e_encoder, shap_e_text and shap_e_image"
DENOISERS = {"text": ("text", "text_cond"), "image": ("image", "image_cond")}
ENCODERS = ("transmitter",)
DECODERS = ("vector_decoder", *ENCODERS)


def load(source: str | Path, told: Literal["text", "image"], reader: str | None = None) -> ShapE:
    """The model in a folder, by path, bundled name or Hub id, with the denoiser that is told words or pictures.

    Where the folder has none for pictures, and the one for words is told CLIP's vectors, these may be a picture's.
    `reader` is a CLIP instead of its own. ValueError, one sentence, for what is missing or wrong.
    """
    folder = opened(source, TRAIN)
    found = find(folder, DENOISERS[told]) or (find(folder, DENOISERS["text"]) if told == "image" else [])
    if not found:
        raise ValueError(
            f"{folder} holds no {' or '.join(DENOISERS[told])} (a folder, .pt or .safetensors); train one ({TRAIN}), "
            "or give --model FOLDER."
        )
    network = denoiser(told, found[0])
    return ShapE(network, decoder(folder), reader_of(folder, {told: network}, reader))


def decoder(folder: Path) -> tuple[DecoderConfig, Params]:
    """The decoder in a folder, or that of its transmitter; ValueError where there is neither."""
    found = find(folder, DECODERS)
    if not found:
        raise ValueError(f"{folder} holds no {' or '.join(DECODERS)}; add one, or train it ({TRAIN}).")
    config, params = openai.load(found[0])
    if isinstance(config, TransmitterConfig):
        return config.decoder, openai.decoder_of(params)
    if not isinstance(config, DecoderConfig):
        raise ValueError(f"{found[0]} holds another network than a decoder; give each file its published name.")
    return config, params


def transmitter(source: str | Path) -> tuple[TransmitterConfig, Params]:
    """The encoder and decoder in a folder, by path, bundled name or Hub id; ValueError where there is none."""
    folder = opened(source, TRAIN)
    found = find(folder, ENCODERS)
    if not found:
        raise ValueError(f"{folder} holds no transmitter (a folder or a file); add it, or train one ({TRAIN}).")
    config, params = openai.load(found[0])
    if not isinstance(config, TransmitterConfig):
        raise ValueError(f"{found[0]} holds another network than a transmitter; give each file its published name.")
    return config, params
