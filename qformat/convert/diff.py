"""Two checkpoints tensor by tensor: what is missing, and how far the values lie apart."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
    """Compare two checkpoints value by value; the left one is taken as the original."""
    a, b = opened(left), opened(right)
    rows: list[TensorDiff] = []
    total = Sums()
    with ThreadPoolExecutor(threads) as pool:
        for name in dict.fromkeys([*a.tensors, *b.tensors]):
            row, sums = _compare(a, b, name, pool)
            rows.append(row)
            total += sums
            if progress:
                progress(sum(i.nbytes for i in (row.left, row.right) if i), name)
    compared = [r for r in rows if r.figures]
    return Diff(
        str(a.path),
        str(b.path),
        tuple(sorted(rows, key=_badness, reverse=True)),
        Figures.of(total) if compared else None,
    )


def _badness(row: TensorDiff) -> float:
    if row.figures is None:
        return -1.0 if row.same_bits else float("inf")
    return row.figures.rmse


def _compare(a: Checkpoint, b: Checkpoint, name: str, pool: ThreadPoolExecutor) -> tuple[TensorDiff, Sums]:
    left, right = a.tensors.get(name), b.tensors.get(name)
    if left is None or right is None:
        side = "right" if left is None else "left"
        return TensorDiff(name, left, right, note=f"only on the {side}"), Sums()
    if left.shape != right.shape:
        return TensorDiff(
            name, left, right, note=f"shapes {list(left.shape)} and {list(right.shape)}"
        ), Sums()
    if not (dtypes.is_quantizable(left.dtype) and dtypes.is_quantizable(right.dtype)):
        return TensorDiff(name, left, right, same_bits=_same_bytes(a, b, name)), Sums()
    one, two = tensor_source(a, left), tensor_source(b, right)
    parts = list(pool.map(lambda tile: _measure(one, two, tile), regions(one.rows, one.cols)))
    sums = sum((p[0] for p in parts), Sums())
    same = all(p[1] for p in parts)
    return TensorDiff(name, left, right, Figures.of(sums), same), sums


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
