"""One block taken apart: its bytes, the fields that their bits belong to, codes and values. NumPy only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qformat.blocks import dtypes
from qformat.blocks.decode import as_rows, unpack_plane
from qformat.blocks.layout import Codes, Floats, Plane, RawBlocks, planes, rows_cols
from qformat.blocks.tiles import Tile
from qformat.errors import QFormatError
from qformat.files.checkpoint import Checkpoint, TensorInfo
from qformat.inspect.usage import layout_of
from qformat.inspect.values import values


@dataclass(frozen=True)
class FieldView:
    """One plane's, or one raw field's, part of a block: stored items and the bits that they are."""

    name: str
    kind: str  # such as "4-bit signed" or "F16"
    items: tuple[int | float, ...]
    bits: tuple[str, ...]  # most significant bit first, one string per item


@dataclass(frozen=True)
class Span:
    """Where an item of a field lies: its lowest bit, counted from the first byte's lowest."""

    field: int
    item: int
    bit: int
    bits: int


@dataclass(frozen=True)
class StoredBytes:
    """The bytes of one plane that hold a part of the block; ``data_offset`` is from the file's start."""

    plane: str
    file: str
    data_offset: int
    data: bytes
    spans: tuple[Span, ...]

    def owners(self) -> list[Span | None]:
        """For each bit, in the order of the file, the item that it belongs to."""
        found: list[Span | None] = [None] * (8 * len(self.data))
        for span in self.spans:
            for bit in range(span.bit, span.bit + span.bits):
                found[bit] = span
        return found


@dataclass(frozen=True)
class BlockView:
    """A block taken apart."""

    index: int
    row: int
    first: int  # column of its first element
    fields: tuple[FieldView, ...]
    stored: tuple[StoredBytes, ...]
    values: tuple[float, ...]

    def wide(self) -> list[FieldView]:
        """The fields that have an item for each element."""
        return [f for f in self.fields if len(f.items) == len(self.values)]

    def small(self) -> list[FieldView]:
        """The others: what elements share."""
        return [f for f in self.fields if len(f.items) != len(self.values)]


def block_count(info: TensorInfo) -> int:
    """Blocks in a tensor; a row's ragged end is a block too."""
    if info.scheme is None:
        return 0
    rows, cols = rows_cols(info.shape)
    return rows * -(-cols // info.scheme.block)


def block_tile(info: TensorInfo, index: int) -> Tile:
    """The region of a tensor that is block ``index``, in row-major order.

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
    first = block * size
    return Tile(row, 1, first, min(cols, first + size) - first)


def block_view(checkpoint: Checkpoint, info: TensorInfo, index: int) -> BlockView:
    """Take block ``index`` (in row-major order) apart.

    Raises
    ------
    QFormatError
        If the tensor is not quantized, or has no such block.
    """
    tile = block_tile(info, index)
    assert info.scheme is not None
    _, cols = rows_cols(info.shape)
    fields: list[FieldView] = []
    stored: list[StoredBytes] = []
    for plane in planes(layout_of(info.scheme)):
        rows = as_rows(checkpoint.plane(info.name, plane.name), info.shape)[tile.row : tile.row + 1]
        found = list(_field_views(plane, rows, tile.col, tile.col + tile.cols, cols))
        stored.append(_stored(info, plane, rows, tile, len(fields)))
        fields.extend(found)
    decoded = values(checkpoint, info, tile).reshape(-1)
    numbers = tuple(float(v) for v in decoded)
    return BlockView(index, tile.row, tile.col, tuple(fields), tuple(stored), numbers)


def _stored(info: TensorInfo, plane: Plane, rows: NDArray[Any], tile: Tile, first_field: int) -> StoredBytes:
    """The bytes of a plane's part of a block, and which bits of them belong to what."""
    _, cols = rows_cols(info.shape)
    data = np.ascontiguousarray(rows).view(np.uint8).reshape(-1)
    spans: tuple[Span, ...]
    if isinstance(plane.item, RawBlocks):
        begin = tile.col // plane.item.block * plane.item.size
        end = begin + plane.item.size
        spans = tuple(_raw_spans(plane.item, first_field))
    else:
        width = plane.item.bits if isinstance(plane.item, Codes) else dtypes.bits(plane.item.dtype)
        start, stop = plane.count(tile.col) * width, plane.count(tile.col + tile.cols) * width
        begin, end = start // 8, -(-stop // 8)
        count = (stop - start) // width
        spans = tuple(Span(first_field, i, start % 8 + i * width, width) for i in range(count))
    where = info.planes[plane.name]
    offset = where.data_offset + tile.row * plane.row_bytes(cols) + begin
    return StoredBytes(plane.name, where.file.name, offset, data[begin:end].tobytes(), spans)


def _raw_spans(item: RawBlocks, first_field: int) -> Iterator[Span]:
    if not item.fields:
        yield from (Span(first_field, i, 8 * i, 8) for i in range(item.size))
    for number, field in enumerate(item.fields, first_field):
        yield from (Span(number, i, field.bit(i), field.bits) for i in range(field.count))


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
