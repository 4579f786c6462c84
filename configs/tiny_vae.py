"""The autoencoder of tiny-sd: 64 x 64 pictures of the procedural world <-> 16 x 16 x 4 latents.

    python train.py tiny_vae

Renders the pictures once (cached in .cache/pictures), trains, and writes jax3d/assets/tiny-sd/vae.
Two CPU cores (AMD EPYC, 2.6 GHz): pictures 1 min, training 14 min. The bundle is this run with `--warm` on top of
800 steps of Adam; pictures of held-out pairs come back at 33.0 dB PSNR.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jax3d.data.batches import shuffled
from jax3d.data.captioned import Pictures
from jax3d.math.pixels import over_random_background
from jax3d.methods.autoencoder import Autoencoder
from jax3d.nn.vae import VAE, VAEConfig
from jax3d.prior.folder import read_network, vae_form, write_network
from jax3d.prior.stable_diffusion import UNET_STEM
from jax3d.train.loop import TrainConfig
from jax3d.train.state import State
from jax3d.types import Task


@dataclasses.dataclass(frozen=True)
class TinyVAE:
    """What `train.py tiny_vae` does."""

    method: Autoencoder = Autoencoder(
        VAEConfig(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(16, 32, 64),
            layers_per_block=1,
            norm_num_groups=8,
            sample_size=64,
            scaling_factor=1.0,
        ),
        batch_size=16,
        steps=3000,
    )
    pictures: Pictures = Pictures()
    train: TrainConfig = TrainConfig(steps=3000, ema_decay=0.995, clip_norm=1.0, checkpoint_every=500)
    out: Path = Path("jax3d/assets/tiny-sd")
    """The pipeline folder whose vae/ is written."""
    warm: bool = False
    """Begin with the weights in `out` and not with random ones: to train an existing bundle further."""

    def task(self) -> Task:
        """Pictures without captions."""
        batches = shuffled({"rgba": self.pictures.load()["rgba"]}, self.method.batch_size, seed=1)
        task = self.method.task(batches)
        if not self.warm:
            return task
        _, start = read_network(VAEConfig, vae_form, self.out / "vae", UNET_STEM, dict, jnp.float32)
        return task._replace(init=lambda key: start)

    def finish(self, state: State, workdir: Path) -> None:
        """Measure the latents' spread, so that scaled latents have unit variance, and write the folder."""
        network = VAE(self.method.vae)
        rgba = self.pictures.load()["rgba"][:256]
        image = over_random_background(rgba, jax.random.split(jax.random.key(0), len(rgba)))
        mean, _ = jax.jit(lambda p, x: network.apply({"params": p}, 2 * x - 1, method="encode"))(state.averaged, image)
        spread = float(np.std(np.asarray(mean)))
        print(f"latents: mean {float(jnp.mean(mean)):.3f}, standard deviation {spread:.3f}")
        config = dataclasses.replace(self.method.vae, scaling_factor=round(1 / spread, 5))
        write_network(self.out / "vae", UNET_STEM, config, state.averaged, jnp.float16)


config = TinyVAE()
