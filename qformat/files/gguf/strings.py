"""Walking over an array of strings without looking at each.

The strings of an array (``u64 length``, then the bytes) can only be found one after the other, and
a vocabulary has 300,000 of them before the first tensor info. Stepping from one to the next in
Python takes longer than everything else together, so a window of the file is searched at once:
where a string of 1 to 255 bytes begins, a byte that is not 0 is followed by seven that are.

::

    05 00 00 00 00 00 00 00  h  e  l  l  o  02 00 00 00 00 00 00 00  y  o  ...
    ^head                                   ^head

That only proposes heads. The proposal counts if each head plus 8 plus its length is the next head,
from a first that is known to be one, which proves by induction what stepping would have found. If a
window does not prove (empty strings, strings of 256 bytes or more, text with zeros in it), that
window is stepped through.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW = 1 << 17  # fits the L2 cache with its temporaries
FEW = 32  # strings that are stepped through without a search

_LENGTH = struct.Struct("<Q")


class TruncatedStringError(Exception):
    """A string reaches past the end: its place after the window's start, its offset and length."""

    def __init__(self, index: int, offset: int, length: int | None) -> None:
        super().__init__(index, offset, length)
        self.index, self.offset, self.length = index, offset, length


@dataclass(frozen=True)
class Extent:
    """Where an array's strings lie: its end, and the first string (index, offset) of each window."""

    start: int
    end: int
    count: int
    indices: array[int]
    offsets: array[int]

    def window_of(self, index: int) -> int:
        """The window that holds a string."""
        return bisect_right(self.indices, index) - 1


def walk(data: NDArray[Any], start: int, count: int) -> Extent:
    """Find the end of ``count`` strings that begin at ``start``.

    Raises
    ------
    TruncatedStringError
        If a string reaches past the end of ``data``.
    """
    indices, offsets = array("Q"), array("Q")
    done, at = 0, start
    while done < count:
        indices.append(done)
        offsets.append(at)
        try:
            heads, at = window(data, at, count - done)
        except TruncatedStringError as error:
            error.index += done
            raise
        done += len(heads)
    return Extent(start, at, count, indices, offsets)


def window(data: NDArray[Any], start: int, count: int) -> tuple[NDArray[Any], int]:
    """Heads of the strings from ``start`` on, at least one, at most ``count``, and where the next begins."""
    # 64 bytes are more than most strings have: a short array does not search far beyond its end.
    stop = min(start + min(WINDOW, 64 * count), data.size)
    if count >= FEW:
        found = _search(data, start, stop, count)
        if found is not None:
            return found
    return _step(data, start, stop, count)


def _search(data: NDArray[Any], start: int, stop: int, count: int) -> tuple[NDArray[Any], int] | None:
    """The heads in a window if they can be proved, else None."""
    import numpy as np

    part = data[start : stop + 8]
    if part.size < 16 or part[1:8].any():
        return None
    zero = part == 0
    two = zero[:-1] & zero[1:]
    four = two[:-2] & two[2:]
    seven = four[:-3] & four[3:]  # at p: bytes p to p + 6 are all zero
    heads = np.flatnonzero(seven[1:] > zero[: seven.size - 1])[:count]
    if heads.size == 0 or heads[0] != 0:
        return None
    nexts = heads + part[heads]
    nexts += 8
    end = start + int(nexts[-1])
    if end > data.size or not np.array_equal(nexts[:-1], heads[1:]):
        return None
    heads += start
    return heads, end


def _step(data: NDArray[Any], start: int, stop: int, count: int) -> tuple[NDArray[Any], int]:
    """The heads in a window, one after the other."""
    import numpy as np

    buffer, size, at = memoryview(data), data.size, start
    heads = array("q")
    length_at = _LENGTH.unpack_from
    while len(heads) < count and (at < stop or not heads):
        if size - at < 8:
            raise TruncatedStringError(len(heads), at, None)
        (length,) = length_at(buffer, at)
        if length > size - at - 8:
            raise TruncatedStringError(len(heads), at, length)
        heads.append(at)
        at += 8 + length
    return np.frombuffer(heads, np.int64), at
