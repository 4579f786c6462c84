"""Textures that say at every point of a mesh what the functions say that they were baked from."""

import numpy as np
import pytest
import trimesh

from jax3d.data.meshes.sample import lookup
from jax3d.math import atlas
from jax3d.scene.bake import baked
from jax3d.types import Mesh


def colors(positions, normals):
    assert np.allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)
    return 0.5 + 0.4 * positions


def outwards(positions):
    return positions / np.linalg.norm(positions, axis=-1, keepdims=True)


@pytest.fixture(scope="module", params=[60.0, 1e-3])
def made(request):
    ball = trimesh.creation.icosphere(subdivisions=2)
    tilted = np.float32(ball.vertices + 0.3 * np.roll(ball.vertices, 1, axis=-1))
    mesh = Mesh(np.float32(ball.vertices), np.int32(ball.faces), normals=outwards(tilted))
    return baked(mesh, 256, colors, outwards, seconds=request.param)


def drawn(mesh, values, count=2000):
    """A map's values at random points, and where these lie."""
    rng = np.random.default_rng(0)
    face, weights = rng.integers(len(mesh.faces), size=count), rng.dirichlet(np.ones(3), count)
    at = lambda array: np.einsum("nk,nkd->nd", weights, array[mesh.faces[face]])  # noqa: E731
    return 255 * lookup(values, at(mesh.uv)), face, at


def test_a_texture_has_the_colours_of_space(made):
    found, _, at = drawn(made, made.texture)
    error = np.abs(found - colors(at(made.vertices), np.eye(3)[[0]]))
    assert error.max() < 0.03 and error.mean() < 0.004


def test_a_normal_map_turns_the_normals_of_the_mesh_into_the_true_ones(made):
    found, face, at = drawn(made, made.normal_map)
    normal, tangents = outwards(at(made.normals)), atlas.tangents(made)
    tangent = at(tangents[:, :3])
    tangent = outwards(tangent - np.sum(tangent * normal, -1, keepdims=True) * normal)
    bitangent = tangents[made.faces[face, 0], 3:] * np.cross(normal, tangent)
    turned = found[:, :1] * tangent + found[:, 1:2] * bitangent + found[:, 2:] * normal
    wanted = outwards(at(made.vertices))
    cosine = np.sum(outwards(turned) * wanted, -1)
    assert np.sum(normal * wanted, -1).mean() < 0.97 < 0.995 < np.quantile(cosine, 0.02) and cosine.mean() > 0.999
