"""Rotary positions in config.json, in the form of today (`rope_parameters`) and in the older ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qformat.families.checks import FamilyError, positive, real, reals, sequence, shown, whole
from qformat.families.config import ModelConfig, Rope, RopeScaling

if TYPE_CHECKING:
    from qformat.families.family import Family

PLAIN = ("default", "none", None)
FULL, LOCAL = "full_attention", "sliding_attention"


def read(config: Mapping[str, Any], family: Family, head_dim: int, context: int) -> Rope | None:
    """The rotary positions that a config.json describes."""
    if family.rope is None:
        return None
    given = _parameters(config)
    wide = given.get(FULL, given)
    if not isinstance(wide, Mapping):
        raise FamilyError(f"rope_parameters.{FULL} is {shown(wide)}; expected an object")
    base = real(wide.get("rope_theta", _base(config, family)), "rope_theta")
    part = _part(config, wide, family)
    original = wide.get("original_max_position_embeddings", config.get("original_max_position_embeddings"))
    original = None if original is None else positive(original, "original_max_position_embeddings")
    scaling = _scaling(wide, context, original)
    local = _local_base(config, given, family)
    sections = tuple(
        whole(n, "an item of mrope_section")
        for n in sequence(wide.get("mrope_section") or (), "mrope_section")
    )
    return Rope(
        family.rope,
        base,
        int(part * head_dim),
        scaling,
        original if scaling is not None or family.keeps_original_context else None,
        None if local == base else local,
        (*sections, *(0,) * (4 - len(sections))) if sections else family.rope_sections,
    )


def _parameters(config: Mapping[str, Any]) -> Mapping[str, Any]:
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(given, Mapping):
        raise FamilyError(f"rope_parameters is {shown(given)}; expected an object")
    return given


def _base(config: Mapping[str, Any], family: Family) -> Any:
    for key in ("rope_theta", "rotary_emb_base"):
        if config.get(key) is not None:
            return config[key]
    return family.rope_base


def _part(config: Mapping[str, Any], wide: Mapping[str, Any], family: Family) -> float:
    for source in (wide, config):
        for key in ("partial_rotary_factor", "rotary_pct", "rope_pct"):
            if source.get(key) is not None:
                part = real(source[key], key)
                if not 0 < part <= 1:
                    raise FamilyError(f"{key} is {part}; expected a part of 1")
                return part
    return family.rope_part


def _local_base(config: Mapping[str, Any], given: Mapping[str, Any], family: Family) -> float | None:
    local = given.get(LOCAL) or {}
    value = local.get("rope_theta", config.get("rope_local_base_freq", family.rope_local_base))
    return None if value is None else real(value, "the rope_theta of layers with a window")


def _scaling(wide: Mapping[str, Any], context: int, original: int | None) -> RopeScaling | None:
    kind = wide.get("rope_type", wide.get("type"))
    if kind in PLAIN:
        return None
    number = {key: real(wide[key], key) for key in _NUMBERS if wide.get(key) is not None}
    attention = number.get("attention_factor", number.get("attn_factor"))
    if kind == "linear":
        return RopeScaling("linear", _factor(number, kind))
    if kind == "llama3":
        _need(original, kind)
        low, high = number.get("low_freq_factor", 1.0), number.get("high_freq_factor", 4.0)
        return RopeScaling("llama3", _factor(number, kind), low=low, high=high)
    if kind == "yarn":
        _need(original, kind)
        return RopeScaling(
            "yarn",
            _factor(number, kind),
            attention_factor=attention,
            extrapolation=number.get("extrapolation_factor"),
            beta_fast=number.get("beta_fast"),
            beta_slow=number.get("beta_slow"),
        )
    if kind in ("longrope", "su"):
        long = reals(wide.get("long_factor"), "long_factor")
        short = reals(wide.get("short_factor"), "short_factor")
        old = _need(original, kind)
        factor = real(context / old, "the factor of the context")
        return RopeScaling(
            "longrope",
            factor,
            attention_factor=attention or long_attention(factor, old),
            long=long,
            short=short,
        )
    known = "linear, llama3, yarn, longrope"
    raise FamilyError(
        f"rotary positions scaled by the rule {shown(kind)} are not known", hint=f"known are {known}"
    )


_NUMBERS = (
    "factor", "low_freq_factor", "high_freq_factor", "attention_factor", "attn_factor",
    "extrapolation_factor", "beta_fast", "beta_slow",
)  # fmt: skip


def _factor(number: Mapping[str, float], kind: str) -> float:
    factor = number.get("factor")
    if factor is None or factor <= 0:
        raise FamilyError(f"rotary positions scaled by the rule {kind!r} need a factor above 0, not {factor}")
    return factor


def _need(original: int | None, kind: str) -> int:
    if original is None:
        what = f"rotary positions scaled by the rule {kind!r} need original_max_position_embeddings"
        raise FamilyError(what)
    return original


def long_attention(factor: float, original: int) -> float:
    """What longrope multiplies cosine and sine by, unless the config says otherwise."""
    if factor <= 1:
        return 1.0
    return real(math.sqrt(1 + math.log(factor) / math.log(original)), "the attention factor")


def write(model: ModelConfig, family: Family) -> dict[str, Any]:
    """The keys of config.json that describe the rotary positions, for readers of today and before."""
    rope = model.rope
    if rope is None:
        return {}
    wide: dict[str, Any] = {"rope_type": "default", "rope_theta": rope.base}
    if rope.dimension != model.head_dim or family.rope_part != 1:
        wide["partial_rotary_factor"] = _part_of(rope.dimension, model.head_dim)
    if rope.scaling is not None:
        wide |= _written_scaling(rope.scaling, rope.original_context)
    if any(rope.sections) and rope.sections != family.rope_sections:
        wide["mrope_section"] = list(rope.sections[:3])
    if family.rope_local_base is None and rope.local_base is None:
        keys = {"rope_parameters": wide}
    else:
        local = {"rope_type": "default", "rope_theta": rope.local_base or rope.base}
        keys = {"rope_parameters": {FULL: wide, LOCAL: local}}
    if rope.original_context is not None and family.keeps_original_context:
        keys["original_max_position_embeddings"] = rope.original_context  # type: ignore[assignment]
    return keys


def _part_of(dimension: int, head_dim: int) -> float:
    """The shortest decimal whose product with the head gives the dimension."""
    for digits in range(1, 18):
        part = round(dimension / head_dim, digits)
        if int(part * head_dim) == dimension:
            return part
    return (dimension + 0.5) / head_dim


def _written_scaling(scaling: RopeScaling, original: int | None) -> dict[str, Any]:
    keys: dict[str, Any] = {"rope_type": scaling.kind}
    if scaling.kind != "longrope":
        keys["factor"] = scaling.factor
    if original is not None:
        keys["original_max_position_embeddings"] = original
    attention = scaling.attention_factor
    if scaling.kind == "longrope" and original and attention == long_attention(scaling.factor, original):
        attention = None
    optional = {
        "low_freq_factor": scaling.low,
        "high_freq_factor": scaling.high,
        "attention_factor": attention,
        "extrapolation_factor": scaling.extrapolation,
        "beta_fast": scaling.beta_fast,
        "beta_slow": scaling.beta_slow,
        "long_factor": list(scaling.long) or None,
        "short_factor": list(scaling.short) or None,
    }
    return keys | {key: value for key, value in optional.items() if value is not None}


def llama3_factors(rope: Rope) -> tuple[float, ...]:
    """What llama3's rule divides each frequency by: 1 for short waves, ``factor`` for long ones."""
    scaling, original = rope.scaling, rope.original_context
    assert scaling is not None
    assert original is not None
    low, high = scaling.low or 1.0, scaling.high or 4.0
    exponents = np.arange(0, rope.dimension, 2, dtype=np.float32) / np.float32(rope.dimension)
    frequencies = (1.0 / np.float32(rope.base) ** exponents).astype(np.float32)
    factors = []
    for frequency in frequencies:
        wave = 2 * math.pi / float(frequency)
        if wave < original / high:
            factors.append(1.0)
        elif wave > original / low:
            factors.append(scaling.factor)
        else:
            smooth = (original / wave - low) / (high - low)
            factors.append(1 / ((1 - smooth) / scaling.factor + smooth))
    return tuple(factors)


CLOSE = 1e-5  # float32 factors that went through other arithmetic agree to this


def llama3_from_factors(rope: Rope, factors: np.ndarray[Any, Any]) -> Rope:
    """The llama3 rule that gives these factors, found by trying the contexts and bounds in use.

    A rule with all its numbers multiplied is the same rule, so ``low`` is taken as 1.

    Raises
    ------
    FamilyError
        If no rule gives them.
    """
    if factors.shape != (rope.dimension // 2,):
        raise FamilyError(
            f"rope_freqs.weight has shape {list(factors.shape)}; expected [{rope.dimension // 2}]"
        )
    factor = real(factors.max(), "an item of rope_freqs.weight")
    for high in (4.0, 2.0, 8.0, 16.0, 32.0):
        for power in (13, *range(4, 22)):
            tried = Rope(
                rope.kind,
                rope.base,
                rope.dimension,
                RopeScaling("llama3", factor, low=1.0, high=high),
                1 << power,
                rope.local_base,
                rope.sections,
            )
            if np.allclose(llama3_factors(tried), factors, rtol=CLOSE, atol=0):
                return tried
    raise FamilyError(
        "the frequency factors in rope_freqs.weight follow no llama3 rule that is known",
        tensor="rope_freqs.weight",
    )
