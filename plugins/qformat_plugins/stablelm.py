"""StableLM: LayerNorm, rotation of a quarter of each head, optionally parallel parts and norms per head."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from qformat.plugins import hookimpl

if TYPE_CHECKING:
    from qformat.families.family import Family


def stablelm() -> Family:
    """The family, described by how it differs from Llama."""
    from qformat.families.common import HEAD_LENGTHS, shares_norm
    from qformat.families.family import Family, named

    return Family(
        name="stablelm",
        architecture="stablelm",
        model_types=("stablelm",),
        architectures=("StableLmForCausalLM", "StableLMEpochForCausalLM"),
        names=named(
            attn_q_norm="model.layers.{i}.self_attn.q_layernorm.norms.{e}",
            attn_k_norm="model.layers.{i}.self_attn.k_layernorm.norms.{e}",
        ),
        fixed={"norm": "layer", "norm_bias": True},
        fields={"qkv_bias": "use_qkv_bias", "parallel": "use_parallel_residual"},
        assumed={"use_parallel_residual": False},
        omits=HEAD_LENGTHS | {"rope.freq_base", "vocab_size"},
        qk_norm_key="qk_layernorm",
        rope_part=0.25,
        derive=shares_norm,
    )


@hookimpl
def qformat_families() -> Iterable[Family]:
    return (stablelm(),)
