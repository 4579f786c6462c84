"""The encoder of a small Shap-E and the fields that its latents stand for: 256 latents of 16 numbers.

    python train.py shap_e_encoder [--shapes.folder MESHES] [--warm runs/shap_e/transmitter]

Writes runs/shap_e/transmitter and runs/shap_e_encoder/samples.png, the first shapes encoded; one CPU core (AMD EPYC,
2.6 GHz): 0.7 s a step. It learns to be rendered and to say distances at once; the published order is three runs, each
begun by --warm with what the last has left:

    --method.distances 0
    --method.rendering 0 --workdir runs/shap_e_distances --warm runs/shap_e/transmitter
    --method.surface 1 --workdir runs/shap_e_surface --warm runs/shap_e/transmitter
"""

from jax3d.methods.shap_e import Autoencoding
from jax3d.nn.shap_e_config import DecoderConfig, TransmitterConfig
from jax3d.shap_e_training import ShapEPart
from jax3d.train.loop import TrainConfig

config = ShapEPart(
    part="transmitter",
    method=Autoencoding(
        TransmitterConfig(
            decoder=DecoderConfig(
                d_latent=16, d_hidden=64, learned_scale=0.125, grid_size=64, n_coarse_samples=16, n_fine_samples=24
            ),
            width=96,
            layers=4,
            heads=3,
            data_ctx=128,
            inner_batch_size=(1024, 2),
            image_size=24,
            patch_size=4,
            pointconv_hidden=(96, 96),
            pointconv_samples=32,
        )
    ),
    train=TrainConfig(steps=4000, ema_decay=0.995, clip_norm=1.0, checkpoint_every=250),
)
