"""Pairing the tensors of the two formats: each link says what makes what, in both directions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qformat.families import ops
from qformat.families.ops import Op, Shape
from qformat.families.rope import llama3_factors

if TYPE_CHECKING:
    from qformat.families.config import ModelConfig
    from qformat.families.family import Family


@dataclass(frozen=True)
class Side:
    """One tensor of a link and the operation that makes it from all tensors of the other side."""

    name: str
    shape: Shape
    op: Op


@dataclass(frozen=True)
class Link:
    """Tensors of Hugging Face and of GGUF that hold the same numbers.

    With no ``hf`` the GGUF tensor follows from the config.
    """

    hf: tuple[Side, ...]
    gguf: tuple[Side, ...]


def one(hf: str, gguf: str, shape: Shape, there: Op | None = None, back: Op | None = None) -> Link:
    """One tensor for one, of the same shape."""
    return reshaped(hf, shape, gguf, shape, there, back)


def reshaped(
    hf: str, hf_shape: Shape, gguf: str, gguf_shape: Shape, there: Op | None = None, back: Op | None = None
) -> Link:
    """One tensor for one, of two shapes."""
    return Link(
        (Side(hf, hf_shape, back or ops.Copy()),),
        (Side(gguf, gguf_shape, there or ops.Copy()),),
    )


def stacked(hf: list[str], part: Shape, gguf: str) -> Link:
    """Many tensors of the same shape for one with an axis more in front."""
    rows = ops.rows_of((1, *part))  # a vector becomes one row
    sides = tuple(Side(name, part, ops.SliceRows(k * rows, (k + 1) * rows)) for k, name in enumerate(hf))
    return Link(sides, (Side(gguf, (len(hf), *part), ops.Stack()),))


def decoder(family: Family, model: ModelConfig) -> Iterator[Link]:
    """All links of a model, in the order in which a forward pass meets the tensors."""
    names, width = family.names, model.width
    yield one(f"{names['token_embd']}.weight", "token_embd.weight", (model.vocabulary, width))
    if model.learned_positions:
        yield one(f"{names['position_embd']}.weight", "position_embd.weight", (model.context, width))
    yield from _rope_factors(model)
    for i in range(model.layers):
        own = family.layer_links(model, i) if family.layer_links else None
        yield from _norms(family, model, i)
        yield from _attention(family, model, i) if own is None else own
        yield from _experts(family, model, i) if model.experts else _feed_forward(family, model, i)
    yield from _norm(model, names["output_norm"], "output_norm")
    if not model.tied:
        yield one(f"{names['output']}.weight", "output.weight", (model.vocabulary, width))
    if model.head_bias:
        yield one(f"{names['output']}.bias", "output.bias", (model.vocabulary,))


def _rope_factors(model: ModelConfig) -> Iterable[Link]:
    scaling = model.rope.scaling if model.rope else None
    if model.rope is None or scaling is None:
        return
    tables = {}
    if scaling.kind == "llama3":
        tables = {"rope_freqs.weight": llama3_factors(model.rope)}
    elif scaling.kind == "longrope":
        tables = {"rope_factors_long.weight": scaling.long, "rope_factors_short.weight": scaling.short}
    for name, values in tables.items():
        yield Link((), (Side(name, (model.rope.dimension // 2,), ops.Constant(values)),))


def _norm(model: ModelConfig, hf: str, gguf: str, shape: Shape | None = None) -> Iterable[Link]:
    shape = shape or (model.width,)
    add, subtract = (ops.AddOne(), ops.SubtractOne()) if model.norm_offset else (None, None)
    yield one(f"{hf}.weight", f"{gguf}.weight", shape, add, subtract)
    if model.norm_bias:
        yield one(f"{hf}.bias", f"{gguf}.bias", shape)


NORMS = ("attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm")


def _norms(family: Family, model: ModelConfig, i: int) -> Iterable[Link]:
    for part in NORMS:
        if part in family.names and not (part == "ffn_norm" and model.shared_norm):
            yield from _norm(model, family.names[part].format(i=i), f"blk.{i}.{part}")


def _linear(
    family: Family,
    i: int,
    part: str,
    shape: Shape,
    *,
    bias: bool,
    there: Op | None = None,
    back: Op | None = None,
) -> Iterable[Link]:
    hf, gguf = family.names[part].format(i=i), f"blk.{i}.{part}"
    if family.transposes:
        yield reshaped(f"{hf}.weight", shape[::-1], f"{gguf}.weight", shape, ops.Transpose(), ops.Transpose())
    else:
        yield one(f"{hf}.weight", f"{gguf}.weight", shape, there, back)
    if bias:
        yield one(f"{hf}.bias", f"{gguf}.bias", shape[:1], there, back)


def _attention(family: Family, model: ModelConfig, i: int) -> Iterable[Link]:
    width, q, kv = model.width, model.q_width, model.kv_width
    if model.fused_qkv:
        swaps = _fused_order(family, model)
        yield from _linear(
            family, i, "attn_qkv", (q + 2 * kv, width), bias=model.qkv_bias, there=swaps[0], back=swaps[1]
        )
    else:
        gate = 2 if model.gated_attention else 1
        for part, rows, heads in (("attn_q", q * gate, model.heads), ("attn_k", kv, model.kv_heads)):
            there = ops.SwapHalves(heads) if family.permutes else None
            back = ops.SwapHalves(heads, back=True) if family.permutes else None
            yield from _linear(family, i, part, (rows, width), bias=model.qkv_bias, there=there, back=back)
        yield from _linear(family, i, "attn_v", (kv, width), bias=model.qkv_bias)
    yield from _linear(family, i, "attn_output", (width, q), bias=model.out_bias)
    yield from _qk_norms(family, model, i)


def _fused_order(family: Family, model: ModelConfig) -> tuple[Op | None, Op | None]:
    """GPT-NeoX fuses q, k and v head by head; everyone else, and GGUF, one after the other."""
    if not family.fuses_by_head:
        return None, None
    heads, dim = model.heads, model.head_dim
    return ops.SwapGroups(heads, 3, dim), ops.SwapGroups(3, heads, dim)


def _qk_norms(family: Family, model: ModelConfig, i: int) -> Iterable[Link]:
    if model.qk_norm is None:
        return
    for part, heads in (("attn_q_norm", model.heads), ("attn_k_norm", model.kv_heads)):
        name, gguf = family.names[part], f"blk.{i}.{part}"
        if "{e}" in name:
            parts = [f"{name.format(i=i, e=e)}.weight" for e in range(heads)]
            yield stacked(parts, (model.head_dim,), f"{gguf}.weight")
            continue
        shape = {
            "head": (model.head_dim,),
            "heads": (heads, model.head_dim),
            "row": (heads * model.head_dim,),
        }[model.qk_norm]
        offset = (ops.AddOne(), ops.SubtractOne()) if model.norm_offset else (None, None)
        yield one(f"{name.format(i=i)}.weight", f"{gguf}.weight", shape, *offset)


def _feed_forward(family: Family, model: ModelConfig, i: int) -> Iterable[Link]:
    width, inner, bias = model.width, model.ff_width, model.ff_bias
    if model.gated and not model.fused_gate_up:
        yield from _linear(family, i, "ffn_gate", (inner, width), bias=bias)
    rows = 2 * inner if model.fused_gate_up else inner
    yield from _linear(family, i, "ffn_up", (rows, width), bias=bias)
    yield from _linear(family, i, "ffn_down", (width, inner), bias=bias)


def _experts(family: Family, model: ModelConfig, i: int) -> Iterable[Link]:
    experts = model.experts
    assert experts is not None
    width, inner = model.width, experts.width
    yield from _linear(family, i, "ffn_gate_inp", (experts.count, width), bias=False)
    for part, shape in (
        ("ffn_gate_exps", (inner, width)),
        ("ffn_up_exps", (inner, width)),
        ("ffn_down_exps", (width, inner)),
    ):
        name = family.names[part]
        hf = [f"{name.format(i=i, e=e)}.weight" for e in range(experts.count)]
        yield stacked(hf, shape, f"blk.{i}.{part}.weight")
