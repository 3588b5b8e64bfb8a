"""The header of a new GGUF, from typed key-values and a list of tensors."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qformat.errors import TargetError
from qformat.files.gguf.entries import MAX_COUNT
from qformat.files.gguf.keyvalues import Value
from qformat.files.gguf.types import (
    ALIGNMENT_KEY,
    CODES,
    DEFAULT_ALIGNMENT,
    LLAMA_MAX_DIMS,
    LLAMA_MAX_NAME,
    MAGIC,
    WIDTHS,
    TensorType,
    ValueType,
)
from qformat.files.gguf.writing import GGUFLayout

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 3


@dataclass(frozen=True)
class Typed:
    """A value to be written: a scalar of ``type``, or with ``array`` a sequence of them."""

    type: ValueType
    value: Any
    array: bool = False


KeyValue = tuple[str, Typed | Value]  # a Value of a file that was read is copied as it is


@dataclass(frozen=True)
class NewTensor:
    """A tensor to be written; ``shape`` is row-major, as everywhere but in the file."""

    name: str
    type: TensorType
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        elements = 1
        for n in self.shape:
            elements *= n
        return elements // self.type.block * self.type.size


def lay_out(keyvalues: Iterable[KeyValue], tensors: Sequence[NewTensor]) -> GGUFLayout:
    """Compute the header and every offset; the alignment is that of the key-values, or 32.

    Raises
    ------
    TargetError
        For a key, value or tensor that the format or llama.cpp does not take: it is named.
    """
    pairs = list(keyvalues)
    _check_unique([key for key, _ in pairs], "key")
    _check_unique([t.name for t in tensors], "tensor")
    alignment = _alignment(pairs)
    parts = [struct.pack("<4sIQQ", MAGIC, VERSION, len(tensors), len(pairs))]
    parts += [encode_pair(key, value) for key, value in pairs]
    at, offsets = 0, []
    for tensor in tensors:
        parts.append(_info(tensor, at))
        offsets.append(at)
        at += tensor.nbytes + -tensor.nbytes % alignment
    header = b"".join(parts)
    start = len(header) + -len(header) % alignment
    places = {t.name: (start + offset, t.nbytes) for t, offset in zip(tensors, offsets, strict=True)}
    return GGUFLayout(((0, header),), places, start + at)


def _check_unique(names: list[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise TargetError(f"the {what} {name!r} would stand twice in the GGUF")
        if not name:
            raise TargetError(f"a {what} of the GGUF would have no name")
        seen.add(name)


def _alignment(pairs: list[KeyValue]) -> int:
    value = dict(pairs).get(ALIGNMENT_KEY)
    if value is None:
        return DEFAULT_ALIGNMENT
    found = value.read() if isinstance(value, Value) else value.value
    if isinstance(found, int) and value.type is ValueType.UINT32 and found > 0 and found.bit_count() == 1:
        return found
    raise TargetError(f"{ALIGNMENT_KEY} must be a uint32 and a power of two, not {found!r}")


def _info(tensor: NewTensor, offset: int) -> bytes:
    """A tensor info: name, dimensions fastest first, type, offset."""
    if len(tensor.name.encode()) > LLAMA_MAX_NAME:
        raise TargetError(f"llama.cpp takes names of up to {LLAMA_MAX_NAME} bytes", tensor=tensor.name)
    if len(tensor.shape) > LLAMA_MAX_DIMS:
        raise TargetError(f"llama.cpp takes up to {LLAMA_MAX_DIMS} dimensions", tensor=tensor.name)
    row = tensor.shape[-1] if tensor.shape else 1
    if row % tensor.type.block:
        what = f"its rows of {row} elements do not divide into blocks of {tensor.type.block}"
        raise TargetError(f"{what}, as {tensor.type.name} has them", tensor=tensor.name)
    if min(tensor.shape, default=0) < 0:
        raise TargetError(f"its shape {list(tensor.shape)} has a negative dimension", tensor=tensor.name)
    if offset + tensor.nbytes >= MAX_COUNT:
        raise TargetError("it reaches past 2**63 bytes", tensor=tensor.name)
    dims = tensor.shape[::-1]
    head = _text(tensor.name, "its name")
    return head + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, tensor.type.number, offset)


def _text(text: str, what: str) -> bytes:
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TargetError(f"{what} cannot be written as UTF-8: {error.reason}") from None
    return struct.pack("<Q", len(raw)) + raw


def encode_pair(key: str, value: Typed | Value) -> bytes:
    """A key-value as it stands in the header: key, type, value.

    Raises
    ------
    TargetError
        If the value is not of its type.
    """
    if not key:
        raise TargetError("a key of the GGUF would have no name")
    return _text(key, f"key {key!r}") + _encode(key, value)


def _encode(key: str, value: Typed | Value) -> bytes:
    if isinstance(value, Value):
        return struct.pack("<I", value.type) + value.raw()
    what = f"the value of key {key!r}"
    if value.type is ValueType.ARRAY:
        raise TargetError(f"{what}: an array is given by its items' type")
    if not value.array:
        return struct.pack("<I", value.type) + _scalar(value.type, value.value, what)
    head = struct.pack("<IIQ", ValueType.ARRAY, value.type, len(value.value))
    if value.type is ValueType.STRING:
        return head + b"".join(_scalar(value.type, item, what) for item in value.value)
    return head + _numbers(value.type, value.value, what)


def _scalar(kind: ValueType, value: Any, what: str) -> bytes:
    if kind is ValueType.STRING:
        if isinstance(value, bytes):  # a token that is not UTF-8 is kept as it is
            return struct.pack("<Q", len(value)) + value
        if not isinstance(value, str):
            raise TargetError(f"{what} must be a string, not {value!r}")
        return _text(value, what)
    if kind is ValueType.BOOL and not isinstance(value, bool):
        raise TargetError(f"{what} must be true or false, not {value!r}")
    try:
        return struct.pack("<" + CODES[kind], value)
    except (struct.error, OverflowError, TypeError):
        raise TargetError(f"{what} must be a {kind.label}, not {value!r}") from None


def _numbers(kind: ValueType, items: Sequence[Any] | NDArray[Any], what: str) -> bytes:
    dtype = getattr(items, "dtype", None)
    if dtype is not None and dtype == "<" + CODES[kind]:
        return items.tobytes()  # type: ignore[union-attr]
    raw = bytearray(len(items) * WIDTHS[kind])
    for i, item in enumerate(items):
        raw[i * WIDTHS[kind] : (i + 1) * WIDTHS[kind]] = _scalar(kind, item, f"item {i} of {what}")
    return bytes(raw)
