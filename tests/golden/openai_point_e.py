"""Makes openai_point_e.npz: outputs of the published Point-E code (openai/point-e fc8a607) on tiny networks.

Run where torch and that checkout can be imported: `python tests/golden/openai_point_e.py`. The weights are not stored:
both sides draw them from `random_weights` of networks.py. CLIP's features are inputs, of fewer numbers than CLIP's.
Arrays are channels last, computed in float64.
"""

import importlib.util
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("openai_point_e.npz")
BASE = dict(width=16, layers=2, heads=2, n_ctx=7, input_channels=6, output_channels=12, time_token_cond=True)
SCALES = dict(channel_scales=[2.0, 2.0, 2.0, 0.01, 0.01, 0.01], channel_biases=[0.0, 0.0, 0.0, -1.0, -1.0, -1.0])
CONFIGS = {
    "uncond": dict(BASE, name="PointDiffusionTransformer"),
    "vector": dict(BASE, name="CLIPImagePointDiffusionTransformer", token_cond=True),
    "grid": dict(BASE, name="CLIPImageGridPointDiffusionTransformer"),
    "upsample": dict(BASE, name="CLIPImageGridUpsamplePointDiffusionTransformer", cond_ctx=3, **SCALES),
}
SDF = dict(width=16, encoder_layers=2, encoder_heads=2, decoder_layers=2, decoder_heads=4, n_ctx=7)
FEATURES = {"vector_features": 6, "grid_features": 5}  # CLIP's are 768 and 1024
PATCHES = 4


def inputs() -> dict[str, np.ndarray]:
    """What goes in."""
    random = np.random.RandomState(0)
    normal = lambda *shape: random.standard_normal(shape).astype(np.float32)  # noqa: E731
    return {
        "x": normal(2, 7, 6),
        "t": np.array([3, 997]),
        "vector": normal(2, 6) / 2,
        "grid": normal(2, PATCHES, 5),
        "cloud": np.concatenate([normal(2, 3, 3) / 4, 100 + 50 * normal(2, 3, 3)], -1),
        "places": normal(2, 9, 3) / 2,
    }


def random_weights(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Those of networks.py."""
    spec = importlib.util.spec_from_file_location("golden_networks", Path(__file__).with_name("networks.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.random_weights(shapes, seed)


def main() -> None:
    """Needs torch and point_e."""
    import torch
    from point_e.models import sdf, transformer

    class Clip:
        """Stands for the published wrapper of CLIP, which passes features on that are given."""

        feature_dim, grid_feature_dim, grid_size = 6, 5, 2

        def __init__(self, device, cache_dir=None):
            pass

        def __call__(self, embeddings, **_):
            return embeddings

    transformer.FrozenImageCLIP = Clip

    def filled(model, seed):
        shapes = {k: tuple(v.shape) for k, v in model.state_dict().items() if not k.startswith("channel_")}
        weights = {k: torch.tensor(v) for k, v in random_weights(shapes, seed).items()}
        model.load_state_dict(weights, strict=False)
        return model.double().eval()

    where = dict(device=torch.device("cpu"), dtype=torch.float32)
    first = lambda x: torch.tensor(np.moveaxis(x, -1, 1)).double()  # noqa: E731
    z, out = inputs(), {}
    for seed, (name, config) in enumerate(CONFIGS.items()):
        fields = {k: v for k, v in config.items() if k != "name"}
        model = filled(getattr(transformer, config["name"])(**where, **fields), seed)
        told = {"vector": {"embeddings": torch.tensor(z["vector"]).double()}, "grid": {"embeddings": first(z["grid"])}}
        told["upsample"] = {**told["grid"], "low_res": first(z["cloud"])}
        y = model(first(z["x"]), torch.tensor(z["t"]).double(), **told.get(name, {}))
        out[name] = np.moveaxis(y.detach().numpy(), 1, -1)
    model = filled(sdf.CrossAttentionPointCloudSDFModel(**where, **SDF), 4)
    out["sdf"] = model(first(z["places"]), point_clouds=first(z["x"][..., :3])).detach().numpy()
    np.savez_compressed(FILE, **{k: v.astype(np.float32) for k, v in out.items()})


if __name__ == "__main__":
    main()
