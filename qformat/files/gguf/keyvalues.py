"""A GGUF's key-values: where each lies is known from opening, what it says is decoded when asked for."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qformat.errors import FormatError
from qformat.files.gguf import strings
from qformat.files.gguf.arrays import NumberArray, StringArray
from qformat.files.gguf.cursor import CUT_SHORT, DAMAGED, Cursor
from qformat.files.gguf.types import CODES, VALUE_TYPES, WIDTHS, ValueType

if TYPE_CHECKING:
    from numpy.typing import NDArray

Decoded = int | float | bool | str | NumberArray | StringArray
MAX_KEYS = 1 << 20
SMALLEST_PAIR = 8 + 4 + 1  # a key of no bytes, a type, a value of one byte
SHOWN = 120  # characters of a string that stand for it in a list


@dataclass(frozen=True, slots=True)
class Value:
    """One value: its type, its extent in the file, and the way to decode it.

    ``item`` is the type of an array's items, None for a scalar; ``count`` the number of items, 1
    for a scalar. ``offset`` and ``nbytes`` span the encoded value without its key and type.
    """

    key: str
    type: ValueType
    item: ValueType | None
    count: int
    offset: int
    nbytes: int
    data: NDArray[Any] = field(repr=False, compare=False)
    path: Path = field(repr=False, compare=False)
    extent: strings.Extent | None = field(default=None, repr=False, compare=False)

    @property
    def is_array(self) -> bool:
        return self.item is not None

    def raw(self) -> bytes:
        """The encoded value, as it is in the file."""
        return self.data[self.offset : self.offset + self.nbytes].tobytes()

    def read(self) -> Decoded:
        """The decoded value; an array decodes only the items that are asked of it.

        Raises
        ------
        FormatError
            If a string is not UTF-8; that of an array, only when the item is asked for.
        """
        if self.extent is not None:
            return StringArray(self.extent, self.data, self.path, self.key)
        if self.item is not None:
            return NumberArray(self.item, self.count, self.data[self.offset + 12 : self.offset + self.nbytes])
        if self.type is ValueType.STRING:
            return self._text()
        (number,) = struct.unpack_from("<" + CODES[self.type], self.data.data, self.offset)
        return number  # type: ignore[no-any-return]

    def _text(self) -> str:
        try:
            return str(self.data.data[self.offset + 8 : self.offset + self.nbytes], "utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(
                f"the value of key {self.key!r} is not valid UTF-8: {error.reason}",
                file=self.path,
                offset=self.offset + 8 + error.start,
                hint=DAMAGED,
            ) from None

    def describe(self) -> str:
        """A short string: the scalar itself, unescaped, or what kind of array it is."""
        if self.item is not None:
            kind = "strings" if self.item is ValueType.STRING else self.item.label
            return f"array of {self.count} {kind}"
        if self.type is ValueType.STRING:
            return _short(self.data[self.offset + 8 : self.offset + self.nbytes])
        value = self.read()
        if self.type is ValueType.FLOAT32:
            return _shortest_float32(float(value))  # type: ignore[arg-type]
        return str(value).lower() if isinstance(value, bool) else str(value)


def _short(raw: NDArray[Any]) -> str:
    try:
        # A character has at most 4 bytes; "ignore" would hide a fault, so a cut one is cut off here.
        text = raw.tobytes().decode("utf-8") if raw.size <= 4 * SHOWN else _cut(raw[: 4 * SHOWN].tobytes())
    except UnicodeDecodeError:
        return f"string of {raw.size} bytes that are not UTF-8"
    short = len(text) <= SHOWN and raw.size <= 4 * SHOWN
    return text if short else f"{text[:SHOWN]}… ({raw.size} bytes)"


def _cut(raw: bytes) -> str:
    """The characters that ``raw`` holds whole."""
    end = len(raw)
    while end and end > len(raw) - 4 and raw[end - 1] & 0xC0 == 0x80:
        end -= 1
    if end and raw[end - 1] >= 0xC0:
        end -= 1
    return raw[:end].decode("utf-8")


def _shortest_float32(value: float) -> str:
    import numpy as np

    return str(np.float32(value))


class KeyValues(Mapping[str, Value]):
    """A file's key-values in their order.

    >>> from qformat.files.gguf.types import ValueType
    >>> KeyValues({}).scalar("general.architecture", ValueType.STRING) is None
    True
    """

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = dict(values)

    def __getitem__(self, key: str) -> Value:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def read(self, key: str, default: Decoded | None = None) -> Decoded | None:
        """The decoded value of a key, or the default if there is no such key."""
        value = self._values.get(key)
        return default if value is None else value.read()

    def scalar(self, key: str, *types: ValueType) -> Any:
        """The decoded value of a key that must have one of these types; None if there is none.

        Raises
        ------
        FormatError
            If the key has another type.
        """
        value = self._values.get(key)
        if value is None:
            return None
        if value.type not in types:
            wanted = " or ".join(t.label for t in types)
            raise FormatError(
                f"key {key!r} must be {wanted}, but is {value.type.label}",
                file=value.path,
                offset=value.offset,
                hint=DAMAGED,
            )
        return value.read()


def parse(cursor: Cursor, data: NDArray[Any], count: int) -> KeyValues:
    """Walk over ``count`` key-values, noting where each lies."""
    values: dict[str, Value] = {}
    for i in range(count):
        start = cursor.at
        key = cursor.name(f"key {i + 1} of {count}")
        if not key:
            raise cursor.error(f"key {i + 1} of {count} is empty", at=start)
        if key in values:
            raise cursor.error(f"the key {key!r} stands twice", at=start)
        values[key] = _value(cursor, data, key)
    return KeyValues(values)


def _value(cursor: Cursor, data: NDArray[Any], key: str) -> Value:
    kind = _type(cursor, f"the type of key {key!r}")
    start = cursor.at
    if kind is ValueType.ARRAY:
        return _array(cursor, data, key)
    if kind is ValueType.STRING:
        length = cursor.u64(f"the length of key {key!r}")
        if length > cursor.left:
            what = (
                f"the string of key {key!r} claims {length:,} bytes, but the file ends after {cursor.left:,}"
            )
            raise cursor.error(what, at=start, hint=CUT_SHORT)
        cursor.at += length
    else:
        cursor.need(WIDTHS[kind], f"the {kind.label} of key {key!r}")
        if kind is ValueType.BOOL:
            _check_bools(cursor, data[start : start + 1], key)
        cursor.at += WIDTHS[kind]
    return Value(key, kind, None, 1, start, cursor.at - start, data, cursor.path)


def _type(cursor: Cursor, what: str) -> ValueType:
    number = cursor.u32(what)
    kind = VALUE_TYPES.get(number)
    if kind is None:
        raise cursor.error(
            f"{what} is {number}; the types known are 0 to {max(VALUE_TYPES)}", at=cursor.at - 4
        )
    return kind


def _array(cursor: Cursor, data: NDArray[Any], key: str) -> Value:
    start = cursor.at
    item = _type(cursor, f"the item type of key {key!r}")
    if item is ValueType.ARRAY:
        what = f"key {key!r} is an array of arrays, which neither qformat nor llama.cpp reads"
        raise cursor.error(what, at=start, hint="write the file without this key")
    count = cursor.u64(f"the number of items of key {key!r}")
    least = count * (8 if item is ValueType.STRING else WIDTHS[item])
    if least > cursor.left:
        what = (
            f"key {key!r} claims {count:,} items of type {item.label}, which need at least {least:,} bytes, "
        )
        raise cursor.error(what + f"but the file ends after {cursor.left:,}", at=start + 4, hint=CUT_SHORT)
    extent = None
    if item is ValueType.STRING:
        extent = _walk(cursor, data, key, count)
        cursor.at = extent.end
    else:
        if item is ValueType.BOOL and count:
            _check_bools(cursor, data[cursor.at : cursor.at + count], key)
        cursor.at += least
    return Value(key, ValueType.ARRAY, item, count, start, cursor.at - start, data, cursor.path, extent)


def _walk(cursor: Cursor, data: NDArray[Any], key: str, count: int) -> strings.Extent:
    try:
        return strings.walk(data, cursor.at, count)
    except strings.TruncatedStringError as error:
        needs = 8 if error.length is None else 8 + error.length
        what = f"string {error.index} of {count} of key {key!r} needs {needs:,} bytes"
        left = f"but the file ends after {cursor.size - error.offset:,}"
        raise cursor.error(f"{what}, {left}", at=error.offset, hint=CUT_SHORT) from None


def _check_bools(cursor: Cursor, raw: NDArray[Any], key: str) -> None:
    if raw.max() > 1:
        at = int((raw > 1).argmax())
        what = f"a bool of key {key!r} is {int(raw[at])}; expected 0 or 1"
        raise cursor.error(what, at=cursor.at + at)
