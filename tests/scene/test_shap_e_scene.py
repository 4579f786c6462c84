"""Shap-E's fields seen: rays, surfaces and lit views against the published code, and what they are of known fields."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.io.weights import read_weights
from jax3d.math.camera import rays
from jax3d.math.pan import pan
from jax3d.nn.names import from_published, published_names
from jax3d.nn.shap_e import Decoder, Readings
from jax3d.nn.shap_e_config import DecoderConfig, TransmitterConfig
from jax3d.prior import openai
from jax3d.render.basic_light import LIGHT, to_display, to_linear
from jax3d.render.two_levels import Draws, draw
from jax3d.scene import shap_e
from jax3d.types import Mesh
from tests.golden import openai_shap_e as golden


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "golden" / "native" / "shap_e_tiny"


def error(got, wanted):
    return float(np.abs(np.asarray(got) - np.asarray(wanted)).max() / np.abs(np.asarray(wanted)).max())


def arrays(path):
    return {k: jnp.asarray(v) for k, v in np.load(path).items()}


def field(config, weights, latent):
    """read(places, directions) of one object, and its background."""
    module = Decoder(config)
    like = jax.eval_shape(module.init, jax.random.key(0), latent, jnp.zeros((1, 1, 3)))["params"]
    params = {"params": from_published(weights, like)}
    matrices = module.apply(params, latent, method="matrices")

    def read(places, directions):
        one = None if directions is None else directions[None]
        return jax.tree.map(lambda x: x[0], module.apply(params, matrices, places[None], one, method="read"))

    return read, module.apply(params, method="background")


def stored_field(folder, latent):
    config = json.loads((folder / "manifest.json").read_text())["decoder"]["config"]
    config = DecoderConfig.from_json(config)
    return field(config, read_weights(folder / "decoder.safetensors"), latent.reshape(1, config.rows, -1))


def check_rays(seen, wanted):
    """Half of the rays to 2e-5; octaves up to 2^14 make more of a rounding of a place, and one may choose a cell."""
    got = 255 * seen.fine.color, seen.fine.transmittance[:, None], seen.fine.distance[:, None], 255 * seen.coarse.color
    for name, found in zip(("channels", "transmittance", "distances", "channels_coarse"), got, strict=True):
        apart = np.abs(np.asarray(found) - wanted[name]).max(-1) / np.abs(wanted[name]).max()
        assert np.median(apart) < 2e-5, name
        assert np.linalg.norm(found - wanted[name]) / np.linalg.norm(wanted[name]) < 1e-3, name


def test_tiny_rays_equal_the_published_code():
    z, out = {k: jnp.asarray(v) for k, v in golden.inputs().items()}, np.load(golden.FILE)
    config = TransmitterConfig.from_json(golden.TRANSMITTER).decoder

    like = openai.shapes(TransmitterConfig.from_json(golden.TRANSMITTER))
    wanted = {k: v.shape for k, v in jax.eval_shape(published_names, like).items()}
    weights = golden.random_weights(wanted, 1)
    read, background = field(config, {k.removeprefix("encoder."): v for k, v in weights.items()}, z["latents"])
    draws = Draws(z["coarse"], z["cells"], z["within"])
    look = jax.jit(lambda *args: shap_e.look(read, background, *args, told=True))
    seen = look(z["origins"], z["directions"][0], draws)
    assert 0 < seen.hit.sum() < len(seen.hit)
    check_rays(seen, {k: out[f"rays_{k}"] for k in ("channels", "transmittance", "distances", "channels_coarse")})


def test_rays_equal_the_published_code(folder):
    z = arrays(folder / "nerf_rays.npz")
    read, background = stored_field(folder, z["in_latent"])
    draws = Draws(z["in_draw_000_rand"][0], z["in_draw_001_rand"], z["in_draw_002_rand"][0, ..., 0])
    look = jax.jit(lambda *args: shap_e.look(read, background, *args))
    seen = look(z["in_rays"][0, :, 0], z["in_rays"][0, :, 1], draws)
    np.testing.assert_array_equal(seen.hit, z["out_intersected"][0, :, 0].astype(bool))
    chex.assert_trees_all_close((seen.near, seen.far), (z["out_t0"][0, :, 0], z["out_t1"][0, :, 0]), rtol=1e-5)
    check_rays(seen, {k.removeprefix("out_"): v[0] for k, v in z.items() if k.startswith("out_")})


def cast(mesh, camera, size, *, parallelograms):
    """(colour, opacity) [n, size, size], each ray against all triangles, or parallelograms of which they are halves."""
    sight = rays(camera, size, size)
    o, d = (np.asarray(x, np.float64).reshape(-1, 3) for x in (sight.origins, sight.directions))
    first, *others = np.moveaxis(mesh.vertices[mesh.faces].astype(np.float64), 1, 0)
    u, v = (other - first for other in others)
    normal = np.cross(u, v)
    light = 0.3 + 0.7 * np.abs(normal @ np.array(LIGHT)) / np.maximum(np.linalg.norm(normal, axis=-1), 1e-12)
    with np.errstate(divide="ignore", invalid="ignore"):
        from_first = o[:, None] - first
        across = np.cross(d[:, None], v)
        det = np.sum(across * u, -1)
        b1 = np.sum(from_first * across, -1) / det
        turned = np.cross(from_first, u)
        b2 = np.sum(d[:, None] * turned, -1) / det
        t = np.sum(v * turned, -1) / det
    inside = (np.abs(det) > 1e-8) & (b1 >= 0) & (b1 <= 1) & (b2 >= 0) & (b2 <= 1) & (t > 0)
    inside &= parallelograms | (b1 + b2 <= 1)
    row, face = np.arange(len(o)), np.argmin(np.where(inside, t, np.inf), -1)
    hit, b1, b2 = inside.any(-1), b1[row, face], b2[row, face]
    colors = np.asarray(to_linear(jnp.asarray(mesh.colors)))[mesh.faces[face]]
    linear = np.einsum("nk,nkc->nc", np.stack([1 - b1 - b2, b1, b2], -1), colors) * light[face][:, None]
    display = np.where(hit[:, None], np.asarray(to_display(jnp.asarray(linear))), 0.0)
    shape = sight.origins.shape[:-1]
    return display.reshape(*shape, 3), hit.reshape(shape)


def stored_views(folder):
    """The stored mesh, and its stored pictures."""
    z = np.load(folder / "stf_views.npz")
    colors = np.asarray(to_display(jnp.asarray(z["out_vrgb_linear"])))
    mesh = Mesh(z["out_verts"], z["out_faces"].astype(np.int32), colors)
    return z, mesh, z["out_channels"][0] / 255, 1 - z["out_transmittance"][0, ..., 0]


def test_an_object_has_the_published_surface_and_colours(folder):
    z, mesh, *_ = stored_views(folder)
    read, _ = stored_field(folder, jnp.asarray(z["in_latent"]))
    got = shap_e.surface(np.asarray(read(jnp.asarray(shap_e.nodes(8)), None).distance).reshape(8, 8, 8))
    np.testing.assert_allclose(got.vertices, mesh.vertices, atol=1e-4)
    turned = lambda f: np.unique([np.roll(t, -np.argmin(t)) for t in f], axis=0)  # noqa: E731
    np.testing.assert_array_equal(turned(got.faces), turned(mesh.faces))
    assert error(to_linear(read(jnp.asarray(mesh.vertices), None).color), z["out_vrgb_linear"]) < 1e-4


def test_views_are_lit_as_published(folder):
    """The stored views are of the published fallback, whose triangles are parallelograms; ours are triangles."""
    _, mesh, pictures, opacity = stored_views(folder)
    camera = pan(8)
    got, hit = cast(mesh, camera, 8, parallelograms=True)
    borders = hit != opacity  # of pixels whose ray meets an edge
    assert borders.mean() < 0.002
    assert np.mean(np.abs(got - pictures).max(-1) > 1e-4) < 0.003
    one = jax.tree.map(lambda x: x[3], camera)
    image, covered = jax.jit(lambda camera: shap_e.lit(mesh, camera, 8))(one)
    wanted, hit = cast(mesh, one, 8, parallelograms=False)
    np.testing.assert_array_equal(covered, hit)
    np.testing.assert_allclose(image, wanted, atol=1e-4)


def volume(mesh):
    first, second, third = (mesh.vertices[mesh.faces[:, i]].astype(np.float64) for i in range(3))
    return float(np.sum(first * np.cross(second, third)) / 6)


def test_pan_cameras_are_the_published_ones(folder):
    z = arrays(folder / "pan_cameras.npz")
    camera = pan(16)
    for i, axis in enumerate("xyz"):
        np.testing.assert_allclose(camera.world_from_camera[:, :3, i], z[f"out_{axis}"], atol=1e-6)
    sight = rays(camera, 16, 16)
    np.testing.assert_allclose(camera.position, z["out_origin"], atol=4e-6)
    np.testing.assert_allclose(sight.directions.reshape(20, -1, 3), z["out_rays"][..., 1, :], atol=2e-6)


def ball(radius=0.6, density=8.0):
    """A field that is told of a ball: its distance, its density within, red outside and green to rays."""

    def read(places, directions):
        distance = radius - jnp.linalg.norm(places, axis=-1)
        inside = jnp.where(distance > 0, density, 0.0)
        red, green = jnp.broadcast_to(jnp.eye(3)[:2, None], (2, *places.shape))
        return Readings(distance, inside, inside, red, green, green)

    return read


def test_rays_through_a_ball_have_the_opacity_of_its_chord():
    """1 - e^(-density chord); far away from the ball and beside the box, the background."""
    offsets = jnp.array([0.0, 0.3, 0.5, 0.9, 1.5])
    origins = jnp.stack([jnp.full(5, -3.0), offsets, jnp.zeros(5)], -1)
    directions = jnp.tile(jnp.array([1.0, 0.0, 0.0]), (5, 1))
    draws = draw(jax.random.key(0), 5, 400, 800)
    look = jax.jit(lambda *args: shap_e.look(ball(density=1.5), jnp.array([0.0, 0.0, 1.0]), *args))
    seen = look(origins, directions, draws)
    chord = 2 * np.sqrt(np.maximum(0.36 - np.asarray(offsets) ** 2, 0))
    through = np.exp(-1.5 * chord)
    np.testing.assert_allclose(seen.fine.transmittance, through, atol=5e-3)
    np.testing.assert_allclose(seen.fine.color, np.stack([0 * through, 1 - through, through], -1), atol=5e-3)
    np.testing.assert_array_equal(seen.hit, [True, True, True, True, False])


def test_rays_have_finite_gradients():
    draws = draw(jax.random.key(0), 2, 5, 6)
    origins, directions = jnp.array([[-3.0, 0.1, 0.0], [-3.0, 4.0, 0.0]]), jnp.array([[1.0, 0.0, 0.0]] * 2)

    def total(density):
        seen = shap_e.look(ball(density=density), jnp.zeros(3), origins, directions, draws).fine
        return seen.color.sum() + seen.distance.sum()

    grads = jax.jit(jax.grad(total))(1.0)
    assert np.isfinite(grads)
    assert grads != 0


@pytest.mark.parametrize("published, shrunk", [(True, 19 / 21), (False, 1.0)])
def test_the_published_surface_of_a_ball_is_smaller(published, shrunk):
    """By (n - 1) / (n + 1), and faces turn outwards."""
    distance = np.asarray(ball()(jnp.asarray(shap_e.nodes(20)), None).distance).reshape(20, 20, 20)
    mesh = shap_e.surface(distance, published=published)
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=-1), 0.6 * shrunk, atol=2e-3)
    assert volume(mesh) == pytest.approx(4 / 3 * np.pi * (0.6 * shrunk) ** 3, rel=0.02)


def test_a_field_without_an_inside_is_refused():
    with pytest.raises(ValueError, match="the field has no inside: its signed distances reach from -0.5 to -0.5"):
        shap_e.surface(np.full((4, 4, 4), -0.5, np.float32))


@pytest.mark.parametrize("block", [1, 50, 4096])
def test_distances_are_those_at_the_nodes(block):
    read = lambda places: jnp.sin(places @ jnp.array([1.0, 2.0, 3.0]))  # noqa: E731
    got = jax.jit(lambda: shap_e.distances(read, 5, block=block))()
    chex.assert_trees_all_close(got.ravel(), read(shap_e.nodes(5)), rtol=1e-6)
