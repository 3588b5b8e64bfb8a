"""Tensor infos: what one says, and all of a header at once where nothing in it is odd.

::

    u64 length | name | u32 n | n × u64 dimension | u32 type | u64 offset

Where an info begins is only known from the one before, so the heads are stepped through; everything
else is read and checked in columns. A file may have 100,000 of them, and this opens it five times
sooner than reading one after the other. Whatever is odd is left to the reader that goes one by one
and says what it is.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from qformat.files.gguf.cursor import MAX_NAME, Cursor
from qformat.files.gguf.types import TENSOR_TYPES, TensorType

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_COUNT = 1 << 63
_SMALL = 1 << 48  # elements that make no more than 2**63 bytes of any type
_MOST_DIMS = 4
_LENGTH, _COUNT = struct.Struct("<Q"), struct.Struct("<I")


class TensorEntry(NamedTuple):
    """A tensor info as the header has it: dimensions fastest first, offset from the data's start.

    ``type`` is None for a number that is not in the table; ``nbytes`` is then unknown, too.
    """

    name: str
    dims: tuple[int, ...]
    number: int
    type: TensorType | None
    nbytes: int | None
    offset: int
    at: int  # where the info begins in the header

    @property
    def shape(self) -> tuple[int, ...]:
        """The dimensions in row-major order."""
        return self.dims[::-1]


class Placed(NamedTuple):
    """A tensor's bytes in the file."""

    entry: TensorEntry
    begin: int
    nbytes: int

    @property
    def end(self) -> int:
        return self.begin + self.nbytes


class Columns(Sequence[TensorEntry]):
    """Sound infos, column by column; an entry is made when it is asked for.

    Names are ASCII and differ, types are known, dimensions are 1 to 4 and not 0, offsets are aligned.
    """

    def __init__(
        self,
        by_name: dict[str, int],
        starts: NDArray[Any],
        counts: NDArray[Any],
        dims: NDArray[Any],
        numbers: NDArray[Any],
        nbytes: NDArray[Any],
        offsets: NDArray[Any],
    ) -> None:
        self.by_name, self._names = by_name, list(by_name)
        self._starts, self._counts, self._dims, self._numbers = starts, counts, dims, numbers
        self._nbytes, self._offsets = nbytes, offsets

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, at: int) -> TensorEntry: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[TensorEntry]: ...
    def __getitem__(self, at: int | slice) -> TensorEntry | Sequence[TensorEntry]:
        """One entry, or those of a slice."""
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        number = int(self._numbers[at])
        dims = tuple(self._dims[at, : self._counts[at]].tolist())
        return TensorEntry(
            self._names[at], dims, number, TENSOR_TYPES[number],
            int(self._nbytes[at]), int(self._offsets[at]), int(self._starts[at]),
        )  # fmt: skip

    @property
    def longest(self) -> int:
        """Bytes of the longest name."""
        return max(map(len, self._names))

    def in_order(self, start: int, alignment: int, size: int) -> InOrder | None:
        """Where each lies if all follow on each other from ``start`` on, in a file of ``size`` bytes."""
        import numpy as np

        # Below 2**63 + 2**51: sums of 64 bits do not overflow.
        ends = self._offsets + self._nbytes
        follow = ends + np.negative(ends) % np.uint64(alignment)
        if self._offsets[0] or (self._offsets[1:] != follow[:-1]).any():
            return None
        return InOrder(self, start) if start + int(ends[-1]) <= size else None


class InOrder(Sequence[Placed]):
    """Where the tensors of `Columns` lie, one after the other."""

    def __init__(self, entries: Columns, start: int) -> None:
        self.entries, self._start = entries, start

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, at: int) -> Placed: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Placed]: ...
    def __getitem__(self, at: int | slice) -> Placed | Sequence[Placed]:
        """One tensor, or those of a slice."""
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        entry = self.entries[at]
        return Placed(entry, self._start + entry.offset, entry.nbytes or 0)


