"""Granite: Llama with factors on embeddings, scores and what is added, and a divisor of the logits."""

from __future__ import annotations

from qformat.families.common import ATTENTION_BIAS, HEAD_LENGTHS
from qformat.families.family import Family

GRANITE = Family(
    name="granite",
    architecture="granite",
    model_types=("granite",),
    architectures=("GraniteForCausalLM",),
    fields={
        **ATTENTION_BIAS,
        "ff_bias": "mlp_bias",
        "attention_scale": "attention_multiplier",
        "embedding_scale": "embedding_multiplier",
        "residual_scale": "residual_multiplier",
        "logit_divisor": "logits_scaling",
    },
    omits=HEAD_LENGTHS,
    rope="interleaved",
    permutes=True,
    divides_logits=True,
)
