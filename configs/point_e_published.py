"""Point-E as it was published: 4,096 points by OpenAI's networks (arXiv:2212.08751, app. A).

    python sample.py point_e_published --prompt "a corgi" --model FOLDER [--clip FOLDER]
    python sample.py point_e_published --image corgi.png --model FOLDER --base base_1b

FOLDER holds published files by their names: base_40m_textvec.pt for words, or base_40m.pt, base_300m.pt or base_1b.pt
for pictures; upsample_40m.pt; sdf.pt. CLIP is openai/clip-vit-large-patch14 from the Hub, or a folder of it. To train a
network further: python train.py point_e_base --warm FOLDER/base_40m_textvec.pt --clip openai/clip-vit-large-patch14.
"""

from jax3d.point_e import PointE
from jax3d.prior.openai_denoiser import Run

config = PointE(
    model="point-e",
    coarse=Run(steps=64, guidance=3.0, sigma_max=120.0, churn=3.0),
    fine=Run(steps=64, guidance=3.0, sigma_max=160.0, churn=0.0),
    resolution=128,
)
