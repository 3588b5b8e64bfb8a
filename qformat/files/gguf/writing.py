"""Writing GGUF files whose every offset is known beforehand: streaming, to a temporary file, then rename."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qformat.errors import TargetError
from qformat.files.writing import staged

if TYPE_CHECKING:
    from numpy.typing import NDArray

Bytes = bytes | memoryview
Pieces = Iterable["bytes | memoryview | NDArray[Any]"]
ReadTensor = Callable[[str], Pieces]


@dataclass(frozen=True)
class GGUFLayout:
    """Where everything of one file will lie: exact before a byte is written.

    ``fixed`` is all that is no tensor, as (offset, bytes); what neither covers is zero.
    """

    fixed: tuple[tuple[int, Bytes], ...]
    tensors: Mapping[str, tuple[int, int]]  # name -> offset in the file, bytes; in the order of the data
    nbytes: int


class GGUFWriter:
    """One file being written; tensors may come in any order, in pieces, and from several threads."""

    def __init__(self, path: Path, layout: GGUFLayout) -> None:
        self.path = path
        self.layout = layout
        self._written = dict.fromkeys(layout.tensors, 0)
        self._lock = threading.Lock()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        os.ftruncate(self._fd, layout.nbytes)

    def write(self, name: str, offset: int, data: NDArray[Any] | Bytes) -> None:
        """Write bytes of a tensor from ``offset`` on.

        Raises
        ------
        TargetError
            If they reach past the tensor's end.
        """
        begin, nbytes = self.layout.tensors[name]
        view = _bytes_of(data)
        if offset < 0 or offset + len(view) > nbytes:
            what = f"bytes {offset} to {offset + len(view)} of a tensor of {nbytes:,} bytes"
            raise TargetError(f"cannot write {what}", file=self.path, tensor=name)
        self._put(begin + offset, view)
        with self._lock:
            self._written[name] += len(view)

    def finish(self) -> None:
        """Write the header and bring everything to the disk.

        Raises
        ------
        TargetError
            If a tensor was not written in full.
        """
        for name, (_, nbytes) in self.layout.tensors.items():
            if self._written[name] != nbytes:
                what = f"{self._written[name]:,} of its {nbytes:,} bytes were written"
                raise TargetError(what, file=self.path, tensor=name)
        for offset, data in self.layout.fixed:
            self._put(offset, memoryview(data))
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)

    def _put(self, at: int, view: memoryview) -> None:
        while view:
            done = os.pwrite(self._fd, view, at)
            at, view = at + done, view[done:]


def _bytes_of(data: NDArray[Any] | Bytes) -> memoryview:
    """The bytes of an array or buffer; those of a type that NumPy does not know (bfloat16) as well."""
    if isinstance(data, bytes | memoryview):
        return memoryview(data).cast("B")
    import numpy as np

    return np.ascontiguousarray(data).reshape(-1).view(np.uint8).data


def write_file(target: Path, layout: GGUFLayout, read: ReadTensor, *, overwrite: bool = False) -> None:
    """Write one file, tensor by tensor; ``read`` gives each one's bytes in pieces, or as a whole.

    Raises
    ------
    TargetError
        If the target exists, cannot be written, or a tensor gave too few or too many bytes.
    """
    write_files([(target, layout)], read, overwrite=overwrite)


def write_files(files: list[tuple[Path, GGUFLayout]], read: ReadTensor, *, overwrite: bool = False) -> None:
    """Write several files, the shards of one model: none takes its place before all are complete."""
    with contextlib.ExitStack() as stack:
        for target, layout in files:
            stage = stack.enter_context(staged(target, folder=False, overwrite=overwrite))
            with _opened(stage, layout) as writer:
                for name in layout.tensors:
                    _stream(writer, name, read(name))
                writer.finish()


def _stream(writer: GGUFWriter, name: str, pieces: Pieces) -> None:
    at = 0
    for piece in [pieces] if isinstance(pieces, bytes | memoryview) or hasattr(pieces, "dtype") else pieces:
        writer.write(name, at, piece)  # type: ignore[arg-type]
        at += piece.nbytes if hasattr(piece, "nbytes") else len(piece)  # type: ignore[arg-type]


@contextlib.contextmanager
def _opened(path: Path, layout: GGUFLayout) -> Iterator[GGUFWriter]:
    writer = GGUFWriter(path, layout)
    try:
        yield writer
    finally:
        writer.close()
