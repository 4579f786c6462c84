"""The latents of a small Shap-E from CLIP's grid of a picture.

    python train.py shap_e_image [--shapes.folder MESHES] [--warm runs/shap_e/image]

Reads runs/shap_e/transmitter; writes runs/shap_e/image and runs/shap_e_image/samples.png. Smaller than the network of
text, so that all that is bundled stays below 40 MB.
"""

from jax3d.methods.denoising import Denoising
from jax3d.nn.point_e_config import PointEConfig
from jax3d.nn.shap_e_config import LatentConfig
from jax3d.shap_e_training import ShapEPart
from jax3d.train.loop import TrainConfig

config = ShapEPart(
    part="image",
    method=Denoising(
        LatentConfig(PointEConfig(64, 5, 2, 256, 16, 32, grid_features=128, use_pos_emb=True)),
        mean_type="v",
        schedule="exp",
    ),
    train=TrainConfig(steps=4000, ema_decay=0.998, clip_norm=1.0, checkpoint_every=250),
)
