"""One description of every decoder: named differences from plain Llama.

Plain Llama is: RMSNorm before attention and before the feed-forward part, rotary positions over the
whole head, grouped-query attention without biases, SwiGLU, separate output head. Each field's default
says just that, so what differs from a default is what a family is about.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]
ScalingKind = Literal["linear", "yarn", "llama3", "longrope"]


@dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched to reach past the context of training.

    ``linear`` divides every frequency by ``factor``. ``yarn`` does so for slow ones only, ramped
    between ``beta_fast`` and ``beta_slow``. ``llama3`` likewise by wavelength, between
    original context / ``high`` and / ``low``. ``longrope`` divides frequency i by ``long[i]``, or
    by ``short[i]`` within the original context; ``attention_factor`` multiplies cosine and sine.
    """

    kind: ScalingKind
    factor: float = 1.0
    low: float | None = None
    high: float | None = None
    attention_factor: float | None = None
    extrapolation: float | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None
    long: tuple[float, ...] = ()
    short: tuple[float, ...] = ()


@dataclass(frozen=True)
class Rope:
    """Rotary positions. ``kind`` is how GGUF's rows pair up, which is the canonical layout.

    ``half``: element i turns with i + dimension/2. ``interleaved``: 2i with 2i + 1. Only the first
    ``dimension`` elements of a head turn. ``local_base`` is the base of layers with a window, where
    that differs. ``sections`` share out the pairs among time, height and width; for text alone all
    three are the same number.
    """

    kind: Literal["half", "interleaved"]
    base: float
    dimension: int
    scaling: RopeScaling | None = None
    original_context: int | None = None
    local_base: float | None = None
    sections: tuple[int, ...] = ()


@dataclass(frozen=True)
class Experts:
    """A mixture: softmax over all ``count``, the best ``used`` of them, weights summing to 1 or not."""

    count: int
    used: int
    width: int
    renormalize: bool = True
    shared_width: int = 0


@dataclass(frozen=True)
class DeltaRule:
    """Linear attention by the gated delta rule, in the layers that have no full attention.

    Values have more heads than keys. In GGUF value head i goes with key head i mod ``key_heads``.
    """

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv: int

    @property
    def key_width(self) -> int:
        return self.key_heads * self.key_dim

    @property
    def value_width(self) -> int:
        return self.value_heads * self.value_dim

    @property
    def qkv_width(self) -> int:
        return 2 * self.key_width + self.value_width


@dataclass(frozen=True)
class ModelConfig:
    """What must be known of a model to run it or to store it in another format.

    Floats are rounded to float32 and kept at their shortest decimal, so that a value is the same
    whether it came from JSON or from a GGUF.
    """

    family: str
    layers: int
    width: int
    ff_width: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int

    norm: Literal["rms", "layer"] = "rms"
    norm_eps: float = 1e-6
    norm_bias: bool = False
    norm_offset: bool = False  # Hugging Face keeps w where the product is with 1 + w; GGUF keeps 1 + w
    pre_norm: bool = True
    post_norm: bool = False  # norms of what attention and the feed-forward part give, before they are added
    parallel: bool = False  # attention and feed-forward read the same input and are added together
    shared_norm: bool = False  # parallel, and through the same norm

    rope: Rope | None = None
    rope_layers: tuple[bool, ...] = ()  # which layers turn; empty: all
    learned_positions: bool = False

    # "head": one weight vector for all heads; "heads": one each; "row": a norm over all heads at once
    qk_norm: Literal["head", "heads", "row"] | None = None
    qkv_bias: bool = False
    out_bias: bool = False
    ff_bias: bool = False
    head_bias: bool = False
    fused_qkv: bool = False
    fused_gate_up: bool = False
    gated_attention: bool = False  # the query projection gives [q | gate] per head; output times sigmoid

    window: int | None = None
    window_layers: tuple[bool, ...] = ()  # which layers see only the window; all False if there is none

    attention_scale: float | None = None  # of the scores; None: head_dim ** -0.5
    attention_softcap: float | None = None
    logit_softcap: float | None = None
    embedding_scale: float | None = None
    residual_scale: float | None = None
    logit_scale: float | None = None  # logits are multiplied by it
    logit_divisor: float | None = None  # logits are divided by it

    activation: Activation = "silu"
    gated: bool = True
    tied: bool = False

    experts: Experts | None = None
    delta: DeltaRule | None = None
    delta_layers: tuple[bool, ...] = ()
    full_interval: int | None = None

    bos: int | None = field(default=None, compare=False)
    eos: tuple[int, ...] = field(default=(), compare=False)

    @property
    def value_dim(self) -> int:
        return self.head_dim

    @property
    def q_width(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_dim

    def is_windowed(self, layer: int) -> bool:
        return bool(self.window) and self.window_layers[layer]

    def is_delta(self, layer: int) -> bool:
        return self.delta is not None and self.delta_layers[layer]

    def has_rope(self, layer: int) -> bool:
        return self.rope is not None and (not self.rope_layers or self.rope_layers[layer])
