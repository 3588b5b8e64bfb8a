"""The one way in: a path to a checkpoint, whatever it is. Content decides, not the name."""

from __future__ import annotations

import os
from pathlib import Path

from qformat.errors import FormatError
from qformat.files.checkpoint import Checkpoint
from qformat.files.container import Container, claims_container
from qformat.files.format import open_by_plugin
from qformat.files.plain import PlainCheckpoint, parts_of_folder, parts_of_index
from qformat.files.safetensors import SafetensorsFile, looks_like

Source = str | os.PathLike[str] | Checkpoint


def opened(source: Source) -> Checkpoint:
    """A checkpoint that is open already, or that of a path."""
    return open_checkpoint(source) if isinstance(source, str | os.PathLike) else source


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Open a safetensors or GGUF file, an index, a model's folder, or a container; headers only.

    Raises
    ------
    FormatError
        If there is nothing there, or it is none of these, or it is damaged.
    """
    where = Path(path)
    try:
        if not where.exists():
            raise FormatError("no such file or folder", file=where)
        if where.is_dir():
            return _open_folder(where)
        with where.open("rb") as file:
            head = file.read(16)
        if head[:4] == b"GGUF":
            return _open_gguf(where)
        if looks_like(head, where.stat().st_size):
            return _checkpoint(where, [SafetensorsFile.open(where)], None)
        if head.lstrip()[:1] == b"{":
            return _checkpoint(where, parts_of_index(where), where.parent)
        if not head:
            raise FormatError("the file is empty", file=where)
        if (found := open_by_plugin(where, head)) is not None:
            return found
        raise FormatError(
            "this is neither a safetensors file nor a container nor a GGUF nor an index",
            file=where,
            hint=_guess(head),
        )
    except OSError as error:
        raise FormatError(f"cannot be read: {error.strerror}", file=error.filename or where) from None


def _open_folder(folder: Path) -> Checkpoint:
    """A folder's safetensors files; if it has none, its one GGUF model."""
    from qformat.files.gguf.folder import only_model

    if not any(folder.glob("*.safetensors*")):
        if path := only_model(folder):
            return _open_gguf(path)
        if (found := open_by_plugin(folder, b"")) is not None:
            return found
    return _checkpoint(folder, parts_of_folder(folder), folder)


def _open_gguf(path: Path) -> Checkpoint:
    from qformat.files.gguf.checkpoint import GGUFCheckpoint

    return GGUFCheckpoint.open(path)


def _checkpoint(path: Path, parts: list[SafetensorsFile], folder: Path | None) -> Checkpoint:
    coded = [claims_container(p.metadata) for p in parts]
    if all(coded):
        return Container(path, parts)
    if any(coded):
        raise FormatError("some of the shards are containers and some are not", file=path)
    return PlainCheckpoint(path, parts, folder)


def _guess(head: bytes) -> str:
    if head[:4] == b"PK\x03\x04" or head[:1] == b"\x80":
        return "it looks like a PyTorch pickle: load it with torch and save it as safetensors"
    if head[:7] == b"version":
        return "it looks like a Git LFS pointer: run `git lfs pull`"
    return "expected: safetensors, GGUF, a folder with safetensors files, or a *.safetensors.index.json"
