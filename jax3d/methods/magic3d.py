"""Magic3D's second stage: the surface of a radiance field, refined as a mesh by score distillation (arXiv 2211.10440).

    s, texture <- the field's density and colour                                                        (once)
    repeat:  march the tetrahedra, rasterise from random cameras, encode
             s, offsets, texture <- minus the distillation gradient and those of the regularisers

A mesh is seen at any resolution at little cost, so renders may be larger than those of the field. The first stage is
`methods/dreamfusion`; `jax3d.Magic3D` joins the two.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from jax3d.math.orbit import OrbitSampler
from jax3d.math.ramp import Ramp, ramp
from jax3d.math.random import split_each
from jax3d.prior.guidance import Guidance
from jax3d.prior.stable_diffusion import StableDiffusion
from jax3d.render.shade import Shading, composite, random_background
from jax3d.scene.dmtet import DMTet
from jax3d.scene.nerf import NeRF
from jax3d.types import Key, Params, Task


@dataclasses.dataclass(frozen=True)
class Fairness:
    """Weights of the terms of math/fairing, each over the run."""

    normal_variation: Ramp = ramp(100.0)
    """Faces that meet have like normals."""
    laplacian: Ramp = ramp(0.0)
    """Vertices lie in the middle of their neighbours; in squared spacings."""
    sign_entropy: Ramp = ramp(0.0)
    """No crumbs inside and outside."""


@dataclasses.dataclass(frozen=True)
class Refine:
    """A mesh from a radiance field and a text. The defaults suit the bundled model."""

    model: str | None = None
    """Of what the first stage has (`DreamFusion.model`) another one; None = the same."""
    scene: DMTet = DMTet()
    share: float = 0.3
    """The density of the surface it begins with, as a share of that with the field's silhouettes; below 1 thin parts
    are whole, handles of mugs for one, and what is too thick is taken away again."""
    cameras: OrbitSampler = OrbitSampler()
    guidance: Guidance = Guidance(t_max=ramp(0.5, 0.2))
    steps: int = 300
    batch_size: int = 4
    """Views per step."""
    stages: tuple[tuple[float, int], ...] = ((0.0, 128),)
    """(from this fraction of the run, pixels along an edge of the renders); the prior sees them at its own size."""
    shading: Shading = Shading()
    fairness: Fairness = Fairness()
    distance_rate: Ramp = ramp(2e-2, 2e-3)
    """Learning rate of the distances, spacings a step."""
    offset_rate: Ramp = ramp(2e-2, 2e-3)
    texture_rate: Ramp = ramp(1e-2, 1e-3)
    max_faces: int | None = None
    """Triangles that the exported mesh may have; None = as many as the grid gives."""
    texture: int | None = 1024
    """Texels along an edge of the exported mesh's texture; None = colours at the vertices."""

    def begin(self, scene: NeRF, params: Params) -> tuple["Refine", Params]:
        """The method with room for the surface of a field, and the parameters there; the field is that of the texture.

        ValueError for an empty field.
        """
        begun, start = self.scene.begin(scene.density(params), params["field"], share=self.share)
        return dataclasses.replace(self, scene=begun), start

    def task(self, prior: StableDiffusion, prompt: str, size: int | None = None, start: Params | None = None) -> Task:
        """The optimisation from parameters of the scene (a ball where there are none) with renders of `size` pixels."""
        start = self.scene.init(jax.random.key(0)) if start is None else start
        trained = {name: leaf for name, leaf in start.items() if name != "fixed"}
        frozen = self.guidance.frozen(prior, prompt) | {"scene": start["fixed"]}
        size = size or self.stages[0][1]

        def init(key: Key) -> Params:
            return trained

        def loss(params, frozen, batch, keys, step):
            k_camera, k_light, k_background, k_guidance = split_each(keys, 4)
            view = jax.vmap(self.cameras)(k_camera)
            light = self.shading.light(k_light, view.camera.position, step / self.steps)
            whole = params | {"fixed": frozen["scene"]}
            out = self.scene.render(whole, view.camera, None, height=size, width=size, light=light)
            background = jax.vmap(lambda key: random_background(key, plain=0.0))(k_background)
            image = composite(out.rgb, out.opacity, background)
            distilled, metrics = self.guidance.loss(prior, frozen, image, view, k_guidance, step / self.steps)
            weights = {field.name: getattr(self.fairness, field.name) for field in dataclasses.fields(self.fairness)}
            terms = {
                name: weight.schedule(self.steps)(step) * out.extras[name]
                for name, weight in weights.items()
                if weight.ever
            }
            metrics |= {"opacity": jnp.mean(out.opacity)} | out.demand | terms
            return distilled + sum(terms.values()), metrics

        return Task(init, loss, self._optimizer(), self.batch_size, frozen=frozen)

    def _optimizer(self) -> optax.GradientTransformation:
        rates = {"distance": self.distance_rate, "offset": self.offset_rate, "texture": self.texture_rate}
        adam = {name: optax.adam(rate.schedule(self.steps), b1=0.9, b2=0.99, eps=1e-15) for name, rate in rates.items()}
        return optax.partition(adam, {name: name for name in rates})
