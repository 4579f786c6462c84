"""Objects as solids: the distance property, the fit into the ball, colours, and the surface."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from jax3d.data import procedural
from jax3d.data.procedural import COLORS, Spec, albedo, build, distance, mesh, points
from jax3d.data.procedural.parts import assemble, ball, block, capsule, cone, dome, tube, turned

RED, BLUE, GREEN = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)
RNG = np.random.default_rng
EVERY_KIND = [
    block((0.5, 0.1, 0.3), (0.4, 0.2, 0.3), RED, top=0.1, rounding=0.05, frame=turned(0, 30, turned(2, 50))),
    cone((-0.5, 0, -0.4), (-0.3, 0.3, 0.5), 0.3, BLUE, top=0.1),
    tube((0, -0.6, 0), (0, -0.7, 0.4), 0.4, 0.1, GREEN, top=0.2),
    dome((0, 0.6, -0.5), 0.4, 0.3, RED),
    capsule((0, 0, -0.6), (0.4, 0.4, -0.2), 0.1, BLUE),
]


@pytest.fixture(scope="module")
def gradient():
    return jax.jit(jax.vmap(jax.value_and_grad(distance, argnums=1), in_axes=(None, 0)))


def test_distance_has_unit_gradient_outside_and_leads_to_the_surface(gradient):
    obj = assemble(EVERY_KIND)
    p = RNG(0).uniform(-1.2, 1.2, (4000, 3)).astype(np.float32)
    value, slope = map(np.asarray, gradient(obj, p))
    outside = value > 1e-3
    size = np.linalg.norm(slope[outside], axis=-1)
    assert np.mean(np.abs(size - 1) < 1e-3) > 0.999
    landed, _ = gradient(obj, p - value[:, None] * slope)
    assert np.quantile(np.abs(np.asarray(landed))[outside], 0.995) < 1e-4


def test_distance_of_a_ball(gradient):
    obj = assemble([ball((3.0, 2.0, 1.0), 0.2, RED)])
    p = RNG(1).uniform(-1.2, 1.2, (4000, 3)).astype(np.float32)
    value, _ = gradient(obj, p)
    np.testing.assert_allclose(value, np.linalg.norm(p, axis=-1) - 0.9, atol=1e-5)


def test_a_new_frame_turns_the_solid(gradient):
    """A block turned by 90 degrees about z is the block with its half-sizes exchanged."""
    p = RNG(2).uniform(-1.2, 1.2, (4000, 3)).astype(np.float32)
    turned_block = assemble([block((0, 0, 0), (0.5, 0.2, 0.3), RED, frame=turned(2, 90))])
    exchanged = assemble([block((0, 0, 0), (0.2, 0.5, 0.3), RED)])
    np.testing.assert_allclose(gradient(turned_block, p)[0], gradient(exchanged, p)[0], atol=1e-5)


def test_colour_is_that_of_the_nearest_solid():
    obj = assemble([ball((-1, 0, 0), 0.5, RED), ball((1, 0, 0), 0.5, BLUE)])
    p = jnp.array([[-0.5, 0, 0.2], [-0.01, 0.1, 0], [0.01, 0.1, 0], [0.9, 0.1, 0]], jnp.float32)
    np.testing.assert_allclose(albedo(obj, p), [RED, RED, BLUE, BLUE], atol=1e-6)
    np.testing.assert_allclose(albedo(obj, jnp.zeros((1, 3))), [[0.5, 0, 0.5]], atol=1e-3)


def test_too_many_parts_are_refused():
    with pytest.raises(ValueError, match="at most"):
        assemble([dome((0, 0, 0), 0.5, 0.3, RED)] * 9)


@pytest.mark.parametrize("category", procedural.CATEGORIES)
def test_every_category_makes_closed_meshes_in_the_ball(category):
    words = procedural.WORDS[category]
    spec = Spec(category, "red", "blue", (words.first[1], words.second[0]))
    surface = mesh(build(spec, RNG(0)), 64)
    solid = trimesh.Trimesh(surface.vertices, surface.faces, process=False)
    assert solid.is_watertight and solid.is_winding_consistent and solid.volume > 0 and solid.body_count == 1
    radius = np.linalg.norm(surface.vertices, axis=-1).max()
    assert 0.8 < radius <= 0.9
    low, high = surface.vertices.min(0), surface.vertices.max(0)
    np.testing.assert_allclose(low + high, 0, atol=0.03)
    assert np.mean(np.sum(solid.vertex_normals * surface.normals, axis=-1) > 0.5) > 0.97
    for color in ("red", "blue"):
        assert np.abs(surface.colors - COLORS[color]).max(-1).min() < 0.01


@pytest.mark.parametrize("category", procedural.CATEGORIES)
def test_the_words_change_the_shape(category):
    """A word and its opposite give other proportions: the box, or the volume in it, differs by 10 % or more."""
    for low_high in (procedural.WORDS[category].first, procedural.WORDS[category].second):
        solids = [mesh(build(Spec(category, "red", None, (word,)), RNG(0)), 64) for word in low_high]
        boxes = np.array([np.ptp(solid.vertices, axis=0) for solid in solids])
        volumes = np.array([trimesh.Trimesh(s.vertices, s.faces, process=False).volume for s in solids])
        ratio = (boxes[1] / boxes[0])[:, None] / (boxes[1] / boxes[0])[None]
        filled = volumes / np.prod(boxes, axis=1)
        assert ratio.max() > 1.1 or not 0.9 < filled[1] / filled[0] < 1.1


def test_points_lie_evenly_on_the_surface():
    obj = assemble([ball((0, 0, 0), 1.0, GREEN)])
    cloud = points(obj, 20000, RNG(0), resolution=64)
    np.testing.assert_allclose(np.linalg.norm(cloud.positions, axis=-1), 0.9, atol=1e-5)
    np.testing.assert_allclose(cloud.normals, cloud.positions / 0.9, atol=1e-3)
    np.testing.assert_allclose(cloud.colors, np.broadcast_to(GREEN, (20000, 3)), atol=1e-6)
    height = np.sort(cloud.positions[:, 2]) / 0.9  # uniform in [-1, 1] on a sphere (Archimedes)
    assert np.max(np.abs(height - np.linspace(-1, 1, 20000))) < 0.03


def test_a_coarse_mesh_is_refused():
    with pytest.raises(ValueError, match="resolution"):
        mesh(assemble(EVERY_KIND), 4)
