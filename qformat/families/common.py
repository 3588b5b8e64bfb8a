"""Hooks and key sets that several family files share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qformat.families.checks import FamilyError, flag, per_layer, positive, real, shortest
from qformat.families.config import Experts, ModelConfig

HEAD_LENGTHS = frozenset({"attention.key_length", "attention.value_length"})
PLAIN = HEAD_LENGTHS | {"rope.dimension_count", "vocab_size"}
ATTENTION_BIAS = {"qkv_bias": "attention_bias", "out_bias": "attention_bias"}


def first(given: Mapping[str, Any], *keys: str) -> Any:
    """The value of the first key that there is."""
    for key in keys:
        if given.get(key) is not None:
            return given[key]
    raise FamilyError(f"config.json has no {keys[0]!r}, which a mixture of experts needs")


def experts(given: Mapping[str, Any], width: Any) -> Experts:
    count = positive(first(given, "num_local_experts", "num_experts"), "the number of experts", 1 << 16)
    used = positive(first(given, "num_experts_per_tok"), "num_experts_per_tok")
    if used > count:
        raise FamilyError(f"{used} experts are used of {count}")
    renormalize = flag(given.get("norm_topk_prob", True), "norm_topk_prob")
    return Experts(count, used, positive(width, "the width of an expert"), renormalize)


def refuse(given: Mapping[str, Any], family: str, **keys: Any) -> None:
    """Refuse a config that asks for what the architecture's other models do not have."""
    for key, usual in keys.items():
        if given.get(key, usual) != usual:
            raise FamilyError(f"a {family} model with {key} = {given[key]!r} is not known")


def embedding_root(fields: dict[str, Any]) -> None:
    """Gemma multiplies embeddings by the square root of their width."""
    fields["embedding_scale"] = shortest(fields["width"] ** 0.5)


def read_query_scalar(given: Mapping[str, Any], fields: dict[str, Any]) -> None:
    scalar = given.get("query_pre_attn_scalar")
    if scalar is not None and real(scalar, "query_pre_attn_scalar") != fields["head_dim"]:
        fields["attention_scale"] = shortest(float(scalar) ** -0.5)


def write_query_scalar(model: ModelConfig, config: dict[str, Any]) -> None:
    scalar = float(model.head_dim) if model.attention_scale is None else model.attention_scale**-2
    config["query_pre_attn_scalar"] = round(scalar) if abs(scalar - round(scalar)) < 1e-4 else scalar


def large_query_scalar(layers: int, fields: dict[str, Any]) -> None:
    """llama.cpp knows Gemma's largest size by its layers: scores are scaled by width/heads there."""
    scalar = fields["width"] // fields["heads"]
    if fields["layers"] == layers and "attention_scale" not in fields and scalar != fields["head_dim"]:
        fields["attention_scale"] = shortest(scalar**-0.5)


def shares_norm(fields: dict[str, Any]) -> None:
    fields["shared_norm"] = fields["parallel"]


def flags(value: Any, layers: int, what: str) -> tuple[bool, ...]:
    return tuple(flag(v, what) for v in per_layer(value, layers, what))
