"""Magic3D's second stage: the surface of a radiance field, refined as a mesh by score distillation (arXiv 2211.10440).

    s, texture <- the field's density and colour                                                        (once)
    repeat:  march the tetrahedra, rasterise from some cameras from which the field was seen
             s, offsets, texture <- minus the gradient of mean |render - the field's| in colour and opacity    (`fit`)
    repeat:  march, rasterise from random cameras, encode
             s, offsets, texture <- minus the distillation gradient and those of the regularisers             (`task`)

No level of a density has the field's silhouettes, for each ray has its own: one that keeps thin parts makes others fat.
So the first surface is bent until it looks like the field. A mesh is seen at any resolution at little cost, so renders
may be larger than those of the field. The first stage is `methods/dreamfusion`; `jax3d.Magic3D` joins the two.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax

from jax3d.math.camera import Camera
from jax3d.math.even_adam import even_adam
from jax3d.math.orbit import OrbitSampler
from jax3d.math.ramp import Ramp, ramp
from jax3d.math.random import split_each, uniform_each
from jax3d.prior.guidance import Guidance
from jax3d.prior.stable_diffusion import StableDiffusion
from jax3d.render.likeness import unlikeness
from jax3d.render.shade import Shading, composite, random_background
from jax3d.scene.dmtet import DMTet
from jax3d.scene.nerf import NeRF
from jax3d.types import Array, Params, Task

SEEN = 48
"""Pictures of the field that the first surface is fitted to."""


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
    fit_steps: int = 100
    """Steps in which the first surface is bent until it looks like the field."""
    fit_rate: Ramp = ramp(0.3, 2e-2)
    """`distance_rate` of these."""
    guidance: Guidance = Guidance(scale=1.5, view_scale=1.0, t_max=ramp(0.7, 0.2))
    """Weaker than the first stage's, which exaggerates: with it thin parts get thinner than any the model has seen."""
    steps: int = 300
    batch_size: int = 4
    """Views per step."""
    stages: tuple[tuple[float, int], ...] = ((0.0, 128),)
    """(from this fraction of the run, pixels along an edge of the renders); the prior sees them at its own size."""
    shading: Shading = Shading()
    fairness: Fairness = Fairness()
    spread: float = 1.0
    """By how many spacings the gradient of the distances is blurred (math/spread); 0 = not at all."""
    distance_rate: Ramp = ramp(0.15, 1e-2)
    """Learning rate of the distances: what those of the largest gradients move a step, spacings."""
    offset_rate: Ramp = ramp(2e-2, 2e-3)
    texture_rate: Ramp = ramp(1e-2, 1e-3)
    max_faces: int | None = None
    """Triangles that the exported mesh may have; None = as many as the grid gives."""
    texture: int | None = 1024
    """Texels along an edge of the exported mesh's texture; None = colours at the vertices."""

    def __post_init__(self):
        if self.spread < 0 or self.fit_steps < 0:
            raise ValueError(
                f"spread and fit_steps must be 0 or more, are {self.spread} and {self.fit_steps}; 0 = not at all."
            )

    def begin(self, scene: NeRF, params: Params) -> tuple["Refine", Params]:
        """The method with room for the surface of a field, and the parameters there; the field is that of the texture.

        ValueError for an empty field.
        """
        begun, start = self.scene.begin(scene.density(params), params["field"], share=self.share)
        return dataclasses.replace(self, scene=begun), start

    def fit(self, scene: NeRF, params: Params, start: Params) -> Task:
        """The optimisation of the parameters `start` that `begin` gave until the surface looks like the field."""
        size = self.stages[0][1]
        camera = jax.vmap(self.cameras)(jax.random.split(jax.random.key(0), SEEN)).camera
        seen = _pictures(scene, params, camera, size)

        def loss(params, frozen, batch, keys, step):
            k_picture, k_background = split_each(keys, 2)
            picture = jax.vmap(lambda key: jax.random.randint(key, (), 0, SEEN))(k_picture)
            camera, rgb, opacity = jax.tree.map(lambda leaf: leaf[picture], frozen["seen"])
            whole = self.scene.spread(params | {"fixed": frozen["scene"]}, self.spread)
            out = self.scene.render(whole, camera, None, height=size, width=size)
            background = uniform_each(k_background, (1, 1, 3))
            terms = unlikeness(out, rgb, opacity, background)
            return sum(terms.values()), terms | out.demand

        frozen = {"seen": (camera, *seen), "scene": start["fixed"]}
        optimizer = self._optimizer(self.fit_steps, self.fit_rate)
        return Task(lambda key: _trained(start), loss, optimizer, self.batch_size, frozen=frozen)

    def task(self, prior: StableDiffusion, prompt: str, size: int | None = None, start: Params | None = None) -> Task:
        """The optimisation from parameters of the scene (a ball where there are none) with renders of `size` pixels."""
        start = self.scene.init(jax.random.key(0)) if start is None else start
        frozen = self.guidance.frozen(prior, prompt) | {"scene": start["fixed"]}
        size = size or self.stages[0][1]

        def loss(params, frozen, batch, keys, step):
            k_camera, k_light, k_background, k_guidance = split_each(keys, 4)
            view = jax.vmap(self.cameras)(k_camera)
            light = self.shading.light(k_light, view.camera.position, step / self.steps)
            whole = self.scene.spread(params | {"fixed": frozen["scene"]}, self.spread)
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

        optimizer = self._optimizer(self.steps, self.distance_rate)
        return Task(lambda key: _trained(start), loss, optimizer, self.batch_size, frozen=frozen)

    def _optimizer(self, steps: int, distance_rate: Ramp) -> optax.GradientTransformation:
        adam = lambda rate: optax.adam(rate.schedule(steps), b1=0.9, b2=0.99, eps=1e-15)  # noqa: E731
        own = {
            "distance": even_adam(distance_rate.schedule(steps)),
            "offset": adam(self.offset_rate),
            "texture": adam(self.texture_rate),
        }
        return optax.partition(own, {name: name for name in own})


def _trained(start: Params) -> Params:
    return {name: leaf for name, leaf in start.items() if name != "fixed"}


@functools.partial(jax.jit, static_argnums=(0, 3))
def _pictures(scene: NeRF, params: Params, cameras: Camera, size: int) -> tuple[Array, Array]:
    """What each of some cameras [n] sees of a field: premultiplied rgb [n, size, size, 3] and opacity."""
    out = scene.render(params, cameras, None, height=size, width=size)
    return out.rgb, out.opacity
