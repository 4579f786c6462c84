"""Makes networks.npz: outputs of PyTorch diffusers and transformers on tiny networks with random weights.

Run where both are installed: `python tests/golden/networks.py`. The weights are not stored: both sides draw them from
`random_weights`, whose generator (numpy's RandomState) is frozen for good. Arrays are channels last,
computed in float64.
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("networks.npz")
UNET = dict(
    sample_size=8,
    block_out_channels=(8, 16),
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    layers_per_block=1,
    cross_attention_dim=12,
    norm_num_groups=4,
)
UNETS = {
    "unet_1": dict(UNET, attention_head_dim=2),
    "unet_2": dict(
        UNET,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=16,
    ),
}
VAE = dict(
    block_out_channels=(8, 16),
    down_block_types=("DownEncoderBlock2D",) * 2,
    up_block_types=("UpDecoderBlock2D",) * 2,
    norm_num_groups=4,
)
TOWER = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, projection_dim=6)
TEXT = dict(TOWER, vocab_size=40, max_position_embeddings=9, eos_token_id=39, hidden_act="gelu")
VISION = dict(TOWER, image_size=12, patch_size=4)


def random_weights(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Published tensors, none of them trivial: scales about 1, biases and zero-initialised layers non-zero."""
    random = np.random.RandomState(seed)
    draws = {name: random.standard_normal(shapes[name]) for name in sorted(shapes)}
    return {name: np.asarray(_scaled(name, x), np.float32) for name, x in draws.items()}


def _scaled(name: str, x: np.ndarray) -> np.ndarray:
    if x.ndim > 1:
        return x / np.sqrt(x[0].size)
    return 1 + 0.1 * x if name.endswith("weight") else 0.1 * x


def inputs(seed: int = 0) -> dict[str, np.ndarray]:
    """What goes in: odd sizes, a fractional time."""
    random = np.random.RandomState(seed)
    normal = lambda *shape: random.standard_normal(shape).astype(np.float32)  # noqa: E731
    return {
        "sample": normal(2, 9, 7, 4),
        "t": np.array([3.5, 801.0], np.float32),
        "context": normal(2, 5, 12),
        "labels": normal(2, 16),
        "unet_g": normal(2, 9, 7, 4),
        "image": normal(1, 12, 10, 3),
        "latents": normal(1, 3, 5, 4),
        "ids": np.array([[38, 4, 9, 39, 39, 39, 39, 39, 39], [38, 7, 1, 2, 3, 39, 0, 0, 0]]),
        "pixels": normal(3, 12, 12, 3),
    }


def main() -> None:
    """Needs torch, diffusers and transformers."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPConfig, CLIPModel

    def filled(model, seed):
        shapes = {k: tuple(v.shape) for k, v in model.state_dict().items() if v.dtype == torch.float32}
        model.load_state_dict({k: torch.tensor(v) for k, v in random_weights(shapes, seed).items()}, strict=False)
        return model.double().eval()

    first = lambda x: torch.tensor(np.moveaxis(x, -1, 1)).double()  # noqa: E731
    last = lambda x: np.moveaxis(x.detach().numpy(), 1, -1)  # noqa: E731
    x, out = inputs(), {}
    for seed, (name, config) in enumerate(UNETS.items()):
        unet = filled(UNet2DConditionModel(**config), seed)
        sample = first(x["sample"]).requires_grad_()
        labels = torch.tensor(x["labels"]).double() if "class_embed_type" in config else None
        y = unet(sample, torch.tensor(x["t"]), torch.tensor(x["context"]).double(), class_labels=labels).sample
        (y * first(x["unet_g"])).sum().backward()
        out |= {f"{name}_out": last(y), f"{name}_grad": last(sample.grad)}
    vae = filled(AutoencoderKL(**VAE), 2)
    moments = vae.encode(first(x["image"])).latent_dist
    out |= {
        "mean": last(moments.mean),
        "logvar": last(moments.logvar),
        "decoded": last(vae.decode(first(x["latents"])).sample),
    }
    clip = filled(CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=6)), 3)
    y = clip(input_ids=torch.tensor(x["ids"]), pixel_values=first(x["pixels"]))
    keep = {"text_features": y.text_embeds, "image_features": y.image_embeds, "logits": y.logits_per_image}
    out |= {k: v.detach().numpy() for k, v in keep.items()}
    np.savez_compressed(FILE, **{k: v.astype(np.float32) for k, v in out.items()})


if __name__ == "__main__":
    main()
