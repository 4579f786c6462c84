"""Pictures into Gaussians: the truth has no loss to speak of, and a short run finds a blob."""

import jax
import jax.numpy as jnp
import numpy as np

from jax3d.math.orbit import turntable
from jax3d.math.ramp import ramp
from jax3d.methods.splatting import Splatting
from jax3d.scene.gaussians import Gaussians
from jax3d.scene.growth import Growth, Rates
from jax3d.train.loop import TrainConfig, train

METHOD = Splatting(
    scene=Gaussians(count=100, capacity=200),
    steps=60,
    similarity=0.2,
    rates=Rates(positions=ramp(1e-2), base=ramp(5e-2), opacities=ramp(0.1), scales=ramp(3e-2)),
    growth=Growth(every=20),
)


def test_a_run_finds_what_the_pictures_show():
    cameras = turntable(6)
    truth = Gaussians(count=1, capacity=1, radius=0.4, opacity=0.95)
    params = truth.init(jax.random.key(0)) | {"positions": jnp.array([[0.1, -0.1, 0.2]])}
    params |= {"scales": jnp.log(jnp.array([[0.25, 0.2, 0.15]])), "base": jnp.array([[[1.2, -0.5, 0.3]]])}
    out = jax.jit(lambda params: truth.render(params, cameras, height=16, width=16))(params)
    alpha = np.asarray(out.opacity)[..., None]
    rgba = np.concatenate([np.asarray(out.rgb) / np.maximum(alpha, 1e-6), alpha], axis=-1)
    rgba = np.round(255 * np.clip(rgba, 0, 1)).astype(np.uint8)
    task = METHOD.task(rgba, cameras)
    state = train(task, TrainConfig(steps=60, progress=False, log_every=60))
    keys = jax.random.split(jax.random.key(1), 4)
    loss, figures = jax.jit(task.loss)(state.params, task.frozen, (), keys, jnp.int32(0))
    begin, _ = jax.jit(task.loss)(task.init(jax.random.key(0)), task.frozen, (), keys, jnp.int32(0))
    assert float(loss) < 0.25 * float(begin) and float(figures["psnr"]) > 24
    assert 100 < float(figures["gaussians"]) <= 200  # it has grown
    assert 0 < float(figures["demand_pairs"]) < 1
