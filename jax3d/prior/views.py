"""Prompts that name the view: text for the side that a camera sees.

DreamFusion (arXiv 2209.14988, sec. 3.2) appends "front view", "side view", "back view" by azimuth and "overhead view"
above 60 degrees of elevation. How many words there are and where they hold is the model's affair, so they are a value:
equal azimuth sectors, elevation bands, and an optional phrase from above that replaces the azimuth's.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

NAMED = ("front", "front left", "left", "back left", "back", "back right", "right", "front right")
BETWEEN = ("front view slightly left", "left view slightly front", "left view slightly back", "back view slightly left")
MIRRORED = (
    "back view slightly right",
    "right view slightly back",
    "right view slightly front",
    "front view slightly right",
)
PUBLISHED_AZIMUTHS = ("front view", "side view", "back view", "side view")


@dataclasses.dataclass(frozen=True)
class ViewWords:
    """The phrases of a text-to-image model for the directions from which an object is seen."""

    azimuths: tuple[str, ...] = PUBLISHED_AZIMUTHS
    """Phrases of equal sectors, the first centred at the front, then counter-clockwise seen from above."""
    bands: tuple[str, ...] = ("",)
    """Phrases of the elevation bands, from low to high; empty = nothing is said."""
    limits: tuple[float, ...] = ()
    """Elevations in degrees between the bands: one fewer than bands."""
    overhead: str = "overhead view"
    """Replaces the azimuth's phrase from `overhead_from` degrees of elevation."""
    overhead_from: float = 60.0
    """Degrees; 90 or more = never."""

    def __post_init__(self):
        if len(self.limits) != len(self.bands) - 1:
            raise ValueError(f"{len(self.bands)} elevation bands need {len(self.bands) - 1} limits, got {self.limits}.")

    def prompts(self, prompt: str) -> list[str]:
        """All prompts, in the order of `index`: azimuth fastest, then elevation band, then overhead."""
        around = [self._join(prompt, azimuth, band) for band in self.bands for azimuth in self.azimuths]
        return [*around, self._join(prompt, self.overhead, self.bands[-1])]

    def index(self, azimuth: Float[Array, "..."], elevation: Float[Array, "..."]) -> Int[Array, "..."]:
        """Which of `prompts` names the view; radians."""
        count = len(self.azimuths)
        sector = jnp.round(azimuth / (2 * jnp.pi) * count).astype(jnp.int32) % count
        limits = jnp.deg2rad(jnp.array(self.limits, jnp.float32))
        band = jnp.sum(elevation[..., None] >= limits, axis=-1).astype(jnp.int32)
        above = elevation >= jnp.deg2rad(self.overhead_from)
        return jnp.where(above, count * len(self.bands), band * count + sector)

    @staticmethod
    def _join(*phrases: str) -> str:
        return ", ".join(phrase for phrase in phrases if phrase)


BUNDLED = ViewWords(
    azimuths=tuple(
        word for pair in zip([f"{name} view" for name in NAMED], BETWEEN + MIRRORED, strict=True) for word in pair
    ),
    bands=("from below", "at eye level", "from above", "from high above"),
    limits=(0.0, 20.0, 45.0),
    overhead_from=90.0,
)
"""Sixteen azimuths and four elevations: the captions of the bundled models."""
