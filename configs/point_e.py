"""Point-E: coloured points from text or a picture, more of them, and a mesh around them (arXiv:2212.08751).

    python sample.py point_e --prompt "a red chair" [--count 4]
    python sample.py point_e --image chair.png
    python sample.py point_e --prompt "a corgi" --model FOLDER

FOLDER may hold published files (base_40m_textvec.pt, upsample_40m.pt and sdf.pt) or what training left. The fields are
those of the published runs. The bundled model is made by python train.py point_e_base, point_e_upsample and
point_e_sdf.
"""

from jax3d.point_e import PointE
from jax3d.prior.point_e import Run

config = PointE(
    model="tiny-point-e",
    coarse=Run(steps=64, guidance=3.0, sigma_max=120.0, churn=3.0),
    fine=Run(steps=64, guidance=3.0, sigma_max=160.0, churn=0.0),
    resolution=128,
)
