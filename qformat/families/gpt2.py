"""GPT-2: learned positions, LayerNorm, one fused projection for q, k and v, everything [in, out]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qformat.families.common import HEAD_LENGTHS, refuse
from qformat.families.family import Family


def _read(given: Mapping[str, Any], _fields: dict[str, Any]) -> None:
    refuse(
        given,
        "gpt2",
        scale_attn_by_inverse_layer_idx=False,
        scale_attn_weights=True,
        add_cross_attention=False,
    )


GPT2 = Family(
    name="gpt2",
    architecture="gpt2",
    model_types=("gpt2",),
    architectures=("GPT2LMHeadModel",),
    names={
        "token_embd": "transformer.wte",
        "position_embd": "transformer.wpe",
        "output_norm": "transformer.ln_f",
        "output": "lm_head",
        "attn_norm": "transformer.h.{i}.ln_1",
        "attn_qkv": "transformer.h.{i}.attn.c_attn",
        "attn_output": "transformer.h.{i}.attn.c_proj",
        "ffn_norm": "transformer.h.{i}.ln_2",
        "ffn_up": "transformer.h.{i}.mlp.c_fc",
        "ffn_down": "transformer.h.{i}.mlp.c_proj",
    },
    fixed={
        "norm": "layer",
        "norm_bias": True,
        "learned_positions": True,
        "qkv_bias": True,
        "out_bias": True,
        "ff_bias": True,
        "fused_qkv": True,
        "gated": False,
    },
    fields={
        "layers": "n_layer",
        "width": "n_embd",
        "ff_width": "n_inner",
        "heads": "n_head",
        "kv_heads": "",
        "context": "n_positions",
        "norm_eps": "layer_norm_epsilon",
    },
    assumed={"tie_word_embeddings": True},
    omits=HEAD_LENGTHS | {"attention.head_count_kv", "vocab_size", "use_parallel_residual"},
    activation="gelu_tanh",
    activation_key="activation_function",
    activation_name="gelu_new",
    rope=None,
    transposes=True,
    read_config=_read,
)
