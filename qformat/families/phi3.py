"""Phi-3 and Phi-4: fused projections, and rotary tables for contexts short and long."""

from __future__ import annotations

from qformat.families.common import HEAD_LENGTHS
from qformat.families.family import Family, every_layer, named

PHI3 = Family(
    name="phi3",
    architecture="phi3",
    model_types=("phi3",),
    architectures=("Phi3ForCausalLM",),
    names=named(
        attn_q=None,
        attn_k=None,
        attn_v=None,
        attn_qkv="model.layers.{i}.self_attn.qkv_proj",
        ffn_gate=None,
        ffn_up="model.layers.{i}.mlp.gate_up_proj",
    ),
    fixed={"fused_qkv": True, "fused_gate_up": True},
    omits=HEAD_LENGTHS | {"vocab_size"},
    ignores=frozenset({"window"}),
    keeps_original_context=True,
    writes_no_window=True,
    window_layers=every_layer,
)
