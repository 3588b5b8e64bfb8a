"""How a tensor of one format is made from those of another: a few exactly named operations.

Rows are what block quantization works on: all axes but the last, flattened; a vector's rows are its
elements. An operation with ``rows_only`` moves whole rows and changes no value, so that rows of
quantized blocks can be moved as they are. Sources are taken together: their rows are numbered one
source after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.families.checks import FamilyError

Shape = tuple[int, ...]
Array = NDArray[Any]


def rows_of(shape: Shape) -> int:
    """The number of rows of a tensor of this shape."""
    rows = 1
    for n in shape[:-1] if len(shape) > 1 else shape:
        rows *= n
    return rows


def _as_rows(array: Array) -> Array:
    return array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array.reshape(-1, 1)


class Op:
    """One named way to make a tensor. ``exact`` says whether undoing it gives the very same bits."""

    rows_only = False
    exact = True

    def row_map(self, shapes: Sequence[Shape]) -> NDArray[np.int64]:
        """For each row of the result, the number of the source row; only where ``rows_only``."""
        raise NotImplementedError(f"{type(self).__name__} does not move whole rows")

    def apply(self, sources: Sequence[Array], shape: Shape) -> Array:
        """The result, of the shape given, from plain arrays."""
        raise NotImplementedError


class RowOp(Op):
    rows_only = True

    def apply(self, sources: Sequence[Array], shape: Shape) -> Array:
        rows = [_as_rows(a) for a in sources]
        joined = rows[0] if len(rows) == 1 else np.concatenate(rows)
        return joined[self.row_map([a.shape for a in sources])].reshape(shape)


def _every_row(shapes: Sequence[Shape]) -> NDArray[np.int64]:
    return np.arange(sum(rows_of(s) for s in shapes), dtype=np.int64)


@dataclass(frozen=True)
class Copy(RowOp):
    """The tensor as it is; a new shape that keeps the rows is allowed (a convolution's middle axis)."""

    def row_map(self, shapes: Sequence[Shape]) -> NDArray[np.int64]:
        return _every_row(shapes)

    def apply(self, sources: Sequence[Array], shape: Shape) -> Array:
        return sources[0].reshape(shape)


@dataclass(frozen=True)
class Stack(RowOp):
    """The sources one after the other along a new first axis: experts, norms per head.

    Here a vector is one row, since it becomes one.
    """

    def row_map(self, shapes: Sequence[Shape]) -> NDArray[np.int64]:
        return np.arange(sum(rows_of((1, *s)) for s in shapes), dtype=np.int64)

    def apply(self, sources: Sequence[Array], shape: Shape) -> Array:
        return np.stack(sources)


@dataclass(frozen=True)
class SliceRows(RowOp):
    """Rows ``start`` up to ``stop``: one expert of a stack, the embeddings of the tokens there are."""

    start: int
    stop: int

    def row_map(self, shapes: Sequence[Shape]) -> NDArray[np.int64]:
        return np.arange(self.start, self.stop, dtype=np.int64)


@dataclass(frozen=True)
class SwapHalves(RowOp):
    """Within each head, rows go from halves to pairs, or with ``back`` from pairs to halves.

    Hugging Face turns row i of a head together with row i + d/2; GGUF's ``llama`` turns neighbours::

        halves  a0 a1 a2 .. b0 b1 b2 ..
        pairs   a0 b0 a1 b1 a2 b2 ..
    """

    heads: int
    back: bool = False

    def row_map(self, shapes: Sequence[Shape]) -> NDArray[np.int64]:
        rows = _every_row(shapes)
        grid = (self.heads, -1, 2) if self.back else (self.heads, 2, rows.size // self.heads // 2)
        return rows.reshape(grid).swapaxes(1, 2).reshape(-1)


@dataclass(frozen=True)
class SwapGroups(RowOp):
    """Rows from ``start`` on, as ``outer`` groups of ``inner`` runs of ``run`` rows, become inner of outer.

    This is how value heads go from standing by their key head (Hugging Face) to being dealt out in
    turn (GGUF), and how a projection with q, k and v per head becomes all q, all k, all v.
    """

    outer: int
    inner: int
    run: int
    start: int = 0

    def row_map(self, shapes: Sequence[Shape]) -> NDArray[np.int64]:
        rows = _every_row(shapes)
        tail = rows[self.start :].reshape(self.outer, self.inner, self.run).swapaxes(0, 1).reshape(-1)
        return np.concatenate([rows[: self.start], tail])


@dataclass(frozen=True)
class SwapColumnGroups(Op):
    """Like SwapGroups, along the last axis: the columns of a projection that reads value heads.

    Columns move in runs of ``run``, so where a block divides a run, blocks can be moved as they are.
    """

    outer: int
    inner: int
    run: int

    def column_map(self) -> NDArray[np.int64]:
        """For each column of the result, the number of the source column."""
        columns = np.arange(self.outer * self.inner * self.run, dtype=np.int64)
        return columns.reshape(self.outer, self.inner, self.run).swapaxes(0, 1).reshape(-1)

    def apply(self, sources: Sequence[Array], shape: Shape) -> Array:
        moved: Array = np.ascontiguousarray(sources[0][..., self.column_map()])
        return moved


@dataclass(frozen=True)
class Transpose(Op):
    """Rows become columns: GPT-2 keeps its projections as [in, out]."""

    def apply(self, sources: Sequence[Array], shape: Shape) -> Array:
        return np.ascontiguousarray(sources[0].T)


def _float(array: Array) -> NDArray[np.float32]:
    return array.astype(np.float32)


@dataclass(frozen=True)
class AddOne(Op):
    """w + 1 in float32.

    A bfloat16 weight comes back exactly by way of SubtractOne and rounding to bfloat16 down to a
    magnitude of 2**-16; below that, float32's 24 bits around 1 drop bits that no product with 1 + w shows.
    """

    exact = False

    def apply(self, sources: Sequence[Array], shape: Shape) -> Array:
        return _float(sources[0]) + np.float32(1)


@dataclass(frozen=True)
class SubtractOne(Op):
    """w - 1 in float32, which undoes AddOne."""

    exact = False

    def apply(self, sources: Sequence[Array], shape: Shape) -> Array:
        return _float(sources[0]) - np.float32(1)


@dataclass(frozen=True)
class NegExp(Op):
    """-exp(x) of the rows in another order: the decay rate of linear attention, from its logarithm.

    Computed in double and rounded once, so that it is the same on every machine.
    """

    order: RowOp
    exact = False

    def apply(self, sources: Sequence[Array], shape: Shape) -> Array:
        moved = self.order.apply(sources, shape)
        result: Array = (-np.exp(moved.astype(np.float64))).astype(np.float32)
        return result


@dataclass(frozen=True)
class LogNeg(Op):
    """log(-x) of the rows in another order, which undoes NegExp up to float32's rounding."""

    order: RowOp
    exact = False

    def apply(self, sources: Sequence[Array], shape: Shape) -> Array:
        moved = self.order.apply(sources, shape).astype(np.float64)
        if not (moved < 0).all():
            raise FamilyError("a decay rate of linear attention is not negative")
        result: Array = np.log(-moved).astype(np.float32)
        return result


@dataclass(frozen=True)
class Constant(Op):
    """Values that follow from the config alone."""

    values: tuple[float, ...]

    def apply(self, sources: Sequence[Array], shape: Shape) -> Array:
        return np.array(self.values, np.float32).reshape(shape)


@dataclass(frozen=True)
class Drop(Op):
    """The source has no place in the other format; ``why`` says the reason."""

    why: str


@dataclass(frozen=True)
class Derived:
    """One tensor of the target: its name and shape, what it is made from, and how.

    A Derived with ``Drop`` stands for a source tensor that is left out, and carries its name.
    ``keep_f32`` marks tensors that GGUF readers take in float32 only.
    """

    name: str
    shape: Shape
    sources: tuple[str, ...]
    op: Op
    keep_f32: bool = False

    @property
    def dropped(self) -> bool:
        return isinstance(self.op, Drop)

    def apply(self, arrays: Sequence[Array]) -> Array:
        return self.op.apply(arrays, self.shape)
