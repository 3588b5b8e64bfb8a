"""ModelConfig to the key-values that llama.cpp reads."""

from __future__ import annotations

from typing import Any

from qformat.families.config import ModelConfig
from qformat.families.family import Family
from qformat.families.gguf_keys import SCALES, YARN, Kind, Typed, scale_name


def write(model: ModelConfig, family: Family) -> dict[str, Typed]:
    """The architecture and its hyperparameters; the tokenizer's keys are not among them."""
    found: dict[str, Typed] = {}

    def put(key: str, kind: Kind, value: Any, default: Any = None) -> None:
        if value is None or (key in family.omits and value == default):
            return
        found[f"{family.architecture}.{key}"] = Typed(kind, value, isinstance(value, tuple))

    narrow = model.width // model.heads
    put("block_count", "u32", model.layers)
    put("context_length", "u32", model.context)
    put("embedding_length", "u32", model.width)
    put("feed_forward_length", "u32", model.ff_width)
    put("attention.head_count", "u32", model.heads)
    put("attention.head_count_kv", "u32", model.kv_heads, model.heads)
    put("attention.key_length", "u32", model.head_dim, narrow)
    put("attention.value_length", "u32", model.value_dim, narrow)
    eps = "layer_norm_rms_epsilon" if model.norm == "rms" else "layer_norm_epsilon"
    put(f"attention.{eps}", "f32", model.norm_eps)
    put("vocab_size", "u32", model.vocabulary, model.vocabulary)
    if model.norm == "layer" and "use_parallel_residual" not in family.omits:
        put("use_parallel_residual", "bool", model.parallel)
    _put_scales(model, family, put)
    _put_rope(model, family, put)
    _put_windows(model, family, put)
    if model.experts:
        put("expert_count", "u32", model.experts.count)
        put("expert_used_count", "u32", model.experts.used)
        put("expert_feed_forward_length", "u32", model.experts.width, model.ff_width)
        put("expert_weights_norm", "bool", None if model.experts.renormalize else False)
    if family.write_keys:
        extra: dict[str, Any] = {}
        family.write_keys(model, extra)
        found |= {f"{family.architecture}.{key}": value for key, value in extra.items()}
    return {"general.architecture": Typed("string", family.architecture), **found}


def _put_scales(model: ModelConfig, family: Family, put: Any) -> None:
    for name, key in SCALES.items():
        value = getattr(model, scale_name(name, family))
        put(key, "f32", value, value)


def _put_rope(model: ModelConfig, family: Family, put: Any) -> None:
    rope = model.rope
    if rope is None:
        return
    put("rope.dimension_count", "u32", rope.dimension, model.head_dim)
    put("rope.freq_base", "f32", rope.base, family.gguf_rope_base)
    if rope.local_base is not None or (model.window and family.rope_local_base is not None):
        put("rope.freq_base_swa", "f32", rope.local_base or rope.base)
    if any(rope.sections):
        put("rope.dimension_sections", "i32", rope.sections)
    scaling = rope.scaling
    if scaling is None:
        put("rope.scaling.original_context_length", "u32", rope.original_context)
        if family.says_no_scaling:
            put("rope.scaling.type", "string", "none")
        return
    if scaling.kind == "llama3":
        return  # llama.cpp reads the tensor rope_freqs.weight
    put("rope.scaling.original_context_length", "u32", rope.original_context)
    if scaling.kind == "longrope":
        put("rope.scaling.attn_factor", "f32", scaling.attention_factor)
        return
    put("rope.scaling.type", "string", scaling.kind)
    put("rope.scaling.factor", "f32", scaling.factor)
    if scaling.kind == "yarn":
        for name, key in YARN.items():
            put(f"rope.scaling.{key}", "f32", getattr(scaling, name))


def _put_windows(model: ModelConfig, family: Family, put: Any) -> None:
    if model.window is None:
        put("attention.sliding_window", "u32", 0 if family.writes_no_window else None)
        return
    put("attention.sliding_window", "u32", model.window)
    if model.window_layers != family.window_layers(model.layers):
        put("attention.sliding_window_pattern", "bool", model.window_layers)


def losses(model: ModelConfig, family: Family) -> list[str]:
    """What llama.cpp will not honour of this model, in words; qformat reads all of it back."""
    found = []
    if model.window is not None and "window" in family.ignores:
        found.append(f"llama.cpp ignores the window of {model.window} tokens of a {family.name} model")
    if model.activation != family.activation:
        what = f"llama.cpp computes {family.activation} where this {family.name} model has {model.activation}"
        found.append(what)
    if model.experts and not model.experts.renormalize:
        found.append("llama.cpp makes the weights of the experts used add up to 1; this model does not")
    if model.attention_scale is not None and "attention_scale" in family.ignores:
        found.append(f"llama.cpp ignores that scores are multiplied by {model.attention_scale}")
    if model.rope_layers and "rope_layers" in family.ignores:
        found.append("llama.cpp leaves out rotary positions in every fourth layer; this model elsewhere")
    return found
