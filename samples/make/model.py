"""A Llama in JAX: the same tensors, names and arithmetic as Hugging Face's LlamaForCausalLM."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

Params = dict[str, jax.Array]


@dataclass(frozen=True)
class ModelConfig:
    """Sizes; hidden, ffn and heads * head_dim are multiples of 256, so that rows hold whole superblocks."""

    vocab: int = 1280
    hidden: int = 256
    ffn: int = 768
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    context: int = 512
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5


def weight_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the checkpoint, by its Hugging Face name, in file order."""
    hidden, ffn = config.hidden, config.ffn
    queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocab, hidden)}
    for layer in range(config.layers):
        prefix = f"model.layers.{layer}."
        shapes |= {
            prefix + "input_layernorm.weight": (hidden,),
            prefix + "self_attn.q_proj.weight": (queries, hidden),
            prefix + "self_attn.k_proj.weight": (keys, hidden),
            prefix + "self_attn.v_proj.weight": (keys, hidden),
            prefix + "self_attn.o_proj.weight": (hidden, queries),
            prefix + "post_attention_layernorm.weight": (hidden,),
            prefix + "mlp.gate_proj.weight": (ffn, hidden),
            prefix + "mlp.up_proj.weight": (ffn, hidden),
            prefix + "mlp.down_proj.weight": (hidden, ffn),
        }
    return shapes | {"model.norm.weight": (hidden,), "lm_head.weight": (config.vocab, hidden)}


def init_params(config: ModelConfig, seed: int) -> Params:
    """Gaussian weights scaled by fan-in; those that write to the residual stream are scaled by depth too."""
    shapes = weight_shapes(config)
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    params: Params = {}
    for key, (name, shape) in zip(keys, shapes.items(), strict=True):
        if len(shape) == 1:
            params[name] = jnp.ones(shape, jnp.float32)
            continue
        scale = 0.1 if "embed" in name else shape[1] ** -0.5
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            scale *= (2 * config.layers) ** -0.5
        params[name] = scale * jax.random.normal(key, shape, jnp.float32)
    return params


def rms_norm(x: jax.Array, weight: jax.Array, eps: float) -> jax.Array:
    return weight * x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps)


def rope_tables(config: ModelConfig, length: int) -> tuple[jax.Array, jax.Array]:
    half = jnp.arange(0, config.head_dim, 2, dtype=jnp.float32) / config.head_dim
    angles = jnp.arange(length, dtype=jnp.float32)[:, None] * config.rope_theta**-half
    angles = jnp.concatenate([angles, angles], axis=-1)
    return jnp.cos(angles)[None, :, None, :], jnp.sin(angles)[None, :, None, :]


def rotate(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """Rotary positions in Hugging Face's order: the first half of a head pairs with its second half."""
    first, second = jnp.split(x, 2, axis=-1)
    return x * cos + jnp.concatenate([-second, first], axis=-1) * sin


def attention(params: Params, prefix: str, x: jax.Array, config: ModelConfig) -> jax.Array:
    batch, length, _ = x.shape
    cos, sin = rope_tables(config, length)

    def heads(name: str, count: int) -> jax.Array:
        return (x @ params[f"{prefix}{name}.weight"].T).reshape(batch, length, count, config.head_dim)

    group = config.heads // config.kv_heads
    q = rotate(heads("q_proj", config.heads), cos, sin)
    q = q.reshape(batch, length, config.kv_heads, group, config.head_dim)
    k = rotate(heads("k_proj", config.kv_heads), cos, sin)
    v = heads("v_proj", config.kv_heads)
    scores = jnp.einsum("bqkgd,bskd->bkgqs", q, k) * config.head_dim**-0.5
    causal = jnp.tril(jnp.ones((length, length), bool))
    weights = jax.nn.softmax(jnp.where(causal, scores, -1e9), axis=-1)
    mixed = jnp.einsum("bkgqs,bskd->bqkgd", weights, v).reshape(batch, length, -1)
    return mixed @ params[f"{prefix}o_proj.weight"].T


def feed_forward(params: Params, prefix: str, x: jax.Array) -> jax.Array:
    gate = jax.nn.silu(x @ params[f"{prefix}gate_proj.weight"].T)
    return (gate * (x @ params[f"{prefix}up_proj.weight"].T)) @ params[f"{prefix}down_proj.weight"].T


def forward(params: Params, tokens: jax.Array, config: ModelConfig) -> jax.Array:
    """Logits [batch, length, vocab] for token ids [batch, length]."""
    x = params["model.embed_tokens.weight"][tokens]
    for layer in range(config.layers):
        prefix = f"model.layers.{layer}."
        normed = rms_norm(x, params[prefix + "input_layernorm.weight"], config.norm_eps)
        x = x + attention(params, prefix + "self_attn.", normed, config)
        normed = rms_norm(x, params[prefix + "post_attention_layernorm.weight"], config.norm_eps)
        x = x + feed_forward(params, prefix + "mlp.", normed)
    return rms_norm(x, params["model.norm.weight"], config.norm_eps) @ params["lm_head.weight"].T


def mean_loss(params: Params, rows: jax.Array, config: ModelConfig) -> jax.Array:
    """Mean cross-entropy of rows [batch, length + 1]: each position predicts the token after it."""
    logits = forward(params, rows[:, :-1], config)
    wanted = jnp.take_along_axis(logits, rows[:, 1:, None], axis=-1)[..., 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - wanted)
