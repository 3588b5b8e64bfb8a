"""Arrays in key-values as sequences that decode only what is asked of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from qformat.errors import FormatError
from qformat.files.gguf import strings
from qformat.files.gguf.cursor import DAMAGED
from qformat.files.gguf.types import CODES, ValueType

if TYPE_CHECKING:
    from numpy.typing import NDArray

Number = int | float | bool


class NumberArray(Sequence[Number]):
    """An array of numbers or bools; ``numpy()`` maps it without a copy."""

    def __init__(self, item: ValueType, count: int, raw: NDArray[Any]) -> None:
        self.item = item
        self._count = count
        self._raw = raw

    def numpy(self) -> NDArray[Any]:
        """All items as a read-only little-endian array."""
        import numpy as np

        return self._raw.view(np.dtype(CODES[self.item]).newbyteorder("<"))

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> Number: ...
    @overload
    def __getitem__(self, at: slice) -> list[Number]: ...
    def __getitem__(self, at: int | slice) -> Number | list[Number]:
        found = self.numpy()[at]
        return found.tolist()  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[Number]:
        step = 1 << 16
        for start in range(0, self._count, step):
            yield from self[start : start + step]

    def __repr__(self) -> str:
        return f"<array of {self._count} {self.item.label}>"


class StringArray(Sequence[str]):
    """An array of strings, found again window by window.

    Raises
    ------
    FormatError
        From an access to a string that is not UTF-8; ``raw`` gives its bytes.
    """

    def __init__(self, extent: strings.Extent, data: NDArray[Any], path: Path, key: str) -> None:
        self._extent = extent
        self._data = data
        self._buffer = data.data
        self._path, self._key = path, key
        self._last: tuple[int, list[int]] | None = None  # the window that was asked for last

    def __len__(self) -> int:
        return self._extent.count

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            start, stop, step = at.indices(len(self))
            if step == 1:
                return list(self._run(start, stop))
            return [self._text(i) for i in range(start, stop, step)]
        return self._text(self._place(at))

    def __iter__(self) -> Iterator[str]:
        return self._run(0, len(self))

    def __repr__(self) -> str:
        return f"<array of {len(self)} strings>"

    def raw(self, at: int) -> bytes:
        """The bytes of one string, whether they are UTF-8 or not."""
        start, end = self.span(at)
        return bytes(self._buffer[start:end])

    def span(self, at: int) -> tuple[int, int]:
        """Where the bytes of one string lie in the file."""
        at = self._place(at)
        last = self._last
        first = self._extent.indices[last[0]] if last else 0
        if last is None or not first <= at < first + len(last[1]) - 1:
            last = self._last = self._find(self._extent.window_of(at))
            first = self._extent.indices[last[0]]
        return last[1][at - first] + 8, last[1][at - first + 1]

    def _run(self, start: int, stop: int) -> Iterator[str]:
        while start < stop:
            window, heads = self._find(self._extent.window_of(start))
            first = self._extent.indices[window]
            end = min(stop, first + len(heads) - 1)
            for at in range(start - first, end - first):
                raw = self._buffer[heads[at] + 8 : heads[at + 1]]
                try:
                    yield str(raw, "utf-8")
                except UnicodeDecodeError as error:
                    raise self._not_utf8(first + at, heads[at] + 8, error) from None
            start = end

    def _find(self, window: int) -> tuple[int, list[int]]:
        extent = self._extent
        first = extent.indices[window]
        heads, end = strings.window(self._data, extent.offsets[window], extent.count - first)
        return window, [*heads.tolist(), end]

    def _place(self, at: int) -> int:
        place = at + len(self) if at < 0 else at
        if not 0 <= place < len(self):
            raise IndexError(f"string {at} of an array of {len(self)}")
        return place

    def _text(self, at: int) -> str:
        start, end = self.span(at)
        try:
            return str(self._buffer[start:end], "utf-8")
        except UnicodeDecodeError as error:
            raise self._not_utf8(at, start, error) from None

    def _not_utf8(self, at: int, start: int, error: UnicodeDecodeError) -> FormatError:
        return FormatError(
            f"string {at} of key {self._key!r} is not valid UTF-8: {error.reason}",
            file=self._path,
            offset=start + error.start,
            hint=DAMAGED,
        )
