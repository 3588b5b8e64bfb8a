"""The safetensors envelope: ``u64 n``, ``n`` bytes of JSON, then the tensors' bytes without holes."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from qformat.blocks import dtypes
from qformat.errors import FormatError
from qformat.files import strict_json, undo
from qformat.files.checkpoint import Stored
from qformat.files.mapping import Map

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_HEADER = 100_000_000
MAX_COUNT = 1 << 63


def looks_like(head: bytes, size: int) -> bool:
    """Whether a file that begins with ``head`` has the shape of a safetensors file."""
    return len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= max(size, MAX_HEADER)


@dataclass(frozen=True)
class SafetensorsFile:
    """One file's header, checked in full against the file's size."""

    path: Path
    tensors: Mapping[str, Stored]
    metadata: Mapping[str, str]
    header: str  # the JSON as it stands, without its padding
    data_start: int
    size: int

    @classmethod
    def open(cls, path: Path) -> SafetensorsFile:
        """Read and check the header.

        Raises
        ------
        FormatError
            For anything that the format forbids: it names the tensor and says what was expected.
        """
        undo.check(path)
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(8)
            if len(head) < 8:
                raise FormatError(f"the file has {size} bytes, too few for a safetensors header", file=path)
            length = struct.unpack("<Q", head)[0]
            if length > MAX_HEADER:
                raise FormatError(
                    f"the header claims {length:,} bytes; {MAX_HEADER:,} are allowed", file=path
                )
            if 8 + length > size:
                raise FormatError(
                    f"the header claims {length:,} bytes, but the file ends after {size - 8:,}",
                    file=path,
                    hint="the file is cut short: copy or download it again",
                )
            raw = file.read(length)
        text = raw.rstrip(b" ")
        value = strict_json.parse(text, file=path, what="the header")
        if not isinstance(value, dict) or not text.startswith(b"{"):
            raise FormatError("the header is not a JSON object", file=path)
        metadata = _metadata(value.pop("__metadata__", {}), path)
        entries = {name: _entry(name, entry, 8 + length, path) for name, entry in value.items()}
        _check_no_holes(entries, 8 + length, size, path)
        ordered = dict(sorted(entries.items(), key=lambda item: (item[1].data_offset, item[1].nbytes)))
        return cls(path, ordered, metadata, text.decode(), 8 + length, size)


def _metadata(value: Any, path: Path) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise FormatError("__metadata__ must map strings to strings", file=path)
    return value


def is_count(value: Any) -> bool:
    """Whether a JSON value can be a size or an offset."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_COUNT


def _entry(name: str, value: Any, start: int, path: Path) -> Stored:
    def bad(what: str) -> FormatError:
        return FormatError(what, file=path, tensor=name)

    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise bad("its header entry must have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in dtypes.NAMES:
        raise bad(f"its dtype {str(dtype)[:40]!r} is unknown")
    if not isinstance(shape, list) or not all(is_count(n) for n in shape):
        raise bad("its shape must be an array of non-negative integers")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(is_count(n) for n in offsets):
        raise bad("its data_offsets must be two non-negative integers")
    count = 1
    for n in shape:
        count *= n
        if count >= MAX_COUNT:
            raise bad("its shape has more than 2**63 elements")
    begin, end = offsets
    if end - begin != dtypes.nbytes(dtype, count) or (count * dtypes.bits(dtype)) % 8:
        need = dtypes.nbytes(dtype, count)
        raise bad(f"its shape and dtype need {need:,} bytes, its offsets span {end - begin:,}")
    return Stored(name, dtype, tuple(shape), path, start + begin, end - begin)


def _check_no_holes(entries: Mapping[str, Stored], start: int, size: int, path: Path) -> None:
    at = start
    for entry in sorted(entries.values(), key=lambda e: (e.data_offset, e.nbytes)):
        if entry.data_offset != at:
            fault = "overlaps the one before it" if entry.data_offset < at else "leaves a hole before it"
            raise FormatError(f"its data {fault}", file=path, tensor=entry.name, offset=entry.data_offset)
        at += entry.nbytes
    if at != size:
        if at > size:
            raise FormatError(
                f"the tensors need {at - start:,} bytes, but only {size - start:,} follow the header",
                file=path,
                tensor=_holder(entries, size),
                offset=size,
                hint="the file is cut short: copy or download it again",
            )
        raise FormatError(f"{size - at:,} bytes follow the last tensor", file=path, offset=at)


def _holder(entries: Mapping[str, Stored], offset: int) -> str | None:
    """The tensor in whose bytes an offset lies."""
    for entry in entries.values():
        if entry.data_offset <= offset < entry.data_offset + entry.nbytes:
            return entry.name
    return None


class Mapped:
    """The arrays of one or more safetensors files, mapped when first asked for."""

    def __init__(self) -> None:
        self._maps: dict[Path, Map] = {}

    def bytes_of(self, stored: Stored) -> NDArray[Any]:
        """An array's bytes, as they are in the file."""
        if stored.file not in self._maps:
            self._maps[stored.file] = Map(stored.file)
        return self._maps[stored.file].bytes_of(stored)

    def array(self, stored: Stored) -> NDArray[Any]:
        """An array in its shape and dtype; read-only."""
        data = self.bytes_of(stored)
        return cast("NDArray[Any]", data.view(dtypes.numpy_dtype(stored.dtype)).reshape(stored.shape))


def header_text(
    entries: list[tuple[str, str, tuple[int, ...], int, int]], metadata: Mapping[str, str]
) -> str:
    """Header JSON for entries (name, dtype, shape, begin, end)."""
    value: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    for name, dtype, shape, begin, end in entries:
        value[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
