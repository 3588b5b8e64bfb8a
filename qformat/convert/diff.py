"""Two checkpoints tensor by tensor: what is missing, and how far the values lie apart."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks import dtypes
from qformat.blocks.sums import Sums, measure
from qformat.blocks.tiles import Tile
from qformat.convert.figures import Figures
from qformat.convert.hashing import byte_view
from qformat.files.checkpoint import Checkpoint, TensorInfo
from qformat.files.opening import Source, opened
from qformat.views.aligned import counterpart
from qformat.views.source import TensorSource, regions, tensor_source

SCHEMA = 1


@dataclass(frozen=True)
class TensorDiff:
    """One tensor in both, or in one only."""

    name: str
    left: TensorInfo | None
    right: TensorInfo | None
    figures: Figures | None = None
    same_bits: bool = False
    note: str = ""

    @property
    def differs(self) -> bool:
        return not self.same_bits


@dataclass(frozen=True)
class Diff:
    """All tensors of two checkpoints, worst first, and the figures over all of them."""

    left: str
    right: str
    rows: tuple[TensorDiff, ...]
    total: Figures | None

    @property
    def same(self) -> bool:
        return not any(r.differs for r in self.rows)

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON-ready values."""
        return {
            "schema": SCHEMA,
            "left": self.left,
            "right": self.right,
            "same": self.same,
            "error": self.total.numbers() if self.total else None,
            "tensors": [
                {
                    "name": r.name,
                    "left": r.left.coding if r.left else None,
                    "right": r.right.coding if r.right else None,
                    "shape": list((r.left or r.right).shape),  # type: ignore[union-attr]
                    "same_values": r.same_bits,
                    "error": r.figures.numbers() if r.figures else None,
                    "note": r.note,
                }
                for r in self.rows
            ],
        }


def diff(
    left: Source,
    right: Source,
    *,
    threads: int = 2,
    progress: Callable[[int, str], None] | None = None,
) -> Diff:
    """Compare two checkpoints value by value; the left one is taken as the original.

    Where one has GGUF's names and the other Hugging Face's, rows have the right one's names.
    """
    a, b = paired(opened(left), opened(right))
    rows: list[TensorDiff] = []
    total = Sums()
    for row, sums in compared(a, b, threads=threads, progress=progress):
        rows.append(row)
        total += sums
    figures = Figures.of(total) if any(r.figures for r in rows) else None
    return Diff(str(a.path), str(b.path), tuple(worst_first(rows)), figures)


def paired(left: Checkpoint, right: Checkpoint) -> tuple[Checkpoint, Checkpoint]:
    """The two with the left one seen under the right one's names and in its storage, if it has others."""
    return counterpart(right, left), right


def compared(
    left: Checkpoint,
    right: Checkpoint,
    *,
    threads: int = 2,
    progress: Callable[[int, str], None] | None = None,
) -> Iterator[tuple[TensorDiff, Sums]]:
    """Compare tensor by tensor as they are asked for, in the order of the files.

    ``progress`` is called with the bytes read since the last call, on both sides, and a name; it may
    raise to end the work.
    """
    with ThreadPoolExecutor(threads) as pool:
        for name in dict.fromkeys([*left.tensors, *right.tensors]):
            yield _compare(left, right, name, pool, progress)


def worst_first(rows: Iterable[TensorDiff]) -> list[TensorDiff]:
    """Rows with the largest relative error first; what could not be compared comes before."""
    return sorted(rows, key=_badness, reverse=True)


def _badness(row: TensorDiff) -> float:
    if row.figures is None:
        return -1.0 if row.same_bits else float("inf")
    return row.figures.rmse


def _compare(
    a: Checkpoint,
    b: Checkpoint,
    name: str,
    pool: ThreadPoolExecutor,
    progress: Callable[[int, str], None] | None,
) -> tuple[TensorDiff, Sums]:
    left, right = a.tensors.get(name), b.tensors.get(name)
    known = left is not None and right is not None and left.shape == right.shape
    if known and all(dtypes.is_quantizable(i.dtype) for i in (left, right)):  # type: ignore[union-attr]
        assert left is not None
        assert right is not None
        return _compare_values(tensor_source(a, left), tensor_source(b, right), pool, progress)
    row = TensorDiff(name, left, right)
    if left is None or right is None:
        row = replace(row, note=f"only on the {'right' if left is None else 'left'}")
    elif left.shape != right.shape:
        row = replace(row, note=f"shapes {list(left.shape)} and {list(right.shape)}")
    else:
        row = replace(row, same_bits=_same_bytes(a, b, name))
    if progress:
        progress(_bytes(left, right), name)
    return row, Sums()


def _compare_values(
    one: TensorSource,
    two: TensorSource,
    pool: ThreadPoolExecutor,
    progress: Callable[[int, str], None] | None,
) -> tuple[TensorDiff, Sums]:
    name, nbytes = two.info.name, _bytes(one.info, two.info)
    sums, same, told, done = Sums(), True, 0, 0
    results = pool.map(lambda tile: (tile, *_measure(one, two, tile)), regions(one.rows, one.cols))
    with contextlib.closing(results) as measured:  # type: ignore[type-var]  # ends what waits, if this ends early
        for tile, part, alike in measured:
            sums, same, done = sums + part, same and alike, done + tile.rows * tile.cols
            if progress:
                now = nbytes * done // (one.rows * one.cols)
                progress(now - told, name)
                told = now
    if progress and not done:
        progress(nbytes, name)
    return TensorDiff(name, one.info, two.info, Figures.of(sums), same), sums


def _bytes(*infos: TensorInfo | None) -> int:
    return sum(i.nbytes for i in infos if i)


def _measure(one: TensorSource, two: TensorSource, tile: Tile) -> tuple[Sums, bool]:
    v, d = np.asarray(one.region(tile)), np.asarray(two.region(tile))
    if v.dtype == d.dtype and np.array_equal(_bits(v), _bits(d)):
        power = measure(v, v)
        return power, True
    return measure(v, d), bool(np.array_equal(v.astype(np.float64), d.astype(np.float64)))


def _bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    return byte_view(np.ascontiguousarray(values))


def _same_bytes(a: Checkpoint, b: Checkpoint, name: str) -> bool:
    one, two = a.tensors[name], b.tensors[name]
    return set(one.planes) == set(two.planes) and all(
        np.array_equal(byte_view(a.plane(name, p)), byte_view(b.plane(name, p))) for p in one.planes
    )
