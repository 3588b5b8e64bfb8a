"""Walking over an array of strings without looking at each.

The strings of an array (``u64 length``, then the bytes) can only be found one after the other, and
a vocabulary has 300,000 of them before the first tensor info. Stepping from one to the next in
Python takes longer than everything else together, so a window of the file is searched at once:
where a string of 1 to 255 bytes begins, a byte that is not 0 is followed by seven that are.

::

    05 00 00 00 00 00 00 00  h  e  l  l  o  02 00 00 00 00 00 00 00  y  o  ...
    ^head                                   ^head

That only proposes heads. They count as far as each head plus 8 plus its length is the next head,
from a first that is known to be one, which proves by induction what stepping would have found. Where
the chain breaks (an empty string, one of 256 bytes or more, text with zeros in it), single steps
lead on until they meet a proposed head again; where it breaks often, the window is stepped through.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Fits the L2 cache with its temporaries; from 128 KiB on, malloc would map each of them anew.
WINDOW = 120 << 10
FEW = 32  # strings that are stepped through without a search
MAX_RUNS, MAX_STEPS = 64, 256  # in a window; with more of them plain stepping is faster

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
    """The heads in a window as far as they can be proved; None if that is not one."""
    import numpy as np

    part = data[start : stop + 8]
    if part.size < 16:
        return None
    zero = part == 0
    two = zero[:-1] & zero[1:]
    four = two[:-2] & two[2:]
    seven = four[:-3] & four[3:]  # at p: bytes p to p + 6 are all zero
    flags = np.zeros(part.size + -part.size % 8, np.bool_)
    is_head = flags[: seven.size - 1]
    np.greater(seven[1:], seven[:-1], out=is_head)
    heads = _true_in(flags)
    nexts = heads + part.take(heads)
    nexts += 8
    runs, at = _chain(part, is_head, heads, nexts, count)
    if at is None:
        return None
    if start + at > data.size:  # the last string cannot be there: stepping says so
        at = int(runs[-1][-1])
        runs[-1] = runs[-1][:-1]
    found = np.concatenate([heads[:0], *(np.asarray(run, np.int64) for run in runs)])
    return (found + start, start + at) if found.size else None


def _true_in(flags: NDArray[Any]) -> NDArray[Any]:
    """Where flags are set of which no two lie within 8 bytes, found word by word."""
    import numpy as np

    words = flags.view("<u8")
    found = np.flatnonzero(words)
    # A set word is 1 << 8k: the product has byte 7 - k of the constant, which is k, on top.
    return found * 8 + (words[found] * np.uint64(0x0001020304050607) >> np.uint64(56)).astype(np.int64)


def _chain(
    part: NDArray[Any], is_head: NDArray[Any], heads: NDArray[Any], nexts: NDArray[Any], count: int
) -> tuple[list[Any], int | None]:
    """Runs of heads from offset 0 on, and where they lead: proved ones, and single steps between them.

    None in place of where they lead if the chain breaks too often for this to be worth it.
    """
    import numpy as np

    # The heads after which the chain breaks; it ends with the last.
    breaks = np.append(np.flatnonzero(nexts[:-1] != heads[1:]), heads.size - 1)
    runs: list[Any] = []
    at, left, steps = 0, count, 0
    while left and at < is_head.size:
        if len(runs) > MAX_RUNS or steps > MAX_STEPS:
            return runs, None
        if is_head[at]:
            first = int(heads.searchsorted(at))
            run = heads[first : min(int(breaks[breaks.searchsorted(first)]) + 1, first + left)]
            runs.append(run)
            left -= run.size
            at = int(nexts[first + run.size - 1])
        else:
            if not runs or not isinstance(runs[-1], list):
                runs.append([])
            runs[-1].append(at)
            left, steps = left - 1, steps + 1
            at += 8 + _LENGTH.unpack_from(part.data, at)[0]
    return runs, at


def _step(data: NDArray[Any], start: int, stop: int, count: int) -> tuple[NDArray[Any], int]:
    """The heads in a window, one after the other."""
    import numpy as np

    buffer, size, at = data.data, data.size, start
    heads = array("q")
    length_at = _LENGTH.unpack_from
    for i in range(count):
        if i and at >= stop:
            break
        if at + 8 > size:
            raise TruncatedStringError(i, at, None)
        (length,) = length_at(buffer, at)
        heads.append(at)
        at += 8 + length
        if at > size:
            raise TruncatedStringError(i, heads[-1], length)
    return np.frombuffer(heads, np.int64), at
