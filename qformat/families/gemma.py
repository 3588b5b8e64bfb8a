"""Gemma: embeddings times the root of the width, GELU, norms that multiply by 1 + w, tied head."""

from __future__ import annotations

from typing import Any

from qformat.families.common import ATTENTION_BIAS, embedding_root
from qformat.families.family import Family


def _derive(fields: dict[str, Any]) -> None:
    embedding_root(fields)
    # The first configs name plain GELU, but the models were trained with, and run by, its approximation.
    fields["activation"] = "gelu_tanh"


GEMMA = Family(
    name="gemma",
    architecture="gemma",
    model_types=("gemma",),
    architectures=("GemmaForCausalLM",),
    fixed={"norm_offset": True},
    fields=ATTENTION_BIAS,
    assumed={"head_dim": 256, "tie_word_embeddings": True},
    omits=frozenset({"rope.dimension_count", "rope.freq_base", "vocab_size", "embedding_scale"}),
    activation="gelu_tanh",
    activation_name="gelu_pytorch_tanh",
    writes_head_dim=True,
    derive=_derive,
)
