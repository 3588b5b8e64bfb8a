"""Phi-1 to Phi-2: attention and feed-forward in parallel after one LayerNorm, biases everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qformat.families.common import HEAD_LENGTHS, refuse
from qformat.families.family import Family, named


def _read(given: Mapping[str, Any], _fields: dict[str, Any]) -> None:
    refuse(given, "phi2", qk_layernorm=False)


PHI2 = Family(
    name="phi2",
    architecture="phi2",
    model_types=("phi",),
    architectures=("PhiForCausalLM",),
    names=named(
        output_norm="model.final_layernorm",
        ffn_norm=None,
        attn_output="model.layers.{i}.self_attn.dense",
        ffn_gate=None,
        ffn_up="model.layers.{i}.mlp.fc1",
        ffn_down="model.layers.{i}.mlp.fc2",
    ),
    fixed={
        "norm": "layer",
        "norm_bias": True,
        "parallel": True,
        "shared_norm": True,
        "qkv_bias": True,
        "out_bias": True,
        "ff_bias": True,
        "head_bias": True,
        "gated": False,
    },
    omits=HEAD_LENGTHS | {"rope.freq_base", "vocab_size", "use_parallel_residual"},
    activation="gelu_tanh",
    activation_name="gelu_new",
    rope_part=0.5,
    read_config=_read,
)
