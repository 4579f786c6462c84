"""Shap-E: a textured mesh, or a radiance field, from text or a picture (arXiv:2305.02463).

    python sample.py shap_e --prompt "a red chair" [--count 4]
    python sample.py shap_e --image chair.png --export nerf
    python sample.py shap_e --prompt "a red chair" --model runs/shap_e

As the small model of this project wants it, which is made by python train.py shap_e_encoder, shap_e_text and
shap_e_image. The config shap_e_published has the published runs.
"""

from jax3d.prior.openai_denoiser import Run
from jax3d.shap_e import ShapE

config = ShapE(model="tiny-shap-e", text=Run(32, guidance=3.0), image=Run(32, guidance=3.0), resolution=96)
