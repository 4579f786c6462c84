"""The latents of a small Shap-E from CLIP's vector of a caption or of a picture.

    python train.py shap_e_text [--shapes.folder MESHES] [--warm runs/shap_e/text]

Reads runs/shap_e/transmitter; writes runs/shap_e/text and runs/shap_e_text/samples.png; one CPU core (AMD EPYC): 0.6 s
a step, and 10 minutes before the first for the shapes, their pictures and latents.
"""

from jax3d.methods.denoising import Denoising
from jax3d.nn.point_e_config import PointEConfig
from jax3d.nn.shap_e_config import LatentConfig
from jax3d.shap_e_training import ShapEPart
from jax3d.train.loop import TrainConfig

config = ShapEPart(
    part="text",
    method=Denoising(
        LatentConfig(PointEConfig(96, 6, 2, 256, 16, 32, vector_features=64, use_pos_emb=True)),
        mean_type="v",
        schedule="exp",
    ),
    train=TrainConfig(steps=4000, ema_decay=0.998, clip_norm=1.0, checkpoint_every=250),
)
