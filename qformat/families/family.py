"""What a family file says about its architecture; plain data but for a few hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from qformat.families.config import Activation, ModelConfig

if TYPE_CHECKING:
    from qformat.families.links import Link

# Names of the modules of a decoder: GGUF's on the left, Hugging Face's on the right. {i} is the layer.
LLAMA_NAMES: Mapping[str, str] = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "model.layers.{i}.input_layernorm",
    "attn_q": "model.layers.{i}.self_attn.q_proj",
    "attn_k": "model.layers.{i}.self_attn.k_proj",
    "attn_v": "model.layers.{i}.self_attn.v_proj",
    "attn_output": "model.layers.{i}.self_attn.o_proj",
    "attn_q_norm": "model.layers.{i}.self_attn.q_norm",
    "attn_k_norm": "model.layers.{i}.self_attn.k_norm",
    "ffn_norm": "model.layers.{i}.post_attention_layernorm",
    "ffn_gate": "model.layers.{i}.mlp.gate_proj",
    "ffn_up": "model.layers.{i}.mlp.up_proj",
    "ffn_down": "model.layers.{i}.mlp.down_proj",
}


def named(**changes: str | None) -> Mapping[str, str]:
    """Llama's names with some changed, added, or with None taken away."""
    names = {**LLAMA_NAMES, **changes}
    return {part: name for part, name in names.items() if name is not None}


def no_windows(layers: int) -> tuple[bool, ...]:
    """For families that know no window."""
    return (False,) * layers


def every_layer(layers: int) -> tuple[bool, ...]:
    """For families whose window, if there is one, is in every layer."""
    return (True,) * layers


def all_but_every(interval: int) -> Callable[[int], tuple[bool, ...]]:
    """A window in every layer but each ``interval``-th, which sees everything."""
    return lambda layers: tuple((i + 1) % interval != 0 for i in range(layers))


@dataclass(frozen=True)
class Family:
    """One architecture in both formats.

    ``fixed`` are fields of ModelConfig that the architecture itself decides. ``fields`` maps fields to
    keys of config.json beyond those that all share; ``assumed`` is what a key that is missing means.
    ``omits`` are GGUF keys that llama.cpp's converter leaves out, which is right while they have
    llama.cpp's default; ``ignores`` are fields that llama.cpp does not look at.
    """

    name: str
    architecture: str
    model_types: tuple[str, ...]
    architectures: tuple[str, ...]
    names: Mapping[str, str] = field(default_factory=lambda: LLAMA_NAMES)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    assumed: Mapping[str, Any] = field(default_factory=dict)
    omits: frozenset[str] = frozenset()
    ignores: frozenset[str] = frozenset()

    activation: Activation = "silu"
    activation_key: str = "hidden_act"
    activation_name: str = "silu"
    qk_norm_key: str | None = None  # a flag of config.json; the kind is then "heads"

    rope: Literal["half", "interleaved"] | None = "half"
    rope_base: float = 10000.0
    rope_part: float = 1.0
    rope_local_base: float | None = None
    rope_sections: tuple[int, ...] = ()
    keeps_original_context: bool = False
    permutes: bool = False  # Q and K rows go from halves to pairs
    transposes: bool = False  # projections are [in, out] in Hugging Face
    fuses_by_head: bool = False  # a fused projection has q, k and v head by head in Hugging Face

    # Which layers have a window, where neither config.json nor the GGUF lists them
    window_layers: Callable[[int], tuple[bool, ...]] = no_windows
    writes_head_dim: bool = False
    gguf_window: int = 0  # where a GGUF does not say
    lists_layers: bool = False  # config.json has layer_types
    window_flag: bool = False  # config.json has use_sliding_window

    gguf_rope_base: float = 10000.0  # llama.cpp's default where a GGUF has none
    says_no_scaling: bool = False  # the GGUF names the scaling rule "none"
    writes_no_window: bool = False  # the GGUF says so where there is no window
    divides_logits: bool = False  # the GGUF's logit_scale is a divisor
    tokens_cut: bool = False  # embedding rows beyond the tokenizer's are left out of the GGUF
    # Fields that follow from others, whichever format they came from
    derive: Callable[[dict[str, Any]], None] | None = None
    read_config: Callable[[Mapping[str, Any], dict[str, Any]], None] | None = None
    write_config: Callable[[ModelConfig, dict[str, Any]], None] | None = None
    read_keys: Callable[[Mapping[str, Any], dict[str, Any]], None] | None = None
    write_keys: Callable[[ModelConfig, dict[str, Any]], None] | None = None
    layer_links: Callable[[ModelConfig, int], list[Link] | None] | None = None
