"""Qwen3: a norm of each head of q and k before the rotation; heads of their own length."""

from __future__ import annotations

from qformat.families.common import ATTENTION_BIAS
from qformat.families.family import Family

QWEN3 = Family(
    name="qwen3",
    architecture="qwen3",
    model_types=("qwen3",),
    architectures=("Qwen3ForCausalLM",),
    fixed={"qk_norm": "head"},
    fields=ATTENTION_BIAS,
    assumed={"head_dim": 128},
    omits=frozenset({"rope.dimension_count", "vocab_size"}),
    ignores=frozenset({"window"}),
    writes_head_dim=True,
    lists_layers=True,
    window_flag=True,
)
