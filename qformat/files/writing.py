"""Writing safetensors files whose sizes are all known beforehand: one pass, then the header, then rename."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qformat.blocks import dtypes
from qformat.errors import TargetError, unwritable
from qformat.files.container import PAD_PREFIX
from qformat.files.safetensors import MAX_HEADER, header_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALIGN = 64
SLACK = 1024  # spaces kept in a container's header for later edits of its metadata


@dataclass(frozen=True)
class Array:
    """An array to be stored."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        count = 1
        for n in self.shape:
            count *= n
        return dtypes.nbytes(self.dtype, count)


@dataclass(frozen=True)
class FileLayout:
    """Where everything of one file will lie: exact before a byte is written."""

    entries: tuple[tuple[str, str, tuple[int, ...], int, int], ...]  # name, dtype, shape, begin, end
    header_bytes: int  # the JSON and its padding
    data_bytes: int

    @property
    def data_start(self) -> int:
        return 8 + self.header_bytes

    @property
    def nbytes(self) -> int:
        return self.data_start + self.data_bytes

    def offsets(self) -> dict[str, int]:
        """Where each array begins in the file."""
        return {name: self.data_start + begin for name, _, _, begin, _ in self.entries}


def lay_out(
    arrays: list[Array], metadata: Mapping[str, str], *, align: bool, first_pad: int = 0, where: Path
) -> FileLayout:
    """Lay one file out; ``metadata`` must be at least as long as what will be written.

    With ``align`` each array starts on a 64-byte boundary: as the format allows no holes, what
    would be a hole is an array of zeros under a reserved name, numbered from ``first_pad``.
    """
    entries: list[tuple[str, str, tuple[int, ...], int, int]] = []
    at, pads = 0, first_pad
    for array in arrays:
        gap = -at % ALIGN
        if align and gap and array.nbytes:
            entries.append((f"{PAD_PREFIX}{pads}", "U8", (gap,), at, at + gap))
            at, pads = at + gap, pads + 1
        entries.append((array.name, array.dtype, array.shape, at, at + array.nbytes))
        at += array.nbytes
    length = len(header_text(entries, metadata).encode()) + (SLACK if align else 0)
    header_bytes = length + -(8 + length) % ALIGN
    if header_bytes > MAX_HEADER:
        raise TargetError(
            f"the header would have {header_bytes:,} bytes; {MAX_HEADER:,} are allowed",
            file=where,
            hint="write several files: --max-shard-size",
        )
    return FileLayout(tuple(entries), header_bytes, at)


class FileWriter:
    """One file being written; arrays may come in any order and in pieces."""

    def __init__(self, path: Path, layout: FileLayout) -> None:
        self.path = path
        self.layout = layout
        self._offsets = layout.offsets()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        os.ftruncate(self._fd, layout.nbytes)

    def write(self, name: str, offset: int, data: NDArray[Any] | bytes) -> None:
        """Write bytes of an array from ``offset`` on."""
        if not len(data):
            return
        at = self._offsets[name] + offset
        view = memoryview(data if isinstance(data, bytes) else data.data).cast("B")
        while view:
            done = os.pwrite(self._fd, view, at)
            at, view = at + done, view[done:]

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Write the header and bring everything to the disk."""
        text = header_text(list(self.layout.entries), metadata).encode()
        spare = self.layout.header_bytes - len(text)
        assert spare >= 0, "the metadata outgrew the room that the plan left for it"
        head = struct.pack("<Q", self.layout.header_bytes) + text + b" " * spare
        os.pwrite(self._fd, head, 0)
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


@contextlib.contextmanager
def staged(target: Path, *, folder: bool, overwrite: bool) -> Iterator[Path]:
    """A temporary file or folder beside ``target`` that takes its place when all went well.

    Whatever happens, nothing half-written is left behind, and an old target stays until the new
    one is complete.
    """
    stage = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        if target.exists() and not overwrite:
            raise TargetError(
                "it exists already", file=target, hint="choose another name, or add --overwrite"
            )
        if not target.parent.is_dir():
            raise TargetError("its folder does not exist", file=target, hint="make its folder first")
        _sweep(target)
        if folder:
            stage.mkdir()
        yield stage
        _replace(stage, target)
    except OSError as error:
        ours = error.filename is None or str(error.filename).startswith(str(stage))
        raise unwritable(target if ours else error.filename, error) from error
    finally:
        with contextlib.suppress(OSError):
            _remove(stage)


def _remove(stage: Path) -> None:
    if stage.is_dir():
        shutil.rmtree(stage)
    else:
        stage.unlink(missing_ok=True)


def _sweep(target: Path) -> None:
    """Remove what a run towards this target left behind when it was killed outright."""
    for stale in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
        number = stale.name.rsplit(".", 2)[1]
        if number.isdigit() and not _alive(int(number)):
            _remove(stale)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _replace(stage: Path, target: Path) -> None:
    if target.is_dir():
        old = target.with_name(f".{target.name}.{os.getpid()}.old")
        target.rename(old)
        stage.rename(target)
        shutil.rmtree(old)
    else:
        stage.replace(target)
    parent = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
