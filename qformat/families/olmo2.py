"""OLMo 2: norms after each part instead of before, and of all heads of q and of k at once."""

from __future__ import annotations

from qformat.families.common import ATTENTION_BIAS, PLAIN
from qformat.families.family import Family, named

OLMO2 = Family(
    name="olmo2",
    architecture="olmo2",
    model_types=("olmo2",),
    architectures=("Olmo2ForCausalLM",),
    names=named(
        attn_norm=None,
        ffn_norm=None,
        post_attention_norm="model.layers.{i}.post_attention_layernorm",
        post_ffw_norm="model.layers.{i}.post_feedforward_layernorm",
    ),
    fixed={"pre_norm": False, "post_norm": True, "qk_norm": "row"},
    fields=ATTENTION_BIAS,
    omits=PLAIN,
)