def columns(cursor: Cursor, count: int, alignment: int) -> Columns | None:
    """Read ``count`` infos and move the cursor behind them; None, and no move, if one is odd."""
    import numpy as np

    found = _heads(cursor, count)
    if found is None or not count:
        return None
    heads, end = found
    first = cursor.at
    raw = bytes(cursor.buffer[first:end])
    starts, tails = (np.frombuffer(part, np.uint64) for part in heads)
    by_name = _by_name(raw, starts, tails, first)
    if by_name is None or len(by_name) != count:
        return None
    counts, dims, numbers, offsets = _tails(raw, tails - np.uint64(first))
    nbytes = _sizes(dims, numbers)
    if nbytes is None or (offsets >= MAX_COUNT).any() or (offsets % np.uint64(alignment)).any():
        return None
    cursor.at = end
    return Columns(by_name, starts, counts, dims, numbers, nbytes, offsets)


def _heads(cursor: Cursor, count: int) -> tuple[tuple[array[int], array[int]], int] | None:
    """Where each info begins, where its name ends, and where the last info ends."""
    buffer, at = cursor.buffer, cursor.at
    starts, tails = array("Q"), array("Q")
    length_at, count_at = _LENGTH.unpack_from, _COUNT.unpack_from
    try:
        for _ in range(count):
            starts.append(at)
            (length,) = length_at(buffer, at)
            at += 8 + length
            (dims,) = count_at(buffer, at)
            if length > MAX_NAME or not 0 < dims <= _MOST_DIMS:
                return None
            tails.append(at)
            at += 16 + 8 * dims
    except (struct.error, OverflowError):
        return None
    return ((starts, tails), at) if at <= cursor.size else None


def _by_name(raw: bytes, starts: NDArray[Any], tails: NDArray[Any], first: int) -> dict[str, int] | None:
    """Names with their numbers; None if they are not ASCII."""
    text = raw.decode("latin-1")
    ends = (tails - first).tolist()
    names = [text[begin:end] for begin, end in zip((starts - (first - 8)).tolist(), ends, strict=True)]
    return dict(zip(names, range(len(names)), strict=True)) if "".join(names).isascii() else None


def _tails(raw: bytes, tails: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """What follows the names: how many dimensions, these and ones behind them, types, offsets."""
    import numpy as np

    size = tails.size
    dims = np.ones((size, _MOST_DIMS), np.uint64)
    numbers, offsets = np.zeros(size, np.uint32), np.zeros(size, np.uint64)
    counts = _records(raw, np.dtype("<u4"))[tails]
    for n in range(1, _MOST_DIMS + 1):
        rows = np.flatnonzero(counts == n)
        if rows.size:
            kind = np.dtype([("n", "<u4"), ("dims", "<u8", (n,)), ("type", "<u4"), ("offset", "<u8")])
            read = _records(raw, kind)[tails[rows]]
            dims[rows, :n], numbers[rows], offsets[rows] = read["dims"], read["type"], read["offset"]
    return counts, dims, numbers, offsets


def _records(raw: bytes, kind: Any) -> NDArray[Any]:
    """A record of a kind at each byte."""
    import numpy as np

    return np.ndarray(len(raw) - kind.itemsize + 1, kind, raw, strides=(1,))


def _sizes(dims: NDArray[Any], numbers: NDArray[Any]) -> NDArray[Any] | None:
    """Bytes of each tensor; None if a type is unknown, or dimensions do not fit it or are too large."""
    import numpy as np

    known = np.zeros((max(TENSOR_TYPES) + 2, 2), np.uint64)  # the last row is that of all unknown ones
    for number, kind in TENSOR_TYPES.items():
        known[number] = kind.block, kind.size
    block, size = known[np.minimum(numbers, len(known) - 1)].T
    about = dims.astype(np.float64).prod(axis=1)  # which does not overflow
    sound = block.all() and dims.all() and (about < _SMALL).all()
    if not sound or (dims[:, 0] % block).any():
        return None
    return np.asarray(dims.prod(axis=1) // block * size)
