"""A template wrapped around a point cloud, by the distances between the two.

    repeat:  x: n points of the surface, uniform in area,   p: n points of the cloud,   c(p) their colours
             loss = mean_x min_p |x - p|^2 + mean_p min_x |x - p|^2 + fairness
                    + color mean_x |texture(x) - c(the p nearest to x)|

the Chamfer distance of math/metrics with new points every step. The template keeps its genus.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from jax3d.math import fairing
from jax3d.math.even_adam import even_adam
from jax3d.math.metrics import nearest
from jax3d.math.ramp import Ramp, ramp
from jax3d.math.triangles import drawn
from jax3d.scene.template import Template
from jax3d.types import Key, Params, Points, Task

GREY = 0.7
"""The colour of a cloud that has none."""


@dataclasses.dataclass(frozen=True)
class Wrap:
    """Fits a template to points in [-1, 1]^3."""

    scene: Template = Template(subdivisions=5)
    points: int = 4096
    """Drawn from the surface and from the cloud, each step."""
    steps: int = 300
    normal_variation: Ramp = ramp(1e-3, 1e-5)
    """Weight of the variation of the normals of faces that meet."""
    color: float = 0.1
    """Weight of |texture - colour|."""
    shape_rate: Ramp = ramp(0.2, 5e-3)
    """Learning rate of the vertices, world units a step."""
    texture_rate: Ramp = ramp(2e-2, 2e-3)

    def task(self, cloud: Points, start: Params | None = None) -> Task:
        """The optimisation. Its parameters are those of the scene that are trained; `frozen["scene"]` is the rest.

        It begins with parameters of the scene, such as those of `Template.remeshed`, or else with the template.
        """
        given = start
        start = self.scene.init(jax.random.key(0)) if given is None else given
        colors = np.full_like(cloud.positions, GREY) if cloud.colors is None else cloud.colors
        frozen = jax.tree.map(jnp.asarray, {"positions": cloud.positions, "colors": colors, "scene": start["fixed"]})

        def init(key: Key) -> Params:
            begun = self.scene.init(key) if given is None else given
            return {name: leaf for name, leaf in begun.items() if name != "fixed"}

        def loss(params, frozen, batch, keys, step):
            params = params | {"fixed": frozen["scene"]}
            vertices, faces = self.scene.vertices(params), frozen["scene"]["faces"]
            shape, color = jax.vmap(lambda key: self._gaps(params, vertices, frozen, key))(keys)
            fair = self.normal_variation.schedule(self.steps)(step) * fairing.normal_variation(vertices, faces)
            metrics = {"shape": jnp.mean(shape), "color": jnp.mean(color), "normal_variation": fair}
            return metrics["shape"] + self.color * metrics["color"] + fair, metrics

        rates = {"shape": even_adam(self.shape_rate.schedule(self.steps))}
        rates["texture"] = optax.adam(self.texture_rate.schedule(self.steps), b2=0.99)
        optimizer = optax.partition(rates, {name: name for name in rates})
        return Task(init, loss, optimizer, 1, frozen=frozen)

    def whole(self, params: Params) -> Params:
        """All of the scene's parameters, from the task's."""
        return params | {"fixed": self.scene.init(jax.random.key(0))["fixed"]}

    def _gaps(self, params: Params, vertices: Array, frozen: Params, key: Key) -> tuple[Array, Array]:
        """Chamfer distance and error of colour, for one draw of points."""
        k_surface, k_cloud = jax.random.split(key)
        on = drawn(vertices, frozen["scene"]["faces"], self.points, k_surface)
        rows = jax.random.randint(k_cloud, (self.points,), 0, len(frozen["positions"]))
        positions = frozen["positions"][rows]
        to, back = nearest(jax.lax.stop_gradient(on), positions), nearest(positions, jax.lax.stop_gradient(on))
        squares = lambda a, b: jnp.mean(jnp.sum((a - b) ** 2, axis=-1))  # noqa: E731
        shape = squares(on, positions[to]) + squares(positions, on[back])
        colors = self.scene.color(params, jax.lax.stop_gradient(on))
        return shape, jnp.mean(jnp.abs(colors - frozen["colors"][rows][to]))
