"""A surface bent until it looks like posed pictures: inverse rendering by a differentiable rasteriser.

    repeat:  some of the pictures (C, alpha) with their cameras,  a background b each
             loss = mean |render over b - (alpha C + (1 - alpha) b)| + mask mean |opacity - alpha| + fairness

(render/likeness). A `Template` begins as a ball and keeps its genus. A
`DMTet` need not, and begins as the visual hull of the pictures (math/hull).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

from jax3d.math.camera import Camera
from jax3d.math.even_adam import even_adam
from jax3d.math.hull import visual_hull
from jax3d.math.ramp import Ramp, ramp
from jax3d.math.random import split_each, uniform_each
from jax3d.render.likeness import unlikeness
from jax3d.scene.dmtet import DMTet
from jax3d.scene.template import Template
from jax3d.types import Key, Params, Task


@dataclasses.dataclass(frozen=True)
class Deform:
    """Fits a surface in [-1, 1]^3 to pictures."""

    scene: Template | DMTet = Template()
    views: int = 8
    """Pictures a step."""
    steps: int = 500
    mask: float = 1.0
    """Weight of |opacity - alpha|."""
    normal_variation: Ramp = ramp(1e-2)
    """Weight of the variation of the normals of faces that meet."""
    sign_entropy: Ramp = ramp(1e-2, 1e-3)
    """Weight of the crumbs of a DMTet (math/fairing)."""
    shape_rate: Ramp = ramp(0.1, 5e-3)
    """Learning rate of a template's vertices, world units a step."""
    distance_rate: Ramp = ramp(5e-2, 5e-3)
    """Learning rate of a DMTet's distances and offsets, spacings a step."""
    texture_rate: Ramp = ramp(2e-2, 2e-3)

    def task(self, rgba: np.ndarray, camera: Camera, start: Params | None = None) -> Task:
        """The optimisation over pictures uint8 [n, h, w, 4], straight alpha, and their cameras [n].

        Its parameters are those of the scene that are trained; `frozen["scene"]` is the rest. It begins with parameters
        of the scene, such as those of `DMTet.finer`, or else with a hull or a template and a random texture.
        """
        given = start is not None
        if not given:
            start = self.scene.init(jax.random.key(0))
            start = self._hull(rgba, camera, start["texture"]) if isinstance(self.scene, DMTet) else start
        height, width = rgba.shape[1:3]
        frozen = {"rgba": jnp.asarray(rgba), "camera": camera, "scene": start["fixed"]}

        def init(key: Key) -> Params:
            kept = {name: leaf for name, leaf in start.items() if name != "fixed"}
            return kept if given else kept | {"texture": self.scene.init(key)["texture"]}

        def loss(params, frozen, batch, keys, step):
            k_picture, k_background = split_each(keys, 2)
            picture = jax.vmap(lambda key: jax.random.randint(key, (), 0, len(frozen["rgba"])))(k_picture)
            truth = frozen["rgba"][picture].astype(jnp.float32) / 255
            view = jax.tree.map(lambda leaf: leaf[picture], frozen["camera"])
            out = self.scene.render(params | {"fixed": frozen["scene"]}, view, None, height=height, width=width)
            background = uniform_each(k_background, (1, 1, 3))
            alpha = truth[..., 3]
            off = unlikeness(out, truth[..., :3] * alpha[..., None], alpha, background)
            weights = {"normal_variation": self.normal_variation, "sign_entropy": self.sign_entropy}
            terms = {
                name: weight.schedule(self.steps)(step) * out.extras[name]
                for name, weight in weights.items()
                if name in out.extras
            }
            return off["color"] + self.mask * off["silhouette"] + sum(terms.values()), off | out.demand | terms

        return Task(init, loss, self._optimizer(set(start)), self.views, frozen=frozen)

    def whole(self, params: Params) -> Params:
        """All of the scene's parameters, from the task's."""
        return params | {"fixed": self.scene.init(jax.random.key(0))["fixed"]}

    def _hull(self, rgba: np.ndarray, camera: Camera, texture: Params) -> Params:
        if self.scene.halvings:
            raise ValueError(
                f"pictures begin on a whole grid: scene.halvings must be 0, is {self.scene.halvings}; take more "
                "scene.cells, or begin with what DMTet.finer gives."
            )
        alpha = jnp.asarray(rgba[..., 3], jnp.float32) / 255
        try:
            return self.scene.begin(Partial(visual_hull, alpha, camera), texture, level=0.5)[1]
        except ValueError:
            raise ValueError(
                "no place in the cube [-1, 1]^3 is inside the outlines of all pictures; check the poses, the pictures' "
                "transparency and --scene-scale."
            ) from None

    def _optimizer(self, names: set[str]) -> optax.GradientTransformation:
        adam = lambda rate: optax.adam(rate.schedule(self.steps), b1=0.9, b2=0.99, eps=1e-15)  # noqa: E731
        kinds = {
            "shape": even_adam(self.shape_rate.schedule(self.steps)),
            "distance": adam(self.distance_rate),
            "offset": adam(self.distance_rate),
            "texture": adam(self.texture_rate),
        }
        own = {name: kinds[name] for name in names - {"fixed"}}
        return optax.partition(own, {name: name for name in own})
