"""Point-E: coloured points from text or a picture, more of them, and a mesh around them (arXiv:2212.08751).

    python sample.py point_e --prompt "a red chair" [--count 4]
    python sample.py point_e --image chair.png --export point_cloud
    python sample.py point_e --prompt "a red chair" --model runs/point_e

As the small model of this project wants it, which is made by python train.py point_e_base, point_e_upsample and
point_e_sdf: half a minute of a CPU core for 2,048 points and the mesh. The config point_e_published has the published
runs.
"""

from jax3d.point_e import PointE
from jax3d.prior.openai_denoiser import Run

config = PointE(
    model="tiny-point-e",
    coarse=Run(steps=64, guidance=3.0, sigma_max=120.0, churn=3.0),
    fine=Run(steps=16, guidance=3.0),
    resolution=64,
    keep=0.02,
)
