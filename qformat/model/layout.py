"""How the forward pass wants a layer's weights: which tensors make up one parameter, in which row order.

Projections that read the same input are one matrix, since one large product is faster than three small
ones. Rotary positions always turn element i of a head with i + dimension/2; where GGUF has the two side
by side, the rows of queries and keys are put in that order once, when they are read::

    pairs   a0 b0 a1 b1 a2 b2 ..
    halves  a0 a1 a2 .. b0 b1 b2 ..
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qformat.families import ModelConfig

Order = NDArray[np.int64]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Piece:
    """A tensor that gives some rows of a parameter.

    ``order`` has for each of these rows its number in the tensor; of an ``exact`` parameter it counts
    elements, not rows.
    """

    tensor: str
    order: Order | None = None


@dataclass(frozen=True)
class Parameter:
    """One array of a layer: the rows of its pieces, one after the other.

    ``exact`` ones stay float32 whatever the matrices are computed in: vectors, routers and the like.
    """

    name: str
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]
    exact: bool


SMALL = ("ffn_gate_inp", "ssm_conv1d", "ssm_alpha", "ssm_beta")


def parameters(config: ModelConfig, shapes: Shapes, layer: int) -> Iterator[Parameter]:
    """The parameters of a layer, from the shapes of the checkpoint's tensors under canonical names."""
    start = f"blk.{layer}."
    names = {name.removeprefix(start): name for name in shapes if name.startswith(start)}
    groups: dict[str, list[Piece]] = {}
    for part, name in names.items():
        piece = Piece(name, _order(config, part))
        groups.setdefault(_parameter(config, part), []).append(piece)
    for name, pieces in groups.items():
        pieces.sort(key=lambda piece: _rank(piece.tensor))
        taken = [shapes[piece.tensor] for piece in pieces]
        shape = (sum(s[0] for s in taken), *taken[0][1:])
        yield Parameter(name, shape, tuple(pieces), exact=_is_exact(name, shape))


def _is_exact(name: str, shape: tuple[int, ...]) -> bool:
    return len(shape) == 1 or name.startswith(SMALL) or name.split(".", maxsplit=1)[0].endswith("_norm")


def _parameter(config: ModelConfig, part: str) -> str:
    """The name of the parameter that a tensor of a layer belongs to."""
    stem, end = part.split(".", 1) if "." in part else (part, "")
    if stem in ("attn_q", "attn_k", "attn_v"):
        return f"attn_qkv.{end}"
    if stem in ("ffn_gate", "ffn_up") and config.gated:
        return f"ffn_gate_up.{end}"
    if stem == "post_attention_norm" and not config.post_norm:
        return f"ffn_norm.{end}"  # called by where it stands
    return part


def _rank(name: str) -> int:
    stem = name.split(".")[2]
    return ("attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up", stem).index(stem)


def _order(config: ModelConfig, part: str) -> Order | None:
    stem = part.split(".", 1)[0]
    heads = {"attn_q": config.heads, "attn_k": config.kv_heads}.get(stem.removesuffix("_norm"))
    if heads is None:
        return None
    if config.gated_attention and stem == "attn_q":
        return _gates_last(heads, config.head_dim)
    if config.rope is None or config.rope.kind != "interleaved":
        return None
    one_for_all = stem.endswith("_norm") and config.qk_norm == "head"
    return halves(1 if one_for_all else heads, config.head_dim, config.rope.dimension)


def halves(heads: int, head_dim: int, turned: int) -> Order:
    """For each row of all heads in halves, its number in pairs; rows from ``turned`` on stay."""
    rows = np.arange(heads * head_dim).reshape(heads, head_dim)
    pairs = rows[:, :turned].reshape(heads, turned // 2, 2).swapaxes(1, 2).reshape(heads, turned)
    return np.concatenate([pairs, rows[:, turned:]], axis=1).reshape(-1)


def _gates_last(heads: int, head_dim: int) -> Order:
    """Rows that come as query and gate head by head, as all queries and then all gates."""
    return np.arange(heads * 2 * head_dim).reshape(heads, 2, head_dim).swapaxes(0, 1).reshape(-1)
