"""Qwen2 and 2.5: biases on q, k and v; a window in the upper layers, which is off by default."""

from __future__ import annotations

from qformat.families.common import PLAIN
from qformat.families.family import Family

QWEN2 = Family(
    name="qwen2",
    architecture="qwen2",
    model_types=("qwen2",),
    architectures=("Qwen2ForCausalLM",),
    fixed={"qkv_bias": True},
    omits=PLAIN,
    ignores=frozenset({"window"}),
    lists_layers=True,
    window_flag=True,
)
