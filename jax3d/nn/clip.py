"""The two towers of CLIP (arXiv:2103.00020; transformers' CLIPModel, names as published).

A tower is a pre-norm transformer: x += attention(layer_norm1 x); x += mlp(layer_norm2 x). The text tower is causal and
ignores padding; its summary is the state at the end-of-text token. The vision tower prepends a class token to the
patches; its summary is that token's normalised state. Text and image meet in a common space of `projection_dim`:

    logits = exp(logit_scale) <text_features, image_features>,  both of length 1
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from jax3d.nn.attention import attention
from jax3d.nn.clip_config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from jax3d.nn.layers import Conv, Dense, Embed, LayerNorm

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
}

__all__ = ["CLIP", "CLIPConfig", "CLIPText", "CLIPTextConfig", "CLIPVision", "CLIPVisionConfig"]


class Layer(nn.Module):
    """Pre-norm transformer layer on [b, t, c]."""

    config: CLIPTextConfig | CLIPVisionConfig
    causal: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        c, width = self.config, x.shape[-1]
        residual = nn.initializers.variance_scaling(0.5 / c.num_hidden_layers, "fan_in", "normal")  # arXiv:2103.00020

        def project(name: str) -> Array:
            z = Dense(width, name=f"self_attn.{name}")(y)
            return z.reshape(*z.shape[:-1], c.num_attention_heads, -1)

        y = LayerNorm(c.layer_norm_eps, name="layer_norm1")(x)
        y = attention(project("q_proj"), project("k_proj"), project("v_proj"), causal=self.causal)
        x = x + Dense(width, kernel_init=residual, name="self_attn.out_proj")(y.reshape(x.shape))
        y = Dense(c.intermediate_size, name="mlp.fc1")(LayerNorm(c.layer_norm_eps, name="layer_norm2")(x))
        return x + Dense(width, kernel_init=residual, name="mlp.fc2")(ACTIVATIONS[c.hidden_act](y))


class TextTransformer(nn.Module):
    """ids [b, n] -> (last_hidden_state [b, n, c], pooled [b, c])."""

    config: CLIPTextConfig

    @nn.compact
    def __call__(self, ids: Int[Array, "b n"]) -> tuple[Float[Array, "b n c"], Float[Array, "b c"]]:
        c = self.config
        if ids.shape[1] > c.max_position_embeddings:
            raise ValueError(
                f"{ids.shape[1]} tokens are given, but the text tower takes {c.max_position_embeddings} at most"
            )
        positions = Embed(c.max_position_embeddings, c.hidden_size, name="embeddings.position_embedding")
        x = Embed(c.vocab_size, c.hidden_size, name="embeddings.token_embedding")(ids)
        x = x + positions(jnp.arange(ids.shape[1]))
        for i in range(c.num_hidden_layers):
            x = Layer(c, causal=True, name=f"encoder.layers.{i}")(x)
        x = LayerNorm(c.layer_norm_eps, name="final_layer_norm")(x)
        return x, jnp.take_along_axis(x, end_of_text(ids, c.eos_token_id)[:, None, None], 1)[:, 0]


def end_of_text(ids: Int[Array, "b n"], eos_token_id: int) -> Int[Array, " b"]:
    """Where the summary is read: the first end token; files that say 2 mean the largest id (transformers #24773)."""
    return jnp.argmax(ids if eos_token_id == 2 else ids == eos_token_id, -1)


class VisionTransformer(nn.Module):
    """pixels [b, h, w, 3] (normalised) -> (last_hidden_state [b, 1 + patches, c], pooled [b, c])."""

    config: CLIPVisionConfig

    @nn.compact
    def __call__(self, pixels: Float[Array, "b h w k"]) -> tuple[Float[Array, "b n c"], Float[Array, "b c"]]:
        c = self.config
        if pixels.shape[1:3] != (c.image_size, c.image_size):
            raise ValueError(
                f"the image is {pixels.shape[1:3]}, but the vision tower takes {c.image_size} x {c.image_size}"
            )
        patches = Conv(c.hidden_size, c.patch_size, c.patch_size, (0, 0), False, name="embeddings.patch_embedding")(
            pixels
        )
        token = self.param("embeddings.class_embedding", nn.initializers.normal(0.02), (c.hidden_size,))
        token = jnp.broadcast_to(token, (len(pixels), 1, c.hidden_size))
        x = jnp.concatenate([token, patches.reshape(len(pixels), -1, c.hidden_size)], 1)
        x = x + Embed(x.shape[1], c.hidden_size, name="embeddings.position_embedding")(jnp.arange(x.shape[1]))
        x = LayerNorm(c.layer_norm_eps, name="pre_layrnorm")(x)  # the published spelling
        for i in range(c.num_hidden_layers):
            x = Layer(c, causal=False, name=f"encoder.layers.{i}")(x)
        return x, LayerNorm(c.layer_norm_eps, name="post_layernorm")(x[:, 0])


class CLIPText(nn.Module):
    """ids [b, n] -> (last_hidden_state, pooled), and text_embeds [b, projection_dim] if the config has a projection."""

    config: CLIPTextConfig

    @nn.compact
    def __call__(self, ids: Int[Array, "b n"]) -> tuple[Array, ...]:
        last, pooled = TextTransformer(self.config, name="text_model")(ids)
        if not self.config.with_projection:
            return last, pooled
        return last, pooled, Dense(self.config.projection_dim, use_bias=False, name="text_projection")(pooled)


class CLIPVision(nn.Module):
    """pixels [b, h, w, 3] -> (last_hidden_state, pooled), and image_embeds if the config has a projection."""

    config: CLIPVisionConfig

    @nn.compact
    def __call__(self, pixels: Float[Array, "b h w k"]) -> tuple[Array, ...]:
        last, pooled = VisionTransformer(self.config, name="vision_model")(pixels)
        if not self.config.with_projection:
            return last, pooled
        return last, pooled, Dense(self.config.projection_dim, use_bias=False, name="visual_projection")(pooled)


class CLIP(nn.Module):
    """Both towers: `text_features`, `image_features` (length 1); calling it gives logits [images, texts]."""

    text_config: CLIPTextConfig
    vision_config: CLIPVisionConfig
    projection_dim: int = 512
    logit_scale_init_value: float = 2.6592

    def setup(self):
        self.text_model = TextTransformer(self.text_config)
        self.vision_model = VisionTransformer(self.vision_config)
        self.text_projection = Dense(self.projection_dim, use_bias=False)
        self.visual_projection = Dense(self.projection_dim, use_bias=False)
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(self.logit_scale_init_value), ())

    def text_features(self, ids: Int[Array, "b n"]) -> Float[Array, "b d"]:
        """Token ids -> unit vectors."""
        return unit(self.text_projection(self.text_model(ids)[1]))

    def image_features(self, pixels: Float[Array, "b h w k"]) -> Float[Array, "b d"]:
        """Normalised pixels -> unit vectors."""
        return unit(self.visual_projection(self.vision_model(pixels)[1]))

    def image_grid(self, pixels: Float[Array, "b h w k"]) -> Float[Array, "b n c"]:
        """Normalised pixels -> the last states of the patches, row by row, as they are."""
        return self.vision_model(pixels)[0][:, 1:]

    def __call__(self, ids: Int[Array, "t n"], pixels: Float[Array, "i h w k"]) -> Float[Array, "i t"]:
        return jnp.exp(self.logit_scale) * self.image_features(pixels) @ self.text_features(ids).T


def unit(x: Float[Array, "b d"]) -> Float[Array, "b d"]:
    """x / |x|, the length in float32."""
    return (x * jax.lax.rsqrt(jnp.sum(jnp.square(x.astype(jnp.float32)), -1, keepdims=True))).astype(x.dtype)
