r"""Changing bytes of a file in place so that a kill at any moment can be undone.

Before a byte changes, those that are there go to a small file beside it and to the disk::

    b"qformat undo 1\n"  u64 offset  the bytes that were there  SHA-256 of all before

When the change is on the disk, too, that file is removed. While it lies there the other is not to
be trusted: opening it is an error, and `recover` puts the old bytes back. One whose digest is wrong
was itself cut short; then nothing had been changed yet.

Files of one folder that change together have one such file between them, so that all of them are as
before or none::

    b"qformat undo of a set 1\n"  for each: u32 length, name, u64 offset, u64 length, bytes  SHA-256
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from qformat.errors import FormatError, TargetError, unwritable

MAGIC = b"qformat undo 1\n"
SET_MAGIC = b"qformat undo of a set 1\n"
_OFFSET = struct.Struct("<Q")
_NAME, _EXTENT = struct.Struct("<I"), struct.Struct("<QQ")
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
    if _is_there(undo_file(path)) and _kept(undo_file(path)) is not None:
        raise FormatError(
            "an edit of it is under way, or was cut short",
            file=path,
            hint="`qformat edit FILE` puts it right",
        )
    together = set_file(path.resolve().parent)
    if together.exists() and any(part.name == path.name for part in _kept_of_set(together) or ()):
        raise FormatError(
            "an edit of the set that it belongs to is under way, or was cut short",
            file=path,
            hint="`qformat edit FOLDER` puts it right",
        )


def _is_there(journal: Path) -> bool:
    """A name that is too long for the disk is not there, which `Path.exists` takes for an error."""
    try:
        return journal.exists()
    except OSError:
        return False


def recover(path: Path) -> bool:
    """Undo a change that was cut short; whether there was one."""
    journal = undo_file(path)
    if not _is_there(journal):
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


@dataclass(frozen=True)
class Part:
    """Bytes of one file of a folder, from an offset on."""

    name: str
    offset: int
    data: bytes


def set_file(folder: Path) -> Path:
    """Where the bytes are kept that a change of several files of a folder replaces."""
    return folder / ".set.undo"


def patch_set(folder: Path, parts: Sequence[Part]) -> None:
    """Replace bytes of several files of a folder: of all, or after an error or Ctrl-C of none.

    Raises
    ------
    TargetError
        If a file cannot be written, or another edit of them is under way.
    """
    old = [_read(folder, part) for part in parts]
    journal = set_file(folder)
    try:
        _keep_body(journal, SET_MAGIC + b"".join(_record(part) for part in old))
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        _write_set(folder, parts)
    except BaseException:
        _write_set(folder, old)
        _drop(journal)
        raise
    _drop(journal)


def recover_set(folder: Path) -> bool:
    """Undo a change of several files that was cut short; whether there was one."""
    journal = set_file(folder)
    if not journal.exists():
        return False
    kept = _kept_of_set(journal)
    if kept is not None:
        _write_set(folder, kept)
    _drop(journal)
    return kept is not None


def _read(folder: Path, part: Part) -> Part:
    with _opened(folder / part.name) as fd:
        return Part(part.name, part.offset, os.pread(fd, len(part.data), part.offset))


def _write_set(folder: Path, parts: Sequence[Part]) -> None:
    for part in parts:
        with _opened(folder / part.name) as fd:
            _write(fd, part.offset, part.data)


def _record(part: Part) -> bytes:
    name = os.fsencode(part.name)
    return _NAME.pack(len(name)) + name + _EXTENT.pack(part.offset, len(part.data)) + part.data


def _kept_of_set(journal: Path) -> list[Part] | None:
    """What the journal of a set keeps; None if it was not finished."""
    body = _body(journal, SET_MAGIC)
    if body is None:
        return None
    parts, at = [], len(SET_MAGIC)
    while at < len(body):
        (length,) = _NAME.unpack_from(body, at)
        at += _NAME.size + length
        name = os.fsdecode(body[at - length : at])
        offset, size = _EXTENT.unpack_from(body, at)
        at += _EXTENT.size + size
        parts.append(Part(name, offset, body[at - size : at]))
    return parts


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDWR)
    except OSError as error:
        raise unwritable(path, error) from None
    try:
        yield fd
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        os.close(fd)


def _write(fd: int, at: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, at)
        at, view = at + done, view[done:]
    os.fsync(fd)


def _keep(journal: Path, offset: int, old: bytes) -> None:
    _keep_body(journal, MAGIC + _OFFSET.pack(offset) + old)


def _keep_body(journal: Path, body: bytes) -> None:
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
    body = _body(journal, MAGIC)
    if body is None:
        return None
    (offset,) = _OFFSET.unpack_from(body, len(MAGIC))
    return offset, body[len(MAGIC) + _OFFSET.size :]


def _body(journal: Path, magic: bytes) -> bytes | None:
    raw = journal.read_bytes()
    body, digest = raw[:-_DIGEST], raw[-_DIGEST:]
    return body if body.startswith(magic) and hashlib.sha256(body).digest() == digest else None


def _drop(journal: Path) -> None:
    journal.unlink()
    _sync_folder(journal)


def _sync_folder(path: Path) -> None:
    fd = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
