"""PyTorch diffusers loads a folder written by jax3d and, from the same initial latents, gives the same pictures.

Two halves, because jax3d's environment holds no torch. Ours (any environment with jax3d) samples and writes the
initial latents, the prompts' context and the pictures; theirs (torch, diffusers, transformers, numpy; no jax3d) repeats
the run through StableDiffusionPipeline.from_pretrained and compares:

    python benchmarks/check_diffusers.py ours   MODEL RUN.npz [--steps 20] [--scale 7.5] [--prompts "a red chair" ...]
    python benchmarks/check_diffusers.py theirs RUN.npz

The second prints the mean and the largest absolute difference of the pictures times 255, and that of the context; its
exit code is 1 where the mean is 1 or more.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

PROMPTS = ("a red chair", "a blue table")


def ours(model: str, run: str, steps: int, scale: float, prompts: list[str]) -> None:
    """Sample with jax3d and write everything that the other half needs."""
    import jax
    import jax.numpy as jnp

    from jax3d.io.hub import resolve
    from jax3d.prior.stable_diffusion import load
    from jax3d.prior.text_to_image import decode, sample_latents
    from jax3d.prior.tokenizer import tokenize

    jax.config.update("jax_default_matmul_precision", "highest")
    prior = load(model)
    latents = np.random.default_rng(0).normal(size=(len(prompts), *prior.latent_shape)).astype(np.float32)
    text = prior.embed([*prompts, ""])
    z = sample_latents(
        prior, prior.params, text[:-1], text[-1:], jnp.asarray(latents), jax.random.key(0), steps=steps, scale=scale
    )
    images = decode(prior, prior.params, z)
    ids = tokenize(prior.tokenizer, prompts, prior.text.max_position_embeddings)
    numbers = {"latents": latents, "images": images, "text": text[:-1], "ids": ids, "steps": steps, "scale": scale}
    np.savez(run, prompts=np.array(prompts), folder=str(Path(resolve(model)).resolve()), **numbers)
    print(f"{run}: {len(prompts)} pictures of {prior.resolution} x {prior.resolution}, {steps} steps, scale {scale}")


def theirs(run: str) -> bool:
    """Repeat the run with PyTorch diffusers and compare; True where the pictures agree."""
    import diffusers
    import torch
    from diffusers import StableDiffusionPipeline

    data = np.load(run)
    folder, prompts = str(data["folder"]), [str(p) for p in data["prompts"]]
    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    batch = pipeline.tokenizer(
        prompts, padding="max_length", truncation=True, max_length=pipeline.tokenizer.model_max_length
    )
    ids = np.asarray(batch["input_ids"])
    with torch.no_grad():
        text = pipeline.text_encoder(torch.from_numpy(ids))[0].numpy()
        images = pipeline(
            prompts,
            latents=torch.from_numpy(data["latents"].transpose(0, 3, 1, 2).copy()),
            num_inference_steps=int(data["steps"]),
            guidance_scale=float(data["scale"]),
            output_type="np",
        ).images
    difference = 255 * np.abs(images - data["images"])
    print(f"diffusers {diffusers.__version__}, torch {torch.__version__}, {folder}")
    print(f"scheduler {type(pipeline.scheduler).__name__}, ids equal: {bool((ids == data['ids']).all())}")
    print(f"context: largest difference {np.abs(text - data['text']).max():.2e} of {np.abs(text).max():.2e}")
    print(
        f"pictures (spread {255 * images.std():.1f}/255): mean absolute difference {difference.mean():.5f}/255, ",
        end="",
    )
    print(f"largest {difference.max():.4f}/255")
    return bool(difference.mean() < 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    halves = parser.add_subparsers(dest="half", required=True)
    first = halves.add_parser("ours")
    first.add_argument("model", help="folder, bundled model or Hub id")
    first.add_argument("run")
    first.add_argument("--steps", type=int, default=20)
    first.add_argument("--scale", type=float, default=7.5)
    first.add_argument("--prompts", nargs="+", default=list(PROMPTS))
    halves.add_parser("theirs").add_argument("run")
    args = parser.parse_args()
    if args.half == "ours":
        ours(args.model, args.run, args.steps, args.scale, args.prompts)
    else:
        sys.exit(0 if theirs(args.run) else 1)


if __name__ == "__main__":
    main()
