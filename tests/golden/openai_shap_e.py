"""Makes openai_shap_e.npz: outputs of the published Shap-E code (openai/shap-e 5013101) on tiny networks.

Run where torch and that checkout can be imported: `python tests/golden/openai_shap_e.py`. The weights are not stored:
both sides draw them from `random_weights`. Computed in float32, as octaves up to 2^14 show each rounding; so the places
that the encoder's pixels see are stored, too, and those of the encoder of ../shared/golden where that folder is.
"""

import importlib.util
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("openai_shap_e.npz")
STORED = FILE.parents[3] / "shared/golden/native/shap_e_tiny/encoder.npz"
INNER = dict(width=16, layers=2, heads=2, time_token_cond=True, use_pos_emb=True)
TEXT = {
    "name": "SplitVectorDiffusion",
    "d_latent": 30,
    "latent_ctx": 5,
    "inner": dict(INNER, name="CLIPImagePointDiffusionTransformer", token_cond=True),
}
FEATURES = 6  # of CLIP
RENDERER = {
    "name": "NeRSTFRenderer",
    "grid_size": 6,
    "n_coarse_samples": 5,
    "n_fine_samples": 7,
    "separate_shared_samples": True,
    "volume": {"name": "BoundingBoxVolume", "bbox_min": [-1.0] * 3, "bbox_max": [1.0] * 3},
    "void": {"name": "VoidNeRFModel", "background": [0, 0, 0]},
    "nerstf": {
        **{"name": "MLPNeRSTFModel", "d_hidden": 8, "n_hidden_layers": 6, "n_meta_layers": 4, "insert_direction_at": 4},
        **{"activation": "swish", "density_activation": "relu", "posenc_version": "nerf", "meta_parameters": True},
        **{"meta_bias": False, "trainable_meta": False, "init_scale": 0.25, "initial_density_bias": 0.1},
        **{"separate_nerf_channels": True, "separate_coarse_channels": True},
    },
}
PROJECTION = {"name": "channels", "init_scale": 1.0, "learned_scale": 0.0625, "use_ln": True}
ENCODER = {
    **{"name": "PointCloudPerceiverChannelsEncoder", "cross_attention_dataset": "pcl_and_multiview_pcl"},
    **{"d_latent": 6, "width": 16, "layers": 2, "heads": 2, "min_unrolls": 1, "max_unrolls": 1, "data_ctx": 4},
    **{"inner_batch_size": [12, 2], "image_size": 8, "patch_size": 4, "use_depth": True, "max_depth": 9.0},
    **{"input_channels": 6, "pos_emb": "nerf", "fps_method": "first", "use_pointconv": True},
    **{"pointconv_hidden": [16, 16], "pointconv_patch_size": 4, "pointconv_samples": 8, "pointconv_stride": 2},
    **{"pointconv_padding_mode": "circular", "init_scale": 0.25, "params_proj": PROJECTION},
}
TRANSMITTER = {"name": "Transmitter", "encoder": ENCODER, "renderer": RENDERER}
RAYS = 24
X, Y, Z = np.eye(3)


