"""The procedural world: objects of twelve categories and ten colours, made of signed distances, with captions.

One object gives, exactly and cheaply, what every method needs: `distance`, `mesh`, `points`, posed `render`s with
opacity, depth and normal, and its `caption`. Objects face +x, z is up, and they fill the ball of radius 0.9.
"""

from jax3d.data.procedural.builders import build
from jax3d.data.procedural.solid import Object, albedo, distance, stack
from jax3d.data.procedural.spec import (
    CATEGORIES,
    COLORS,
    HELD_OUT,
    WORDS,
    Spec,
    caption,
    named,
    sample_spec,
    view_phrase,
    vocabulary,
)
from jax3d.data.procedural.surface import mesh, points
from jax3d.data.procedural.trace import render, render_batch

__all__ = [
    "CATEGORIES",
    "COLORS",
    "HELD_OUT",
    "WORDS",
    "Object",
    "Spec",
    "albedo",
    "build",
    "caption",
    "distance",
    "mesh",
    "named",
    "points",
    "render",
    "render_batch",
    "sample_spec",
    "stack",
    "view_phrase",
    "vocabulary",
]
