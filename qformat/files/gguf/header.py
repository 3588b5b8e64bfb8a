"""A GGUF's header: version, key-values and tensor infos, each checked against the bytes that are there."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qformat.errors import FormatError
from qformat.files.gguf import keyvalues
from qformat.files.gguf.cursor import CUT_SHORT, Cursor
from qformat.files.gguf.entries import MAX_COUNT, TensorEntry, columns
from qformat.files.gguf.keyvalues import MAX_KEYS, SMALLEST_PAIR, KeyValues
from qformat.files.gguf.types import (
    ALIGNMENT_KEY,
    DEFAULT_ALIGNMENT,
    MAGIC,
    TENSOR_TYPES,
    ValueType,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSIONS = (2, 3)  # they differ in nothing but what 3 allows: big endian
MAX_TENSORS = 1 << 20
MAX_DIMS = 32
SMALLEST_INFO = 8 + 4 + 4 + 8  # a name of no bytes, no dimensions, a type, an offset

_MAGIC_VERSION = struct.Struct("<4sI")
_TYPE_OFFSET = struct.Struct("<IQ")
_DIMS = [struct.Struct(f"<{n}Q") for n in range(MAX_DIMS + 1)]


@dataclass(frozen=True)
class Header:
    """Everything before the data."""

    path: Path
    version: int
    keyvalues: KeyValues
    entries: Sequence[TensorEntry]
    by_name: Mapping[str, int]  # where in the entries
    end: int  # of the last tensor info
    alignment: int
    data: NDArray[Any] = field(repr=False)  # the bytes that were parsed

    @property
    def data_start(self) -> int:
        """Where the tensors' offsets count from."""
        return self.end + -self.end % self.alignment


def parse(data: NDArray[Any], path: Path) -> Header:
    """Parse the header at the start of ``data``; ``path`` is what errors name.

    Raises
    ------
    FormatError
        For anything that the format forbids or that the bytes there cannot hold.
    """
    cursor = Cursor(data.data, path)
    version, tensors, keys = _head(cursor)
    values = keyvalues.parse(cursor, data, keys)
    alignment = _alignment(values)
    _check_count(cursor, tensors, MAX_TENSORS, SMALLEST_INFO, "tensors")
    sound = columns(cursor, tensors, alignment)
    if sound is not None:
        return Header(path, version, values, sound, sound.by_name, cursor.at, alignment, data)
    entries, by_name = _one_by_one(cursor, tensors, alignment)
    return Header(path, version, values, entries, by_name, cursor.at, alignment, data)


def _one_by_one(cursor: Cursor, count: int, alignment: int) -> tuple[tuple[TensorEntry, ...], dict[str, int]]:
    """Read infos of which one is odd, and say so if that is forbidden."""
    by_name: dict[str, int] = {}
    entries = []
    for i in range(count):
        entry = _entry(cursor)
        if by_name.setdefault(entry.name, i) != i:
            raise cursor.error("a second tensor has this name", at=entry.at, tensor=entry.name)
        if entry.offset % alignment:
            what = f"its offset {entry.offset} is no multiple of the alignment {alignment}"
            raise cursor.error(what, at=cursor.at - 8, tensor=entry.name)
        entries.append(entry)
    return tuple(entries), by_name


def _head(cursor: Cursor) -> tuple[int, int, int]:
    """Check magic, version and counts."""
    cursor.need(8, "a GGUF header")
    magic, version = _MAGIC_VERSION.unpack_from(cursor.buffer, 0)
    if magic != MAGIC:
        raise cursor.error(f"a GGUF file begins with {MAGIC!r}, this one with {magic!r}")
    if version not in VERSIONS:
        raise _version_error(version, cursor.path)
    cursor.at = 8
    tensors = cursor.u64("the number of tensors")
    keys = cursor.u64("the number of key-values")
    _check_count(cursor, keys, MAX_KEYS, SMALLEST_PAIR, "key-values")
    _check_count(cursor, tensors, MAX_TENSORS, SMALLEST_INFO, "tensors")
    return version, tensors, keys


def _check_count(cursor: Cursor, count: int, most: int, smallest: int, what: str) -> None:
    if count * smallest > cursor.left:
        claim = f"the header claims {count:,} {what}, but only {cursor.left:,} bytes follow"
        raise cursor.error(claim, hint=CUT_SHORT)
    if count > most:
        raise cursor.error(f"the header claims {count:,} {what}; qformat reads up to {most:,}")


def _version_error(version: int, path: Path) -> FormatError:
    if version & 0xFFFF == 0 and version:
        what = "this GGUF is big endian; qformat reads little endian"
        hint = "convert it with gguf-py's gguf-convert-endian"
    elif version == 1:
        what = "this GGUF is of version 1, of August 2023, with lengths of 32 bits; qformat reads 2 and 3"
        hint = "convert the model again, or download a newer file"
    else:
        what, hint = f"this GGUF is of version {version}; qformat reads 2 and 3", "install a newer qformat"
    return FormatError(what, file=path, offset=4, hint=hint)


def _alignment(values: KeyValues) -> int:
    found = values.scalar(ALIGNMENT_KEY, ValueType.UINT32)
    if found is None:
        return DEFAULT_ALIGNMENT
    if found == 0 or found & (found - 1):
        value = values[ALIGNMENT_KEY]
        raise FormatError(
            f"{ALIGNMENT_KEY} is {found}; expected a power of two",
            file=value.path,
            offset=value.offset,
            hint="write the file anew",
        )
    return int(found)


def _entry(cursor: Cursor) -> TensorEntry:
    start = cursor.at
    name = cursor.name("a tensor's name")
    dims, largest = _dims(cursor, name)
    cursor.need(_TYPE_OFFSET.size, "its type and offset", name)
    at = cursor.at
    number, offset = _TYPE_OFFSET.unpack_from(cursor.buffer, at)
    cursor.at += _TYPE_OFFSET.size
    if offset >= MAX_COUNT:
        raise cursor.error(f"its offset {offset} is past 2**63", at=at + 4, tensor=name)
    kind = TENSOR_TYPES.get(number)
    nbytes = None
    if kind is not None:
        row = dims[0] if dims else 1
        if row % kind.block:
            what = f"its rows have {row} elements, no multiple of the {kind.block} in a block of {kind.name}"
            raise cursor.error(what, at=at, tensor=name)
        nbytes = -(-largest // kind.block) * kind.size
        if nbytes >= MAX_COUNT:
            raise cursor.error(f"its dimensions {list(dims)} make more than 2**63 bytes", at=at, tensor=name)
        if 0 in dims:
            nbytes = 0
    return TensorEntry(name, dims, number, kind, nbytes, offset, start)


def _dims(cursor: Cursor, name: str) -> tuple[tuple[int, ...], int]:
    """A tensor's dimensions, and the product of those that are not zero."""
    start = cursor.at
    count = cursor.u32("its number of dimensions", name)
    if count > MAX_DIMS:
        raise cursor.error(
            f"it claims {count:,} dimensions; qformat reads up to {MAX_DIMS}", at=start, tensor=name
        )
    cursor.need(8 * count, "its dimensions", name)
    dims: tuple[int, ...] = _DIMS[count].unpack_from(cursor.buffer, cursor.at)
    cursor.at += 8 * count
    # A zero among them must not hide a product that would overflow where sizes are computed.
    product = 1
    for n in dims:
        product *= n or 1
        if product >= MAX_COUNT:
            what = f"its dimensions {list(dims)} make more than 2**63 elements"
            raise cursor.error(what, at=start + 4, tensor=name)
    return dims, product
