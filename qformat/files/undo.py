r"""Changing bytes of a file in place so that a kill at any moment can be undone.

Before a byte changes, those that are there go to a small file beside it and to the disk::

    b"qformat undo 1\n"  u64 offset  the bytes that were there  SHA-256 of all before

When the change is on the disk, too, that file is removed. While it lies there the other is not to
be trusted: opening it is an error, and `recover` puts the old bytes back. One whose digest is wrong
was itself cut short; then nothing had been changed yet.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from qformat.errors import FormatError, TargetError

MAGIC = b"qformat undo 1\n"
_OFFSET = struct.Struct("<Q")
_DIGEST = 32


def undo_file(path: Path) -> Path:
    """Where the bytes are kept that a change of ``path`` replaces."""
    path = path.resolve()
    return path.with_name(f".{path.name}.undo")


def check(path: Path) -> None:
    """Refuse a file whose change did not come to its end.

    Raises
    ------
    FormatError
        If it has to be recovered first.
    """
    if undo_file(path).exists() and _kept(undo_file(path)) is not None:
        raise FormatError(
            "an edit of it is under way, or was cut short",
            file=path,
            hint="`qformat edit FILE` puts it right",
        )


def recover(path: Path) -> bool:
    """Undo a change that was cut short; whether there was one."""
    journal = undo_file(path)
    if not journal.exists():
        return False
    kept = _kept(journal)
    if kept is not None:
        with _opened(path) as fd:
            _write(fd, *kept)
    _drop(journal)
    return kept is not None


def patch(path: Path, offset: int, data: bytes) -> None:
    """Replace the bytes from ``offset`` on: all of them, or after an error or Ctrl-C none.

    Raises
    ------
    TargetError
        If the file cannot be written, or another edit of it is under way.
    """
    journal = undo_file(path)
    with _opened(path) as fd:
        old = os.pread(fd, len(data), offset)
        _keep(journal, offset, old)
        try:
            _write(fd, offset, data)
            _drop(journal)
        except BaseException:
            _write(fd, offset, old)
            _drop(journal)
            raise


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDWR)
    except OSError as error:
        raise TargetError(f"cannot be written: {error.strerror}", file=path) from None
    try:
        yield fd
    except OSError as error:
        raise TargetError(f"cannot be written: {error.strerror}", file=path) from error
    finally:
        os.close(fd)


def _write(fd: int, at: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, at)
        at, view = at + done, view[done:]
    os.fsync(fd)


def _keep(journal: Path, offset: int, old: bytes) -> None:
    body = MAGIC + _OFFSET.pack(offset) + old
    try:
        fd = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise TargetError("another edit of this file is under way", file=journal) from None
    try:
        _write(fd, 0, body + hashlib.sha256(body).digest())
    except BaseException:
        journal.unlink()
        raise
    finally:
        os.close(fd)
    _sync_folder(journal)


def _kept(journal: Path) -> tuple[int, bytes] | None:
    """The offset and the bytes that a journal keeps; None if it was not finished."""
    raw = journal.read_bytes()
    body, digest = raw[:-_DIGEST], raw[-_DIGEST:]
    if not body.startswith(MAGIC) or hashlib.sha256(body).digest() != digest:
        return None
    (offset,) = _OFFSET.unpack_from(body, len(MAGIC))
    return offset, body[len(MAGIC) + _OFFSET.size :]


def _drop(journal: Path) -> None:
    journal.unlink()
    _sync_folder(journal)


def _sync_folder(path: Path) -> None:
    fd = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
