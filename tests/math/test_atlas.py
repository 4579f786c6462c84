"""Atlases: charts that do not overlap, texels that know their place, and meshes that no unwrapping likes."""

import numpy as np
import pytest
import trimesh

from jax3d.math import atlas
from jax3d.types import Mesh

SIZE = 128


def as_mesh(solid: trimesh.Trimesh) -> Mesh:
    return Mesh(np.float32(solid.vertices), np.int32(solid.faces), normals=np.float32(solid.vertex_normals))


@pytest.fixture(scope="module", params=["xatlas", "cells"])
def pair(request):
    """A torus, and the same unwrapped by xatlas or, when that gets no time, by faces."""
    mesh = as_mesh(trimesh.creation.torus(0.7, 0.3, major_sections=12, minor_sections=8))
    return mesh, atlas.unwrap(mesh, SIZE, seconds=60.0 if request.param == "xatlas" else 1e-3)


def test_unwrapping_splits_vertices_and_nothing_else(pair):
    mesh, flat = pair
    for name in ("vertices", "normals"):
        np.testing.assert_array_equal(getattr(flat, name)[flat.faces], getattr(mesh, name)[mesh.faces])
    assert flat.uv.shape == (len(flat.vertices), 2) and flat.uv.min() >= 0 and flat.uv.max() <= 1
    assert flat.uv.dtype == np.float32 and flat.faces.dtype == np.int32


def test_charts_do_not_overlap(pair):
    _, flat = pair
    face, _ = atlas.texels(flat.uv, flat.faces, 8 * SIZE)
    a, b = np.moveaxis(flat.uv[flat.faces][:, 1:] - flat.uv[flat.faces][:, :1], 1, 0)
    areas = 0.5 * np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
    assert (areas > 0).all()
    np.testing.assert_allclose(np.sum(face >= 0), areas.sum() * (8 * SIZE) ** 2, rtol=0.03)


def test_texels_know_their_place(pair):
    _, flat = pair
    face, weights = atlas.texels(flat.uv, flat.faces, SIZE)
    rows, columns = np.nonzero(face >= 0)
    at = np.einsum("nk,nkd->nd", weights[rows, columns], flat.uv[flat.faces[face[rows, columns]]])
    np.testing.assert_allclose(at, np.stack([columns + 0.5, SIZE - rows - 0.5], axis=-1) / SIZE, atol=1e-6)
    assert set(range(len(flat.faces))) <= set(face.ravel())


@pytest.mark.parametrize("seconds", [60.0, 1e-3])
def test_meshes_without_a_decent_surface_are_unwrapped(seconds):
    vertices = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [2, 0, 0]])
    faces = np.int32([[0, 1, 2], [0, 1, 3], [0, 1, 4], [0, 1, 2], [0, 1, 5], [2, 2, 2]])  # a fan, twice, flat, a point
    flat = atlas.unwrap(Mesh(vertices, faces), 64, seconds=seconds)
    np.testing.assert_array_equal(flat.vertices[flat.faces], vertices[faces])
    assert np.isfinite(flat.uv).all()


def test_a_texture_that_is_too_small_is_refused(pair):
    with pytest.raises(ValueError, match="too small for 192 faces"):
        atlas.unwrap(pair[0], 16, seconds=1e-3)


def test_unknown_texels_are_like_the_nearest():
    image, known = np.zeros((5, 7, 3)), np.zeros((5, 7), bool)
    image[2, 1], image[2, 5], known[2, [1, 5]] = [1, 0, 0], [0, 1, 0], True
    filled = atlas.filled(image, known)
    assert (filled[:, :3] == [1, 0, 0]).all() and (filled[:, 4:] == [0, 1, 0]).all()


def test_tangents_follow_u_and_know_mirrors():
    vertices = np.float32([[0, 0, 0], [1, 0, 0], [1, 2, 0], [0, 2, 0]])
    square = Mesh(vertices, np.int32([[0, 1, 2], [0, 2, 3]]), normals=np.float32([[0, 0, 1]] * 4))
    right = np.float32([[0, 0], [1, 0], [1, 1], [0, 1]])
    for uv, wanted in (
        (right, [1, 0, 0, 1]),
        (right * [-1, 1] + [1, 0], [-1, 0, 0, -1]),
        (right[:, ::-1], [0, 1, 0, -1]),
    ):
        np.testing.assert_allclose(atlas.tangents(square._replace(uv=np.float32(uv))), [wanted] * 4, atol=1e-6)
    nowhere = atlas.tangents(square._replace(uv=np.zeros((4, 2), np.float32)))
    np.testing.assert_allclose(np.linalg.norm(nowhere[:, :3], axis=-1), 1, atol=1e-6)
    assert (nowhere[:, 2] == 0).all()
