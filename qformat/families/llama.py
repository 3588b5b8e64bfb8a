"""Llama, and Mistral: Llama with an optional window, which llama.cpp does not look at."""

from __future__ import annotations

from typing import Any

from qformat.families.common import ATTENTION_BIAS
from qformat.families.config import ModelConfig
from qformat.families.family import Family, every_layer


def _write(model: ModelConfig, config: dict[str, Any]) -> None:
    if model.window is not None:
        config |= {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}


LLAMA = Family(
    name="llama",
    architecture="llama",
    model_types=("llama", "mistral"),
    architectures=("LlamaForCausalLM", "MistralForCausalLM", "LLaMAForCausalLM"),
    fields={**ATTENTION_BIAS, "ff_bias": "mlp_bias"},
    ignores=frozenset({"window"}),
    rope="interleaved",
    permutes=True,
    writes_head_dim=True,
    window_layers=every_layer,
    write_config=_write,
)
