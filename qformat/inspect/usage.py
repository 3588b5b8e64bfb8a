"""How the stored fields of a tensor are used: the levels of integers, the spread of floats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks import bits, dtypes
from qformat.blocks.decode import as_rows
from qformat.blocks.descriptor import SchemeRecord
from qformat.blocks.fields import field_values
from qformat.blocks.layout import Codes, Floats, Layout, RawBlocks, planes, rows_cols
from qformat.errors import QFormatError
from qformat.files.checkpoint import Checkpoint, TensorInfo

BINS = 32
_ITEMS = 1 << 19  # read at once
_WIDEST = 12  # bits of integers whose levels are counted one by one

Progress = Callable[[], None]


@dataclass(frozen=True)
class Levels:
    """How often each level of an integer field occurs, from ``low`` on."""

    name: str
    bits: int
    low: int
    counts: tuple[int, ...]

    @property
    def used(self) -> int:
        return sum(1 for n in self.counts if n)

    def fact(self) -> str:
        """As people read it."""
        return f"{self.used:,} of {len(self.counts):,} levels in use"

    def items(self) -> Iterator[tuple[int, int]]:
        """Each level with its count."""
        return ((self.low + i, n) for i, n in enumerate(self.counts))


@dataclass(frozen=True)
class Spread:
    """The finite numbers of a float field; bins are of equal width from ``low`` to ``high``."""

    name: str
    kind: str
    count: int
    low: float
    high: float
    mean: float
    histogram: tuple[int, ...]

    def middle(self, i: int) -> float:
        """The value in the middle of bin ``i``."""
        return self.low + (i + 0.5) * (self.high - self.low) / BINS

    def fact(self) -> str:
        """As people read it."""
        return f"{self.count:,} {self.kind} from {self.low:.4g} to {self.high:.4g}, mean {self.mean:.4g}"


Usage = Levels | Spread


def layout_of(record: SchemeRecord) -> Layout:
    """A record's layout; raw blocks of a file that names no fields have those of their plugin."""
    layout = record.layout
    if not isinstance(layout, RawBlocks) or layout.fields:
        return layout
    from qformat.schemes.registry import registry

    try:
        return registry().for_record(record).layout()
    except QFormatError:
        return layout  # not installed: its bytes can be shown, its fields cannot


def usage(checkpoint: Checkpoint, info: TensorInfo, progress: Progress | None = None) -> tuple[Usage, ...]:
    """How each field of a quantized tensor is used, codes first; nothing for a plain tensor.

    Fields of a raw block that share a section and a width count as one. ``progress`` is called
    now and then.
    """
    if info.scheme is None:
        return ()
    found: list[Usage] = []
    for name, kind, width, read in _fields(checkpoint, info, layout_of(info.scheme), progress):
        if kind in ("uint", "int"):
            if width <= _WIDEST:
                found.append(_levels(name, width, kind == "int", read))
        else:
            found.append(_spread(name, kind, read))
    return tuple(found)


_Read = Callable[[], Iterator[NDArray[Any]]]


def _fields(
    checkpoint: Checkpoint, info: TensorInfo, layout: Layout, progress: Progress | None
) -> Iterator[tuple[str, str, int, _Read]]:
    """Name, kind, bits and reader of each field."""
    rows, cols = rows_cols(info.shape)
    for plane in planes(layout):
        stored = as_rows(checkpoint.plane(info.name, plane.name), info.shape)

        def chunks(stored: NDArray[Any] = stored, per_row: int = plane.count(cols)) -> Iterator[NDArray[Any]]:
            step = max(1, _ITEMS // max(per_row, 1))
            for row in range(0, rows, step):
                yield stored[row : row + step]
                if progress:
                    progress()

        match plane.item:
            case Codes() as item:

                def codes(
                    chunks: _Read = chunks, item: Codes = item, count: int = plane.count(cols)
                ) -> Iterator[NDArray[Any]]:
                    return (bits.unpack(p, item.bits, count, signed=item.signed) for p in chunks())

                yield plane.name, "int" if item.signed else "uint", item.bits, codes
            case Floats(dtype=dtype):
                yield plane.name, dtype, dtypes.bits(dtype), chunks
            case RawBlocks() as raw:
                yield from _raw_fields(raw, chunks)


def _raw_fields(raw: RawBlocks, chunks: _Read) -> Iterator[tuple[str, str, int, _Read]]:
    groups: dict[tuple[str, str, int], list[Any]] = {}
    for field in raw.fields:
        groups.setdefault((field.name.partition(".")[0], field.kind, field.bits), []).append(field)
    shared = {name for name, _, _ in groups if sum(n == name for n, _, _ in groups) > 1}
    ordered = sorted(groups.items(), key=lambda item: -sum(f.count for f in item[1]) * item[0][2])
    for (name, kind, width), fields in ordered:

        def read(fields: list[Any] = fields) -> Iterator[NDArray[Any]]:
            for part in chunks():
                records = part.reshape(-1, raw.size)
                for field in fields:
                    yield field_values(field, records)

        label = name if name not in shared else " ".join((name, *(f.name.partition(".")[2] for f in fields)))
        yield label, kind, width, read


def _levels(name: str, width: int, signed: bool, read: _Read) -> Levels:
    low, high = bits.code_range(width, signed=signed)
    counts = np.zeros(high - low + 1, np.int64)
    for part in read():
        counts += np.bincount(part.reshape(-1).astype(np.int64) - low, minlength=counts.size)
    return Levels(name, width, low, tuple(int(n) for n in counts))


def _spread(name: str, kind: str, read: _Read) -> Spread:
    count, low, high, total = 0, np.inf, -np.inf, 0.0
    for part in read():
        finite = _finite(part)
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
            total, count = total + float(finite.sum()), count + finite.size
    if not count:
        return Spread(name, kind, 0, 0.0, 0.0, 0.0, (0,) * BINS)
    counts = np.zeros(BINS, np.int64)
    span = (low, high) if high > low else (low - 0.5, low + 0.5)
    for part in read():
        counts += np.histogram(_finite(part), BINS, span)[0]
    return Spread(name, kind, count, low, high, total / count, tuple(int(n) for n in counts))


def _finite(part: NDArray[Any]) -> NDArray[np.float64]:
    flat = part.reshape(-1).astype(np.float64)
    return flat[np.isfinite(flat)]
