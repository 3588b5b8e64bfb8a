"""Mixtral: Llama with a mixture of experts; both share GGUF's name for the architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qformat.families.common import HEAD_LENGTHS, experts
from qformat.families.config import ModelConfig
from qformat.families.family import Family, every_layer, named


def _read(given: Mapping[str, Any], fields: dict[str, Any]) -> None:
    fields["experts"] = experts({**given, "norm_topk_prob": True}, fields["ff_width"])


def _write(model: ModelConfig, config: dict[str, Any]) -> None:
    assert model.experts is not None
    config |= {"num_local_experts": model.experts.count, "num_experts_per_tok": model.experts.used}


MIXTRAL = Family(
    name="mixtral",
    architecture="llama",
    model_types=("mixtral",),
    architectures=("MixtralForCausalLM",),
    names=named(
        ffn_gate_inp="model.layers.{i}.block_sparse_moe.gate",
        ffn_gate_exps="model.layers.{i}.block_sparse_moe.experts.{e}.w1",
        ffn_up_exps="model.layers.{i}.block_sparse_moe.experts.{e}.w3",
        ffn_down_exps="model.layers.{i}.block_sparse_moe.experts.{e}.w2",
    ),
    omits=HEAD_LENGTHS | {"expert_feed_forward_length"},
    ignores=frozenset({"window"}),
    rope="interleaved",
    rope_base=1e6,
    permutes=True,
    window_layers=every_layer,
    read_config=_read,
    write_config=_write,
)
