"""A GGUF's key-values to ModelConfig and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from qformat.families.checks import MAX_LAYERS, FamilyError, flag, per_layer, positive, real, sequence, whole
from qformat.families.config import Experts, ModelConfig, Rope, RopeScaling
from qformat.families.family import Family
from qformat.families.hf_config import consistent
from qformat.families.rope import llama3_from_factors

Shapes = Mapping[str, tuple[int, ...]]
Reader = Callable[[str], np.ndarray[Any, Any]]
Kind = Literal["u32", "i32", "f32", "bool", "string"]


@dataclass(frozen=True)
class Typed:
    """A value and the type that GGUF gives it; with ``array`` a tuple of such values."""

    kind: Kind
    value: Any
    array: bool = False


class Keys:
    """Key-values of one architecture, looked up without its prefix and checked."""

    def __init__(self, values: Mapping[str, Any], architecture: str) -> None:
        self.values, self.prefix = values, architecture

    def get(self, key: str) -> Any:
        return self.values.get(f"{self.prefix}.{key}")

    def count(self, key: str, default: int | None = None, most: int = 1 << 32) -> int:
        value = self.get(key)
        if value is None:
            if default is None:
                raise FamilyError(f"the GGUF has no key {self.prefix}.{key}, which its architecture needs")
            return default
        if not isinstance(value, int | float | str | np.number):
            items = sequence(value, f"{self.prefix}.{key}")
            if not items or any(item != items[0] for item in items):
                what = f"{self.prefix}.{key} differs from layer to layer, which this architecture does not"
                raise FamilyError(what)
            value = items[0]
        return whole(value, f"{self.prefix}.{key}", most)

    def real(self, key: str) -> float | None:
        value = self.get(key)
        return None if value is None else real(value, f"{self.prefix}.{key}")

    def flag(self, key: str, *, default: bool) -> bool:
        value = self.get(key)
        return default if value is None else flag(value, f"{self.prefix}.{key}")


def read(
    values: Mapping[str, Any], family: Family, tensors: Shapes, load: Reader | None = None
) -> ModelConfig:
    """Describe the model of a GGUF of this family.

    ``tensors`` has the shape of every tensor: whether a head is tied or a projection has a bias, only they
    say. ``load`` reads one, for tables of rotary frequencies.
    """
    keys = Keys(values, family.architecture)
    fields: dict[str, Any] = {"family": family.name, **family.fixed}
    predicted = keys.count("nextn_predict_layers", 0)
    layers = keys.count("block_count", most=MAX_LAYERS) - predicted
    fields["layers"] = positive(layers, f"{family.architecture}.block_count")
    fields["width"] = keys.count("embedding_length")
    fields["context"] = keys.count("context_length")
    fields["ff_width"] = keys.count("feed_forward_length")
    heads = fields["heads"] = positive(keys.count("attention.head_count"), "attention.head_count")
    fields["kv_heads"] = positive(keys.count("attention.head_count_kv", heads), "attention.head_count_kv")
    fields["head_dim"] = keys.count("attention.key_length", fields["width"] // heads)
    if keys.count("attention.value_length", fields["head_dim"]) != fields["head_dim"]:
        raise FamilyError("keys and values of different lengths are not known of this architecture")
    fields["vocabulary"] = _vocabulary(keys, tensors)
    rms = fields.get("norm", "rms") == "rms"
    eps = keys.real("attention.layer_norm_rms_epsilon" if rms else "attention.layer_norm_epsilon")
    if eps is None:
        raise FamilyError(f"the GGUF has no epsilon of norms for {family.architecture}")
    fields["norm_eps"] = eps
    fields["activation"] = family.activation
    fields["tied"] = False
    _from_tensors(fields, family, tensors)
    _scales(keys, fields, family)
    fields["rope"] = _rope(keys, family, fields, tensors, load)
    _windows(keys, family, fields)
    _read_experts(keys, fields)
    if (bos := values.get("tokenizer.ggml.bos_token_id")) is not None:
        fields["bos"] = whole(bos, "tokenizer.ggml.bos_token_id")
    if (eos := values.get("tokenizer.ggml.eos_token_id")) is not None:
        fields["eos"] = (whole(eos, "tokenizer.ggml.eos_token_id"),)
    if not rms and "use_parallel_residual" not in family.omits:
        fields["parallel"] = keys.flag("use_parallel_residual", default=True)
    if family.read_keys:
        family.read_keys(values, fields)
    if family.derive:
        family.derive(fields)
    return consistent(ModelConfig(**fields))


def _vocabulary(keys: Keys, tensors: Shapes) -> int:
    if "token_embd.weight" in tensors:
        return tensors["token_embd.weight"][0]
    if keys.get("vocab_size") is not None:
        return keys.count("vocab_size")
    tokens = keys.values.get("tokenizer.ggml.tokens")
    if tokens is None:
        raise FamilyError("the GGUF names no vocabulary: neither a key, nor a token list, nor an embedding")
    return len(sequence(tokens, "tokenizer.ggml.tokens"))


def _from_tensors(fields: dict[str, Any], family: Family, tensors: Shapes) -> None:
    if not tensors:
        return
    ends = {name.split(".", 2)[2] if name.startswith("blk.") else name for name in tensors}
    fields["tied"] = "output.weight" not in ends
    fields["head_bias"] = "output.bias" in ends
    fields["qkv_bias"] = bool(ends & {"attn_q.bias", "attn_qkv.bias"})
    fields["out_bias"] = "attn_output.bias" in ends
    fields["ff_bias"] = "ffn_up.bias" in ends
    if family.qk_norm_key and "attn_q_norm.weight" in ends:
        fields["qk_norm"] = "heads"


# Fields of ModelConfig that are one float in a GGUF.
SCALES = {
    "attention_scale": "attention.scale",
    "attention_softcap": "attn_logit_softcapping",
    "logit_softcap": "final_logit_softcapping",
    "embedding_scale": "embedding_scale",
    "residual_scale": "residual_scale",
    "logit_scale": "logit_scale",
}


def _scales(keys: Keys, fields: dict[str, Any], family: Family) -> None:
    for name, key in SCALES.items():
        value = keys.real(key)
        if value:
            fields[scale_name(name, family)] = value


def scale_name(name: str, family: Family) -> str:
    """Granite's logit_scale is a divisor, Cohere's a factor; the key is the same."""
    return "logit_divisor" if name == "logit_scale" and family.divides_logits else name


def _rope(
    keys: Keys, family: Family, fields: Mapping[str, Any], tensors: Shapes, load: Reader | None
) -> Rope | None:
    if family.rope is None:
        return None
    base = keys.real("rope.freq_base") or family.gguf_rope_base
    local = keys.real("rope.freq_base_swa") or family.rope_local_base
    original = keys.count("rope.scaling.original_context_length", 0) or None
    kind, factor = keys.get("rope.scaling.type"), keys.real("rope.scaling.factor")
    dimension = keys.count("rope.dimension_count", fields["head_dim"])
    sections = tuple(
        whole(n, "rope.dimension_sections")
        for n in sequence(keys.get("rope.dimension_sections") or (), "rope.dimension_sections")
    )
    if local == base:
        local = None
    rope = Rope(family.rope, base, dimension, None, None, local, sections or family.rope_sections)
    scaling = None
    tables = {"rope_freqs.weight", *LONG_TABLES} & tensors.keys()
    if tables and load is None:
        raise FamilyError("the rotary positions follow from tables, which must be read", tensor=min(tables))
    if load is not None and "rope_freqs.weight" in tables:
        return llama3_from_factors(rope, load("rope_freqs.weight"))
    if load is not None and tables:
        long, short = (tuple(real(v, n) for v in load(n)) for n in LONG_TABLES)
        stretch = real(fields["context"] / (original or fields["context"]), "the factor of the context")
        attention = keys.real("rope.scaling.attn_factor")
        scaling = RopeScaling("longrope", stretch, attention_factor=attention, long=long, short=short)
    elif kind == "linear" and factor:
        scaling = RopeScaling("linear", factor)
    elif kind == "yarn" and factor:
        yarn = {name: keys.real(f"rope.scaling.{key}") for name, key in YARN.items()}
        scaling = RopeScaling("yarn", factor, **yarn)  # type: ignore[arg-type]
    elif kind not in (None, "none", "longrope"):
        raise FamilyError(f"rotary positions scaled by the rule {kind!r} are not known")
    return Rope(
        rope.kind,
        base,
        dimension,
        scaling,
        original if scaling is not None or family.keeps_original_context else None,
        local,
        rope.sections,
    )


LONG_TABLES = ("rope_factors_long.weight", "rope_factors_short.weight")
YARN = {
    "attention_factor": "yarn_attn_factor",
    "extrapolation": "yarn_ext_factor",
    "beta_fast": "yarn_beta_fast",
    "beta_slow": "yarn_beta_slow",
}


def _windows(keys: Keys, family: Family, fields: dict[str, Any]) -> None:
    layers = fields["layers"]
    window = keys.count("attention.sliding_window", family.gguf_window)
    pattern = keys.get("attention.sliding_window_pattern")
    fields["window"] = window or None
    if not window:
        fields["window_layers"] = (False,) * layers
    elif pattern is None:
        fields["window_layers"] = family.window_layers(layers)
    elif isinstance(pattern, int) and not isinstance(pattern, bool):
        fields["window_layers"] = tuple(pattern > 0 and (i + 1) % pattern != 0 for i in range(layers))
    else:
        flags = sequence(pattern, "attention.sliding_window_pattern")[:layers]
        fields["window_layers"] = tuple(flag(v, "sliding_window_pattern") for v in flags)
        per_layer(flags, layers, "attention.sliding_window_pattern")


def _read_experts(keys: Keys, fields: dict[str, Any]) -> None:
    count = keys.count("expert_count", 0)
    if count:
        fields["experts"] = Experts(
            count,
            keys.count("expert_used_count"),
            keys.count("expert_feed_forward_length", fields["ff_width"]),
            keys.flag("expert_weights_norm", default=True),
        )
