"""The mixtures of llama-quantize: which tensor gets which type, with an importance matrix and without.

The choices are llama.cpp's (``src/llama-quant.cpp``), for dense models and for mixtures of
experts: more bits for attention's values and the feed-forward's way back, which suffer most, in
some of the layers; six bits for the output head, which the token embedding also is if the model
has no other.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from qformat.schemes.mixture import Mixture, ModelFacts

# Matrices that stay as they are: small, and every token passes through them.
_KEPT = (
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "attn_rel_b.weight",
    "time_mix_",
    ".position_embd",
)
_KEPT_WHOLE = ("position_embd.weight", "token_types.weight")


@dataclass(frozen=True)
class _Place:
    """Which of how many layers a tensor is in, and the model around it."""

    layer: int
    layers: int
    facts: ModelFacts

    @property
    def more_bits(self) -> bool:
        """The first and last eighth of the layers, and every third between."""
        eighth = self.layers // 8
        return self.layer < eighth or self.layer >= 7 * self.layers // 8 or (self.layer - eighth) % 3 == 2

    def first(self, share: int) -> bool:
        return self.layer < self.layers // share


_Choice = Callable[[_Place], "str | None"]


def _always(kind: str) -> _Choice:
    return lambda _place: kind


def _more(kind: str) -> _Choice:
    return lambda place: kind if place.more_bits else None


def _first(share: int, kind: str, rest: str | None = None) -> _Choice:
    return lambda place: kind if place.first(share) else rest


def _layers_below(count: int, kind: str, rest: str | None = None) -> _Choice:
    return lambda place: kind if place.layer < count else rest


def _shared(kind: str, rest: str | None = None) -> _Choice:
    """Where four or more query heads share a value head, the matrix is small and worth its bits."""
    return lambda place: kind if place.facts.heads_per_kv >= 4 else rest


def _with_importance(choice: _Choice) -> _Choice:
    return lambda place: choice(place) if place.facts.importance else None


def _without_importance(choice: _Choice) -> _Choice:
    return lambda place: None if place.facts.importance else choice(place)


def _none(_place: _Place) -> str | None:
    return None


@dataclass(frozen=True)
class _Rules:
    """A mixture: the type of most tensors, and what differs."""

    file_type: int
    base: str
    attn_v: _Choice = _none
    ffn_down: _Choice = _none
    attn_output: _Choice = _none
    embedding: str | None = None


_MIXTURES: dict[str, _Rules] = {
    "q4_0": _Rules(2, "q4_0", ffn_down=_with_importance(_first(8, "q4_1"))),
    "q4_1": _Rules(3, "q4_1"),
    "q8_0": _Rules(7, "q8_0"),
    "q5_0": _Rules(8, "q5_0", ffn_down=_with_importance(_first(8, "q5_1"))),
    "q5_1": _Rules(9, "q5_1"),
    "q2_k": _Rules(10, "q2_k", _shared("q4_k", "q3_k"), _always("q3_k"), _always("q3_k")),
    "q3_k_s": _Rules(11, "q3_k"),
    "q3_k_m": _Rules(
        12, "q3_k", _layers_below(2, "q5_k", "q4_k"), _first(16, "q5_k", "q4_k"), _always("q4_k")
    ),
    "q3_k_l": _Rules(13, "q3_k", _always("q5_k"), _always("q5_k"), _always("q5_k")),
    "q4_k_s": _Rules(14, "q4_k", _layers_below(4, "q5_k"), _first(8, "q5_k")),
    "q4_k_m": _Rules(15, "q4_k", _more("q6_k"), _more("q6_k")),
    "q5_k_s": _Rules(16, "q5_k"),
    "q5_k_m": _Rules(17, "q5_k", _more("q6_k"), _more("q6_k")),
    "q6_k": _Rules(18, "q6_k"),
    "q2_k_s": _Rules(21, "q2_k", _shared("q4_k"), _first(8, "q4_k")),
    "iq4_nl": _Rules(25, "iq4_nl", _shared("q5_k"), _without_importance(_first(8, "q5_k"))),
    "iq4_xs": _Rules(30, "iq4_xs", _shared("q5_k"), _without_importance(_first(8, "q5_k"))),
    "tq1_0": _Rules(36, "tq1_0", embedding="q4_k"),
    "tq2_0": _Rules(37, "tq2_0", embedding="q4_k"),
}
_PLAIN = {"f32": 0, "f16": 1, "bf16": 32}
_EIGHT_EXPERTS_OUTPUT = ("q2_k", "q3_k_s", "q3_k_m", "iq4_nl", "q4_k_s", "q4_k_m", "iq4_xs")

# What a row gets that a type's block does not divide; F16 if it is not even a multiple of 32.
FALLBACK = {
    "iq4_xs": "iq4_nl",
    "q2_k": "q4_0",
    "q3_k": "q4_0",
    "tq1_0": "q4_0",
    "tq2_0": "q4_0",
    "q4_k": "q5_0",
    "q5_k": "q5_1",
    "q6_k": "q8_0",
}


def quantized(name: str, shape: tuple[int, ...]) -> bool:
    """Whether llama-quantize changes a tensor of this name at all."""
    return (
        len(shape) >= 2
        and name.endswith("weight")
        and name not in _KEPT_WHOLE
        and not any(part in name for part in _KEPT)
    )


def _layer(name: str) -> int:
    match = re.match(r"blk\.(\d+)\.", name)
    return int(match[1]) if match else -1


def _choose(id_: str, tensors: Mapping[str, tuple[int, ...]], facts: ModelFacts) -> dict[str, str]:
    rules = _MIXTURES[id_]
    names = sorted(tensors, key=lambda n: (_layer(n), n))
    values = [n for n in names if _is_value(n)]
    chosen = {}
    for name, shape in tensors.items():
        if not quantized(name, shape):
            chosen[name] = "keep"
            continue
        chosen[name] = _one(id_, rules, name, shape, "output.weight" not in tensors, facts, values)
    return chosen


def _is_value(name: str) -> bool:
    return any(part in name for part in ("attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight"))


def _one(
    id_: str,
    rules: _Rules,
    name: str,
    shape: tuple[int, ...],
    tied: bool,
    facts: ModelFacts,
    values: list[str],
) -> str:
    embedding = name == "token_embd.weight"
    if name == "output.weight" or (tied and embedding):
        if rules.base == "q8_0" or shape[-1] % _BLOCK.get(rules.base, 256):
            return "q8_0"
        return "q6_k"
    if embedding:
        return rules.embedding or rules.base
    if _is_value(name):
        return _value(rules, _Place(values.index(name), len(values), facts))
    place = _Place(_layer(name), facts.layers, facts)
    if "attn_k.weight" in name and facts.experts == 8:
        return "q8_0"
    if "attn_output.weight" in name:
        if facts.experts == 8:
            return "q5_k" if id_ in _EIGHT_EXPERTS_OUTPUT else rules.base
        return rules.attn_output(place) or rules.base
    if "ffn_down" in name:
        return rules.ffn_down(place) or rules.base
    return rules.base


def _value(rules: _Rules, place: _Place) -> str:
    kind = rules.attn_v(place) or rules.base
    if place.facts.layers == 80 and place.facts.heads_per_kv > 1 and kind in ("q3_k", "q4_k"):
        kind = "q5_k"
    return "q8_0" if place.facts.experts == 8 else kind


_BLOCK = dict.fromkeys(("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "iq4_nl"), 32)


def _cast(id_: str, tensors: Mapping[str, tuple[int, ...]], _facts: ModelFacts) -> dict[str, str]:
    return {name: id_ if quantized(name, shape) else "keep" for name, shape in tensors.items()}


def mixtures() -> Iterable[Mixture]:
    """All mixtures whose types can be encoded."""
    for id_, file_type in _PLAIN.items():
        yield Mixture(id_, f"all matrices {id_}", file_type, functools.partial(_cast, id_))
    for id_, rules in _MIXTURES.items():
        summary = f"mostly {rules.base}, as llama-quantize chooses"
        yield Mixture(id_, summary, rules.file_type, functools.partial(_choose, id_))
