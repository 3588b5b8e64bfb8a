"""What is inside one tensor: statistics, planes, and single blocks taken apart. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks import bits, dtypes
from qformat.blocks.decode import as_rows, decode_rows, unpack_plane
from qformat.blocks.descriptor import SchemeRecord
from qformat.blocks.layout import Codes, Floats, Layout, Plane, RawBlocks, planes, rows_cols
from qformat.blocks.tiles import Tile, tiles
from qformat.errors import QFormatError
from qformat.files.checkpoint import Checkpoint, TensorInfo

BINS = 32
_REGION = (1024, 512)  # blocks of 1024, 512 of them


@dataclass(frozen=True)
class Statistics:
    """Over all values of a tensor; bins are of equal width from ``low`` to ``high``."""

    count: int
    low: float
    high: float
    mean: float
    std: float
    zeros: int
    not_finite: int
    histogram: tuple[int, ...]


def values(checkpoint: Checkpoint, info: TensorInfo, tile: Tile) -> NDArray[Any]:
    """The values of a region, decoded by the descriptor alone; raw blocks load their plugin."""
    stored = {name: as_rows(checkpoint.plane(info.name, name), info.shape) for name in info.planes}
    if info.scheme is None:
        return stored[""][tile.slices]
    if isinstance(info.scheme.layout, RawBlocks):
        from qformat.views.source import TensorSource

        return TensorSource(checkpoint, info).region(tile)
    step = info.scheme.block * 8  # a whole number of bytes in every plane
    first = tile.col // step * step
    part = {}
    for plane in planes(info.scheme.layout):
        rowwise = stored[plane.name][tile.row : tile.row + tile.rows]
        part[plane.name] = _columns(plane, rowwise, first, tile.col + tile.cols)
    return decode_rows(info.scheme.layout, part, tile.col + tile.cols - first)[:, tile.col - first :]


def _columns(plane: Plane, rows: NDArray[Any], first: int, end: int) -> NDArray[Any]:
    if isinstance(plane.item, Codes):
        return rows[:, plane.count(first) * plane.item.bits // 8 : plane.row_bytes(end)]
    return rows[:, plane.count(first) : plane.count(end)]


def _all_values(checkpoint: Checkpoint, info: TensorInfo) -> Iterator[NDArray[np.float64]]:
    rows, cols = rows_cols(info.shape)
    for tile in tiles(rows, cols, *_REGION):
        yield values(checkpoint, info, tile).astype(np.float64).reshape(-1)


def statistics(checkpoint: Checkpoint, info: TensorInfo) -> Statistics:
    """Statistics of a tensor in two passes of bounded memory; of finite values only."""
    if not dtypes.is_quantizable(info.dtype):
        raise QFormatError(f"values of type {info.dtype} have no statistics", tensor=info.name)
    count = zeros = odd = 0
    low, high, total, squares = math.inf, -math.inf, 0.0, 0.0
    for part in _all_values(checkpoint, info):
        finite = part[np.isfinite(part)]
        odd += part.size - finite.size
        count += part.size
        zeros += int(np.count_nonzero(part == 0))
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
            total += float(finite.sum())
            squares += float(finite @ finite)
    good = count - odd
    if not good:
        return Statistics(count, math.nan, math.nan, math.nan, math.nan, zeros, odd, (0,) * BINS)
    mean = total / good
    counts = np.zeros(BINS, np.int64)
    span = (low, high) if high > low else (low - 0.5, low + 0.5)
    for part in _all_values(checkpoint, info):
        counts += np.histogram(part[np.isfinite(part)], BINS, span)[0]
    std = math.sqrt(max(squares / good - mean * mean, 0))
    return Statistics(count, low, high, mean, std, zeros, odd, tuple(int(c) for c in counts))


# --- one block ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class FieldView:
    """One plane's, or one raw field's, part of a block: stored items and the bits that they are."""

    name: str
    kind: str  # such as "4-bit signed" or "F16"
    items: tuple[int | float, ...]
    bits: tuple[str, ...]  # most significant bit first, one string per item


@dataclass(frozen=True)
class BlockView:
    """A block taken apart."""

    index: int
    row: int
    first: int  # column of its first element
    fields: tuple[FieldView, ...]
    values: tuple[float, ...]


def block_count(info: TensorInfo) -> int:
    """Blocks in a tensor; a row's ragged end is a block too."""
    if info.scheme is None:
        return 0
    rows, cols = rows_cols(info.shape)
    return rows * -(-cols // info.scheme.block)


def _with_fields(record: SchemeRecord) -> Layout:
    """A record's layout; raw blocks of a file that names no fields have those of their plugin."""
    layout = record.layout
    if not isinstance(layout, RawBlocks) or layout.fields:
        return layout
    from qformat.schemes.registry import registry

    return registry().for_record(record).layout()


def block_view(checkpoint: Checkpoint, info: TensorInfo, index: int) -> BlockView:
    """Take block ``index`` (in row-major order) apart.

    Raises
    ------
    QFormatError
        If the tensor is not quantized, or has no such block.
    """
    if info.scheme is None:
        raise QFormatError("it is not quantized, so it has no blocks", tensor=info.name)
    total = block_count(info)
    if not 0 <= index < total:
        raise QFormatError(f"it has {total:,} blocks, 0 to {total - 1:,}; not {index}", tensor=info.name)
    _, cols = rows_cols(info.shape)
    size = info.scheme.block
    row, block = divmod(index, -(-cols // size))
    first, end = block * size, min(cols, block * size + size)
    fields: list[FieldView] = []
    for plane in planes(_with_fields(info.scheme)):
        rows = as_rows(checkpoint.plane(info.name, plane.name), info.shape)[row : row + 1]
        fields.extend(_field_views(plane, rows, first, end, cols))
    decoded = values(checkpoint, info, Tile(row, 1, first, end - first)).reshape(-1)
    return BlockView(index, row, first, tuple(fields), tuple(float(v) for v in decoded))


def _field_views(plane: Plane, rows: NDArray[Any], first: int, end: int, cols: int) -> Iterator[FieldView]:
    if isinstance(plane.item, RawBlocks):
        yield from _raw_views(plane.item, rows[0, first // plane.item.block].tobytes())
        return
    begin, stop = plane.count(first), plane.count(end)
    if isinstance(plane.item, Floats):
        items = rows[0, begin:stop]
        width = items.dtype.itemsize * 8
        words = items.view(f"<u{items.dtype.itemsize}")
        yield FieldView(
            plane.name,
            plane.item.dtype,
            tuple(float(v) for v in items),
            tuple(f"{int(w):0{width}b}" for w in words),
        )
        return
    width = plane.item.bits
    codes = unpack_plane(plane, rows, cols, plane.span)[begin:stop].reshape(-1)
    mask = (1 << width) - 1
    kind = f"{width}-bit {'signed' if plane.item.signed else 'unsigned'}"
    yield FieldView(
        plane.name, kind, tuple(int(c) for c in codes), tuple(f"{int(c) & mask:0{width}b}" for c in codes)
    )


def _raw_views(item: RawBlocks, record: bytes) -> Iterator[FieldView]:
    if not item.fields:
        yield FieldView("blocks", "bytes", tuple(record), tuple(f"{b:08b}" for b in record))
        return
    word = int.from_bytes(record, "little")
    for field in item.fields:
        mask = (1 << field.bits) - 1
        raw = [(word >> field.bit(i)) & mask for i in range(field.count)]
        yield FieldView(
            field.name,
            field.kind if field.kind not in ("uint", "int") else f"{field.bits}-bit {field.kind}",
            tuple(_field_item(r, field.kind, field.bits) for r in raw),
            tuple(f"{r:0{field.bits}b}" for r in raw),
        )


def _field_item(raw: int, kind: str, width: int) -> int | float:
    if kind == "uint":
        return raw
    if kind == "int":
        return raw - (1 << width) if raw >> width - 1 else raw
    data = np.frombuffer(raw.to_bytes(width // 8, "little"), dtypes.numpy_dtype(kind))
    return float(data[0])


def code_usage(checkpoint: Checkpoint, info: TensorInfo) -> dict[int, int]:
    """How often each code occurs in a tensor of the closed vocabulary."""
    if info.scheme is None or isinstance(info.scheme.layout, RawBlocks):
        return {}
    plane = planes(info.scheme.layout)[0]
    assert isinstance(plane.item, Codes)
    rows, cols = rows_cols(info.shape)
    low, high = bits.code_range(plane.item.bits, signed=plane.item.signed)
    counts = np.zeros(high - low + 1, np.int64)
    stored = as_rows(checkpoint.plane(info.name, plane.name), info.shape)
    step = max(1, (1 << 19) // max(cols, 1))
    for row in range(0, rows, step):
        codes = bits.unpack(stored[row : row + step], plane.item.bits, cols, signed=plane.item.signed)
        counts += np.bincount(codes.reshape(-1).astype(np.int64) - low, minlength=counts.size)
    return {low + i: int(n) for i, n in enumerate(counts)}
