"""Command R and Command R7B: parallel parts after one LayerNorm without bias, logits times a factor.

Both turn neighbours in Hugging Face as in GGUF, so no rows move. The second has windows, and no
positions at all in the layers without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qformat.families.checks import positive
from qformat.families.common import ATTENTION_BIAS, PLAIN
from qformat.families.family import Family, all_but_every, named

NAMES = named(ffn_norm=None)
FIXED = {"norm": "layer", "parallel": True, "shared_norm": True}
FIELDS = {**ATTENTION_BIAS, "logit_scale": "logit_scale"}


def _context(given: Mapping[str, Any], fields: dict[str, Any]) -> None:
    # The first configs name the context of an earlier stage of training; this key has the last one.
    if given.get("model_max_length") is not None:
        fields["context"] = positive(given["model_max_length"], "model_max_length")


def _rope_layers(fields: dict[str, Any]) -> None:
    fields["rope_layers"] = fields["window_layers"]


COHERE = Family(
    name="cohere",
    architecture="command-r",
    model_types=("cohere",),
    architectures=("CohereForCausalLM",),
    names=NAMES,
    fixed=FIXED,
    fields=FIELDS,
    assumed={"tie_word_embeddings": True, "logit_scale": 0.0625},
    omits=PLAIN | {"use_parallel_residual"},
    qk_norm_key="use_qk_norm",
    rope="interleaved",
    says_no_scaling=True,
    read_config=_context,
)
COHERE2 = Family(
    name="cohere2",
    architecture="cohere2",
    model_types=("cohere2",),
    architectures=("Cohere2ForCausalLM",),
    names=NAMES,
    fixed=FIXED,
    fields=FIELDS,
    assumed={"tie_word_embeddings": True, "logit_scale": 0.0625},
    omits=frozenset({"use_parallel_residual"}),
    rope="interleaved",
    writes_head_dim=True,
    says_no_scaling=True,
    window_layers=all_but_every(4),
    lists_layers=True,
    derive=_rope_layers,
)
