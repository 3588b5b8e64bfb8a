"""Where two versions of a tensor differ most: block by block."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks import dtypes
from qformat.blocks.layout import rows_cols
from qformat.blocks.tiles import Tile
from qformat.errors import QFormatError
from qformat.files.checkpoint import Checkpoint
from qformat.views.derived import DerivedCheckpoint
from qformat.views.source import TensorSource, tensor_source

PLAIN_BLOCK = 32  # where neither side has blocks
_VALUES = 1 << 19  # read at a time


@dataclass(frozen=True)
class BlockDiff:
    """A block of ``size`` values: how far it lies off, and where it is."""

    rmse: float  # root of the mean squared error, in the values' own unit
    relative_rmse: float | None  # to the original's; None where that is all zero
    max: float
    index: int  # in row-major order
    row: int
    first: int  # column of its first element
    size: int

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "index": self.index,
            "row": self.row,
            "first_column": self.first,
            "size": self.size,
            "rmse": self.rmse,
            "relative_rmse": self.relative_rmse,
            "max_error": self.max,
        }


def worst_blocks(
    left: Checkpoint,
    right: Checkpoint,
    name: str,
    count: int = 10,
    *,
    check: Callable[[], None] | None = None,
) -> list[BlockDiff]:
    """The blocks of a tensor whose error is largest, worst first; blocks are the right one's.

    Where only the left one is quantized they are that one's; where none is, runs of 32. ``check`` is
    called now and then, and may raise to end the work.

    Raises
    ------
    QFormatError
        If the tensor is not in both with one shape, or has values that nobody can compute with.
    """
    one, two = left.tensors.get(name), right.tensors.get(name)
    if one is None or two is None:
        raise QFormatError(f"it is only on the {'right' if one is None else 'left'}", tensor=name)
    if one.shape != two.shape:
        raise QFormatError(f"its shapes are {list(one.shape)} and {list(two.shape)}", tensor=name)
    if not (dtypes.is_quantizable(one.dtype) and dtypes.is_quantizable(two.dtype)):
        raise QFormatError("values of its type cannot be computed with", tensor=name)
    size = next((i.scheme.block for i in (two, one) if i.scheme), PLAIN_BLOCK)
    found: list[BlockDiff] = []
    for values, error, row in _parts(tensor_source(left, one), tensor_source(right, two), check):
        found += _worst_of(values, error, row, size, count)
        found = heapq.nlargest(count, found, key=lambda b: (b.rmse, -b.index))
    return found


def stored_place(seen: Checkpoint, name: str, block: BlockDiff) -> tuple[str, int]:
    """Where a block lies in the file itself: the tensor's own name, and the block's index in that.

    ``seen`` is one of two checkpoints as `paired` gives them, ``name`` the tensor's there.
    """
    if not isinstance(seen, DerivedCheckpoint):
        return name, block.index
    own, row = seen.origin(name, block.row)
    across = -(-rows_cols(seen.tensors[name].shape)[1] // block.size)
    return own, row * across + block.index % across


def _parts(
    one: TensorSource, two: TensorSource, check: Callable[[], None] | None
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64], int]]:
    """Whole rows: original values, how far the others lie off, the first row's number."""
    if not one.rows * one.cols:
        return
    step = max(_VALUES // one.cols, 1)
    for row in range(0, one.rows, step):
        if check:
            check()
        tile = Tile(row, min(step, one.rows - row), 0, one.cols)
        v, d = (np.asarray(s.region(tile)).astype(np.float64) for s in (one, two))
        yield v, v - d, row


def _worst_of(
    values: NDArray[np.float64], error: NDArray[np.float64], first_row: int, size: int, most: int
) -> list[BlockDiff]:
    """The worst blocks of some rows."""
    starts = np.arange(0, values.shape[1], size)
    widths = np.minimum(size, values.shape[1] - starts)
    power = np.add.reduceat(error**2, starts, axis=1)
    mean = np.sqrt(power / widths).reshape(-1)
    norm = np.add.reduceat(values**2, starts, axis=1).reshape(-1)
    top = np.maximum.reduceat(np.abs(error), starts, axis=1).reshape(-1)
    chosen = np.argsort(-mean, kind="stable")[:most]
    return [
        BlockDiff(
            float(mean[i]),
            float(np.sqrt(power.reshape(-1)[i] / norm[i])) if norm[i] else None,
            float(top[i]),
            first_row * starts.size + int(i),
            first_row + int(i) // starts.size,
            int(starts[i % starts.size]),
            int(widths[i % starts.size]),
        )
        for i in chosen
    ]
