"""NumPy archives as checkpoints: ``.npz`` with one array per tensor, mapped and never loaded.

``numpy.savez`` writes a zip archive of ``NAME.npy`` members without compression, so each array lies
in the file as it is. Two-byte items without a type (``|V2``) are bfloat16, which NumPy cannot name.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qformat.blocks import dtypes
from qformat.errors import FormatError
from qformat.files.checkpoint import Checkpoint, Stored, TensorInfo
from qformat.files.format import FileFormat
from qformat.files.safetensors import Mapped, is_count
from qformat.plugins import hookimpl

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_HEADER = 10_000
LOCAL_HEADER = struct.Struct("<4s5H3I2H")


class NpzCheckpoint:
    """A NumPy archive; opening reads the directory and each array's header."""

    format = "npz"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: tuple[Path, ...] = (path,)
        self.metadata: Mapping[str, str] = {}
        self.attachments: Mapping[str, int] = {}
        self.digests: Mapping[str, str] = {}
        self.tensors: Mapping[str, TensorInfo] = {
            s.name: TensorInfo(s.name, s.shape, s.dtype, {"": s}) for s in _arrays(path)
        }
        self._mapped = Mapped()

    def plane(self, tensor: str, plane: str = "") -> NDArray[Any]:
        """The array itself, mapped from the file."""
        return self._mapped.array(self.tensors[tensor].planes[plane])

    def read_attachment(self, name: str) -> bytes:
        """Nothing rides along in such an archive."""
        raise FormatError(f"there is no file {name!r} in it", file=self.path)


def _arrays(path: Path) -> Iterable[Stored]:
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            found = [_array(member, file, path) for member in archive.infolist()]
    except zipfile.BadZipFile as error:
        raise FormatError(f"the archive is damaged: {error}", file=path) from None
    if len({stored.name for stored in found}) < len(found):
        raise FormatError("two arrays have the same name", file=path)
    return found


def _array(member: zipfile.ZipInfo, file: io.BufferedReader, path: Path) -> Stored:
    import numpy as np

    name = member.filename.removesuffix(".npy")

    def bad(what: str, hint: str | None = None) -> FormatError:
        return FormatError(what, file=path, tensor=name, offset=member.header_offset, hint=hint)

    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        raise bad("it is compressed, so it cannot be mapped", "write it with numpy.savez")
    file.seek(member.header_offset)
    local = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size).ljust(LOCAL_HEADER.size, b"\0"))
    start = member.header_offset + LOCAL_HEADER.size + local[-2] + local[-1]
    file.seek(start)
    head = io.BytesIO(file.read(min(member.file_size, MAX_HEADER + 16)))
    try:
        version = np.lib.format.read_magic(head)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(head, max_header_size=MAX_HEADER)
    except (ValueError, SyntaxError, EOFError) as error:
        raise bad(f"its header cannot be read: {error}") from None
    if fortran and len(shape) > 1:
        raise bad("it is stored column by column", "save numpy.ascontiguousarray of it")
    kind = _name(dtype)
    if kind is None:
        raise bad(f"its type {dtype.str} is not one that files of tensors have")
    if not all(is_count(n) for n in shape):
        raise bad(f"its shape {shape} is not one of counts")
    count = math.prod(shape)
    size = dtypes.nbytes(kind, count)
    if head.tell() + size != member.file_size or start + member.file_size > path.stat().st_size:
        raise bad(f"its shape needs {size:,} bytes, it has {member.file_size - head.tell():,}")
    return Stored(name, kind, tuple(int(n) for n in shape), path, start + head.tell(), size)


def _name(dtype: Any) -> str | None:
    """Little-endian numbers and booleans under the names that files give them."""
    letters = {"f": "F", "i": "I", "u": "U"}
    if dtype.str in ("|V2", "|b1"):
        return "BF16" if dtype.str == "|V2" else "BOOL"
    name = f"{letters.get(dtype.kind, '?')}{dtype.itemsize * 8}"
    return name if name in dtypes.NAMES and dtype.str[0] in "<|" else None


def _claims(head: bytes, path: Path) -> bool:
    """A zip archive whose members are all ``.npy``; PyTorch's are zip archives too."""
    if head[:4] != b"PK\x03\x04" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return all(name.endswith(".npy") for name in archive.namelist())


def _open(path: Path) -> Checkpoint:
    return NpzCheckpoint(path)


@hookimpl
def qformat_formats() -> Iterable[FileFormat]:
    return (FileFormat("npz", _claims, _open),)
