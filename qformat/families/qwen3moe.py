"""Qwen3 with a mixture of experts in every layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qformat.families.common import ATTENTION_BIAS, experts, refuse
from qformat.families.config import ModelConfig
from qformat.families.family import Family, named


def _read(given: Mapping[str, Any], fields: dict[str, Any]) -> None:
    refuse(given, "qwen3moe", decoder_sparse_step=1, mlp_only_layers=[])
    # transformers takes a missing norm_topk_prob for false; the models all say true.
    given = {**given, "norm_topk_prob": given.get("norm_topk_prob", False)}
    fields["experts"] = experts(given, given.get("moe_intermediate_size"))


def _write(model: ModelConfig, config: dict[str, Any]) -> None:
    assert model.experts is not None
    config |= {
        "num_experts": model.experts.count,
        "num_local_experts": model.experts.count,
        "num_experts_per_tok": model.experts.used,
        "moe_intermediate_size": model.experts.width,
        "norm_topk_prob": model.experts.renormalize,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }


QWEN3MOE = Family(
    name="qwen3moe",
    architecture="qwen3moe",
    model_types=("qwen3_moe",),
    architectures=("Qwen3MoeForCausalLM",),
    names=named(
        ffn_gate_inp="model.layers.{i}.mlp.gate",
        ffn_gate_exps="model.layers.{i}.mlp.experts.{e}.gate_proj",
        ffn_up_exps="model.layers.{i}.mlp.experts.{e}.up_proj",
        ffn_down_exps="model.layers.{i}.mlp.experts.{e}.down_proj",
    ),
    fixed={"qk_norm": "head"},
    fields=ATTENTION_BIAS,
    omits=frozenset({"rope.dimension_count", "vocab_size"}),
    ignores=frozenset({"window"}),
    writes_head_dim=True,
    window_flag=True,
    read_config=_read,
    write_config=_write,
)
