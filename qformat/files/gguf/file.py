"""One GGUF file: mapped, its header parsed, its tensors described."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qformat.blocks.descriptor import MAX_BLOCK, Provider, SchemeRecord
from qformat.blocks.layout import RawBlocks, planes, rows_cols
from qformat.errors import FormatError
from qformat.files import undo
from qformat.files.checkpoint import Stored, TensorInfo
from qformat.files.gguf import header as headers
from qformat.files.gguf.cursor import CUT_SHORT
from qformat.files.gguf.entries import Placed
from qformat.files.gguf.header import Header
from qformat.files.gguf.place import notes, place
from qformat.files.mapping import Map
from qformat.version import VERSION

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNKNOWN = "ggml_type_"  # begins the name of a type that only has a number


@dataclass(frozen=True)
class GGUFFile:
    """One file with where everything in it lies."""

    path: Path
    header: Header
    placed: Sequence[Placed]
    tensors: Tensors
    map: Map = field(repr=False)
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path) -> GGUFFile:
        """Map a file and check its header in full.

        Raises
        ------
        FormatError
            For anything that the format forbids: it names the key or tensor and the byte.
        """
        undo.check(path)
        file = _map(path)
        header = headers.parse(file.data, path)
        placed = place(header, file.data.size)
        tensors = Tensors(placed, header.by_name, path)
        return cls(path, header, placed, tensors, file, notes(header, placed, file.data.size))

    @property
    def data(self) -> NDArray[Any]:
        """The whole file."""
        return self.map.data


class Tensors(Mapping[str, TensorInfo]):
    """The tensors of a file in its order, each described when it is first asked for."""

    def __init__(self, placed: Sequence[Placed], by_name: Mapping[str, int], path: Path) -> None:
        self._placed, self._by_name = placed, by_name
        self._path = path
        self._made: dict[str, TensorInfo] = {}

    def __getitem__(self, name: str) -> TensorInfo:
        if name not in self._made:
            self._made[name] = _describe(self._placed[self._by_name[name]], self._path)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)


def _map(path: Path) -> Map:
    if path.stat().st_size == 0:
        raise FormatError("the file is empty", file=path, hint=CUT_SHORT)
    return Map(path)


def _describe(placed: Placed, path: Path) -> TensorInfo:
    entry = placed.entry
    if entry.type is not None and entry.type.dtype is not None:
        stored = Stored(entry.name, entry.type.dtype, entry.shape, path, placed.begin, placed.nbytes)
        return TensorInfo(entry.name, entry.shape, entry.type.dtype, {"": stored})
    if entry.type is not None:
        record = scheme(entry.type.name, entry.type.size, entry.type.block)
    else:
        found = _unknown(placed)
        if found is None:
            return _opaque(placed, path)
        record = found
    dtype, shape = planes(record.layout)[0].stored(entry.shape)
    blocks = Stored(entry.name, dtype, shape, path, placed.begin, placed.nbytes)
    return TensorInfo(entry.name, entry.shape, "F32", {"blocks": blocks}, record)


@functools.cache
def scheme(name: str, size: int, block: int) -> SchemeRecord:
    """How a ggml type is recorded: raw blocks, which only a plugin of that name decodes."""
    return SchemeRecord(name, 1, {}, Provider("qformat", VERSION), RawBlocks(size=size, block=block))


def _unknown(placed: Placed) -> SchemeRecord | None:
    """Rows of unknown content as records as large as a row, or as a part of one if rows are long."""
    rows, cols = rows_cols(placed.entry.shape)
    if placed.nbytes == 0:
        return None
    row = placed.nbytes // rows
    parts = -(-cols // MAX_BLOCK)
    while parts <= cols and (cols % parts or row % parts or row // parts > MAX_BLOCK * 8):
        parts += 1
        if parts > 4096:
            return None
    if parts > cols or row < parts:
        return None
    return scheme(f"{UNKNOWN}{placed.entry.number}", row // parts, cols // parts)


def _opaque(placed: Placed, path: Path) -> TensorInfo:
    """Bytes that cannot be told apart into rows: one plane as long as they are."""
    entry = placed.entry
    shape = (placed.nbytes,)
    stored = Stored(entry.name, "U8", shape, path, placed.begin, placed.nbytes)
    note = {"ggml_type": entry.number, "shape": list(entry.shape)}
    return TensorInfo(entry.name, shape, "U8", {"": stored}, note=note)
