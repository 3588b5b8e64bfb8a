"""Reading a header from a mapped file: every read is checked against the bytes that are there."""

from __future__ import annotations

import struct
from pathlib import Path

from qformat.errors import FormatError

CUT_SHORT = "the file is cut short or damaged: copy or download it again"
DAMAGED = "the file is damaged, or was written by a faulty tool: download it again, or write it anew"
MAX_NAME = 65535  # bytes of a key or a tensor's name, from the specification

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class Cursor:
    """A position in a header. Nothing is allocated for a size before it was checked."""

    def __init__(self, buffer: memoryview, path: Path) -> None:
        self.buffer = buffer
        self.path = path
        self.size = len(buffer)
        self.at = 0

    @property
    def left(self) -> int:
        """Bytes from here to the end."""
        return self.size - self.at

    def error(
        self, what: str, *, at: int | None = None, tensor: str | None = None, hint: str = DAMAGED
    ) -> FormatError:
        """A FormatError that names the file and the byte."""
        where = self.at if at is None else at
        return FormatError(what, file=self.path, tensor=tensor, offset=where, hint=hint)

    def need(self, count: int, what: str, tensor: str | None = None) -> None:
        """Check that ``count`` bytes follow."""
        left = self.size - self.at
        if count > left:
            said = f"{what} needs {count:,} bytes, but the file ends after {left:,}"
            raise self.error(said, tensor=tensor, hint=CUT_SHORT)

    def u32(self, what: str, tensor: str | None = None) -> int:
        """Read a u32."""
        self.need(4, what, tensor)
        (value,) = _U32.unpack_from(self.buffer, self.at)
        self.at += 4
        return int(value)

    def u64(self, what: str) -> int:
        """Read a u64."""
        self.need(8, what)
        (value,) = _U64.unpack_from(self.buffer, self.at)
        self.at += 8
        return int(value)

    def name(self, what: str) -> str:
        """Read a key or a tensor's name, which must be UTF-8 of sane length."""
        start = self.at
        length = self.u64(what)
        if length > MAX_NAME:
            raise self.error(f"{what} claims {length:,} bytes; {MAX_NAME:,} are allowed", at=start)
        self.need(length, what)
        raw = self.buffer[self.at : self.at + length]
        try:
            text = str(raw, "utf-8")
        except UnicodeDecodeError as fault:
            raise self.error(f"{what} is not valid UTF-8: {fault.reason}", at=self.at + fault.start) from None
        self.at += length
        return text
