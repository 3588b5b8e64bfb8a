"""Gemma 3: norms of q and k, no soft cap of scores, five layers with a window to one without.

Layers with a window turn at base 10,000, the others at 1,000,000, where alone scaling applies.
"""

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
from qformat.families.family import Family, all_but_every
from qformat.families.gemma2 import NAMES


def _read_keys(_values: Mapping[str, Any], fields: dict[str, Any]) -> None:
    large_query_scalar(62, fields)


GEMMA3 = Family(
    name="gemma3",
    architecture="gemma3",
    model_types=("gemma3_text", "gemma3"),
    architectures=("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
    names=NAMES,
    fixed={"norm_offset": True, "post_norm": True, "qk_norm": "head"},
    fields={**ATTENTION_BIAS, "logit_softcap": "final_logit_softcapping"},
    assumed={
        "head_dim": 256,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 262208,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-6,
        "query_pre_attn_scalar": 256,
        "tie_word_embeddings": True,
        "sliding_window": 4096,
    },
    omits=frozenset({"rope.dimension_count", "vocab_size", "embedding_scale"}),
    ignores=frozenset({"attention_scale"}),
    activation="gelu_tanh",
    activation_key="hidden_activation",
    activation_name="gelu_pytorch_tanh",
    rope_base=1e6,
    rope_local_base=1e4,
    writes_head_dim=True,
    window_layers=all_but_every(6),
    lists_layers=True,
    tokens_cut=True,
    derive=embedding_root,
    read_config=read_query_scalar,
    write_config=write_query_scalar,
    read_keys=_read_keys,
)
