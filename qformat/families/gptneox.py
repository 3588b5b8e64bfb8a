"""GPT-NeoX and Pythia: parallel parts with a norm each, and q, k and v fused head by head."""

from __future__ import annotations

from qformat.families.common import ATTENTION_BIAS, HEAD_LENGTHS
from qformat.families.family import Family

GPTNEOX = Family(
    name="gptneox",
    architecture="gptneox",
    model_types=("gpt_neox",),
    architectures=("GPTNeoXForCausalLM",),
    names={
        "token_embd": "gpt_neox.embed_in",
        "output_norm": "gpt_neox.final_layer_norm",
        "output": "embed_out",
        "attn_norm": "gpt_neox.layers.{i}.input_layernorm",
        "attn_qkv": "gpt_neox.layers.{i}.attention.query_key_value",
        "attn_output": "gpt_neox.layers.{i}.attention.dense",
        "ffn_norm": "gpt_neox.layers.{i}.post_attention_layernorm",
        "ffn_up": "gpt_neox.layers.{i}.mlp.dense_h_to_4h",
        "ffn_down": "gpt_neox.layers.{i}.mlp.dense_4h_to_h",
    },
    fixed={"norm": "layer", "norm_bias": True, "ff_bias": True, "fused_qkv": True, "gated": False},
    fields={**ATTENTION_BIAS, "parallel": "use_parallel_residual", "kv_heads": ""},
    assumed={"attention_bias": True, "use_parallel_residual": True},
    omits=HEAD_LENGTHS | {"attention.head_count_kv", "rope.freq_base", "vocab_size"},
    activation="gelu",
    activation_name="gelu",
    rope_part=0.25,
    fuses_by_head=True,
)
