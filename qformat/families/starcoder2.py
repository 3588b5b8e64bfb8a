"""StarCoder2: LayerNorm, biases, a feed-forward part without a gate."""

from __future__ import annotations

from qformat.families.common import PLAIN
from qformat.families.family import Family, every_layer, named

STARCODER2 = Family(
    name="starcoder2",
    architecture="starcoder2",
    model_types=("starcoder2",),
    architectures=("Starcoder2ForCausalLM",),
    names=named(
        ffn_gate=None,
        ffn_up="model.layers.{i}.mlp.c_fc",
        ffn_down="model.layers.{i}.mlp.c_proj",
    ),
    fixed={"norm": "layer", "norm_bias": True, "gated": False},
    fields={
        "qkv_bias": "use_bias",
        "out_bias": "use_bias",
        "ff_bias": "use_bias",
        "norm_eps": "norm_epsilon",
    },
    assumed={"use_bias": True, "tie_word_embeddings": True},
    omits=PLAIN | {"use_parallel_residual"},
    ignores=frozenset({"window"}),
    activation="gelu_tanh",
    activation_name="gelu_pytorch_tanh",
    window_layers=every_layer,
)