def random_weights(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Those of networks.py, the gains of the projections a tenth."""
    spec = importlib.util.spec_from_file_location("golden_networks", Path(__file__).with_name("networks.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    weights = module.random_weights(shapes, seed)
    return {k: v * np.float32(0.1 if k.endswith("norm.weight") else 1) for k, v in weights.items()}


def inputs() -> dict[str, np.ndarray]:
    """What goes in. Cameras stand at (0, -3, 1) and (3, 0, 1) and look along y and -x."""
    random = np.random.RandomState(0)
    normal = lambda *shape: random.standard_normal(shape).astype(np.float32)  # noqa: E731
    uniform = lambda *shape: random.uniform(size=shape).astype(np.float32)  # noqa: E731
    toward = normal(RAYS, 3) / 3 + np.float32([0, 1, -0.3])
    return {
        "x": normal(2, 5, 6),
        "t": np.array([3, 997]),
        "vector": normal(2, FEATURES) / 2,
        "latents": np.tanh(normal(1, 32, 6)),
        "places": uniform(1, RAYS, 3) * 2 - 1,
        "directions": (toward / np.linalg.norm(toward, axis=-1, keepdims=True))[None],
        "origins": np.tile(np.float32([[0, -3, 1]]), (RAYS, 1)),
        "coarse": uniform(RAYS, 5),
        "cells": uniform(RAYS, 7),
        "within": uniform(RAYS, 7),
        "points": np.concatenate([uniform(1, 12, 3) * 1.4 - 0.7, uniform(1, 12, 3)], -1),
        "frames": np.float32([[[0, -3, 1], X, -Z, Y], [[3, 0, 1], Y, -Z, -X]]),
        "pictures": uniform(1, 2, 8, 8, 3) * 2 - 1,
        "depths": 2.5 + uniform(1, 2, 8, 8),
        "alphas": (uniform(1, 2, 8, 8) > 0.3).astype(np.float32),
        "shuffle_0": uniform(1, 8, 19),
        "shuffle_1": uniform(1, 5, 16),
    }


def main() -> None:
    """Needs torch and shap_e."""
    import torch
    from shap_e.models import configs
    from shap_e.models.generation import transformer
    from shap_e.models.nn.camera import DifferentiableProjectiveCamera
    from shap_e.models.query import Query
    from shap_e.util.collections import AttrDict

    class Clip:
        """Stands for the published wrapper of CLIP, which passes features on that are given."""

        feature_dim = FEATURES

        def __init__(self, device, cache_dir=None):
            pass

        def __call__(self, embeddings, **_):
            return embeddings

    transformer.FrozenImageCLIP = Clip
    draws = []
    torch.rand = lambda *shape, **_: torch.tensor(draws.pop(0))
    torch.rand_like = lambda x: torch.tensor(draws.pop(0)).reshape(x.shape)
    torch.randperm = lambda n, **_: torch.arange(n)

    def filled(config, seed):
        model = configs.model_from_config(config, device=torch.device("cpu"))
        shapes = {k: tuple(v.shape) for k, v in model.state_dict().items()}
        model.load_state_dict({k: torch.tensor(v) for k, v in random_weights(shapes, seed).items()})
        return model.eval()

    z, out = inputs(), {}
    given = {k: torch.tensor(v) for k, v in z.items()}
    model = filled(TEXT, 0)
    y = model(given["x"].reshape(2, -1), given["t"].float(), embeddings=given["vector"])
    out["text"] = np.concatenate([part.reshape(2, 5, 6) for part in np.split(y.detach().numpy(), 2, -1)], -1)

    model = filled(TRANSMITTER, 1)
    params = model.encoder.bottleneck_to_params(given["latents"].reshape(1, -1))
    field = AttrDict({k.removeprefix("nerstf."): v for k, v in params.items()})
    for name, level, mode in (("stf", "fine", "stf"), ("coarse", "coarse", "nerf"), ("fine", "fine", "nerf")):
        options = AttrDict(nerf_level=level, rendering_mode=mode)
        found = model.renderer.nerstf(Query(position=given["places"]), params=field, options=options)
        out |= {f"{name}_{k}": found[k].detach().numpy() for k in ("signed_distance", "density", "channels")}
    draws += [z["coarse"][None], z["cells"], z["within"][None, ..., None]]
    batch = AttrDict(rays=torch.stack([given["origins"], given["directions"][0]], 1)[None])
    seen = model.renderer.render_rays(batch, params=params, options=AttrDict(render_with_direction=True))
    for name in ("channels", "transmittance", "distances", "channels_coarse"):
        out[f"rays_{name}"] = seen[name][0].detach().numpy()

    def places(frames, depths):
        axes = dict(zip(("origin", "x", "y", "z"), torch.tensor(frames).unbind(1), strict=True))
        size = depths.shape[-1]
        camera = DifferentiableProjectiveCamera(**axes, width=size, height=size, x_fov=0.7, y_fov=0.7)
        rays = camera.camera_rays(camera.image_coords()[None].repeat(len(frames), 1, 1))
        origin, direction = rays.view(1, -1, size, size, 2, 3).permute(0, 1, 4, 5, 2, 3).unbind(2)
        ahead = torch.sum(direction * camera.z.view(1, -1, 3, 1, 1), dim=2, keepdim=True)
        return (origin + torch.tensor(depths)[:, :, None] / ahead * direction).permute(0, 1, 3, 4, 2).numpy(), camera

    out["pixel_places"], camera = places(z["frames"], z["depths"])
    draws += [z["shuffle_0"].transpose(0, 2, 1)[..., None], z["shuffle_1"].transpose(0, 2, 1)[..., None]]
    axes = [{k: getattr(camera, k)[i].numpy() for k in ("origin", "x", "y", "z")} for i in range(2)]
    cameras = [AttrDict(**each, width=8, height=8, x_fov=0.7, y_fov=0.7) for each in axes]
    batch = AttrDict(
        points=given["points"].permute(0, 2, 1),
        views=given["pictures"].permute(0, 1, 4, 2, 3),
        depths=given["depths"][:, :, None],
        view_alphas=given["alphas"][:, :, None],
        cameras=[cameras],
    )
    out["latents"] = model.encoder.encode_to_channels(batch).tanh().detach().numpy()
    if STORED.exists():
        stored = np.load(STORED)
        out["stored_places"] = places(stored["in_cameras_origin_x_y_z"], stored["in_depths"][:, :, 0])[0]
    np.savez_compressed(FILE, **out)


if __name__ == "__main__":
    main()
