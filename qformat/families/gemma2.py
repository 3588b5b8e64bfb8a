"""Gemma 2: norms after each part as well, soft caps, a window in every other layer from the first on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qformat.families.common import (
    ATTENTION_BIAS,
    embedding_root,
    large_query_scalar,
    read_query_scalar,
    write_query_scalar,
)
from qformat.families.family import Family, all_but_every, named

NAMES = named(
    ffn_norm="model.layers.{i}.pre_feedforward_layernorm",
    post_attention_norm="model.layers.{i}.post_attention_layernorm",
    post_ffw_norm="model.layers.{i}.post_feedforward_layernorm",
)


def _read_keys(_values: Mapping[str, Any], fields: dict[str, Any]) -> None:
    large_query_scalar(46, fields)


GEMMA2 = Family(
    name="gemma2",
    architecture="gemma2",
    model_types=("gemma2",),
    architectures=("Gemma2ForCausalLM",),
    names=NAMES,
    fixed={"norm_offset": True, "post_norm": True},
    fields={
        **ATTENTION_BIAS,
        "attention_softcap": "attn_logit_softcapping",
        "logit_softcap": "final_logit_softcapping",
    },
    assumed={"head_dim": 256, "tie_word_embeddings": True, "query_pre_attn_scalar": 256},
    omits=frozenset({"rope.dimension_count", "rope.freq_base", "vocab_size", "embedding_scale"}),
    ignores=frozenset({"attention_scale"}),
    activation="gelu_tanh",
    activation_key="hidden_activation",
    activation_name="gelu_pytorch_tanh",
    writes_head_dim=True,
    window_layers=all_but_every(2),
    gguf_window=4096,
    lists_layers=True,
    derive=embedding_root,
    read_config=read_query_scalar,
    write_config=write_query_scalar,
    read_keys=_read_keys,
)
