"""The nouns and the contracts that the rooms of jax3d share. Open to all; imports none of ours.

Array shapes are written in comments on fields and in jaxtyping on functions. Leading axes are `...`.
Images are [..., height, width, channels] in [0, 1], float32. The world is right-handed, z up, objects face +x
and live in the cube [-1, 1]^3.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
import optax
from flax import struct

Array = jax.Array
Key = jax.Array  # a typed PRNG key, jax.random.key(...)
Params = Any  # a pytree of arrays
Metrics = dict[str, Array]

Denoiser = Callable[[Array, Array], Array]
"""D(x, sigma) -> x0: x [b, ...] is x0 + sigma * n, sigma is [b] (or a scalar)."""


@struct.dataclass
class Render:
    """What a camera sees. All rendered over no background: rgb is premultiplied by opacity."""

    rgb: Array  # [..., h, w, 3], premultiplied
    opacity: Array  # [..., h, w] in [0, 1]
    depth: Array  # [..., h, w] distance along the ray, expected over the weights; 0 where nothing is hit
    normal: Array  # [..., h, w, 3] world space, unit length times opacity; zeros where the scene has none
    extras: dict[str, Any] = struct.field(default_factory=dict)  # regularisers' raw material

    @property
    def demand(self) -> Metrics:
        """Room that was wanted over the room there was, of each kind, as figures of a step; extras["demand"] has it."""
        return {f"demand_{kind}": room for kind, room in self.extras["demand"].items()}


class Mesh(NamedTuple):
    """A triangle mesh on the host. Faces are counter-clockwise seen from outside."""

    vertices: np.ndarray  # [v, 3] float32
    faces: np.ndarray  # [f, 3] int32
    colors: np.ndarray | None = None  # [v, 3] in [0, 1]
    normals: np.ndarray | None = None  # [v, 3] unit
    uv: np.ndarray | None = None  # [v, 2] in [0, 1], v upwards
    texture: np.ndarray | None = None  # [h, w, 3] in [0, 1], row 0 at v = 1
    normal_map: np.ndarray | None = None  # [h, w, 3] unit, in the frame (tangent, bitangent, normal) of math/atlas


class Points(NamedTuple):
    """A point cloud on the host."""

    positions: np.ndarray  # [n, 3] float32
    colors: np.ndarray | None = None  # [n, 3] in [0, 1]
    normals: np.ndarray | None = None  # [n, 3] unit


class Splats(NamedTuple):
    """3D Gaussians on the host, with colours of directions as spherical harmonics (math/encoding)."""

    positions: np.ndarray  # [n, 3] float32
    scales: np.ndarray  # [n, 3] > 0, standard deviations along the own axes, world units
    rotations: np.ndarray  # [n, 4] unit quaternions w, x, y, z
    opacities: np.ndarray  # [n] in [0, 1]
    harmonics: np.ndarray  # [n, k, 3], k = 1, 4, 9 or 16: colour = 0.5 + sum_j harmonics_j Y_j(direction)


@runtime_checkable
class Scene(Protocol):
    """Something with parameters that a camera can look at."""

    def init(self, key: Key) -> Params: ...

    def render(self, params: Params, camera: Any, key: Key | None, *, height: int, width: int) -> Render: ...

    def export(self, params: Params) -> Mesh | Points: ...


@runtime_checkable
class Prior(Protocol):
    """A trained image model: pixels -> x (encode), text -> condition (embed), condition -> denoiser of x."""

    params: Params

    def embed(self, prompts: list[str]) -> Array: ...

    def encode(self, params: Params, image: Array) -> Array: ...

    def denoiser(self, params: Params, condition: Any) -> Denoiser: ...


@runtime_checkable
class Codec(Protocol):
    """Shapes as arrays that a 3D-native model denoises: x0 [*shape], about zero and of size about 1.

    `encode` gives what to keep of a data set (`data/meshes`), [m, ...], and the codec's own weights; where it has any
    and none are given, it learns them. `draw` makes x0 of one kept example, under jit. `decode` gives the asset back.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    def encode(self, data: Mapping[str, np.ndarray], params: Params | None = None) -> tuple[Params, np.ndarray]: ...

    def draw(self, kept: Array, key: Key) -> Array: ...

    def decode(self, params: Params, x0: np.ndarray) -> Mesh | Points: ...


class Task(NamedTuple):
    """All that the trainer knows of a method.

    `loss(params, frozen, batch, keys, step) -> (scalar, metrics)` is a mean over the examples it is given: `keys` [b]
    holds one key an example (drawn from the example's global index, so the number of devices does not matter) and
    every leaf of `batch` has b as its leading axis. `batches(step)` gives the whole global batch of a step: a pure
    function of the step, so that a resumed run sees the same data. `after(params, step, key)` runs between steps on
    the host side of the loop (densification and the like); None when there is nothing to do.
    """

    init: Callable[[Key], Params]
    loss: Callable[[Params, Params, Any, Array, Array], tuple[Array, Metrics]]
    optimizer: optax.GradientTransformation
    batch_size: int  # examples per step over all devices
    frozen: Params = ()  # weights that do not train; an argument of the jitted step, never a closure
    batches: Callable[[int], Any] = lambda step: ()
    after: Callable[[Params, int, Key], Params] | None = None
