"""Changing the metadata of a safetensors file or a container: what its header becomes.

A container's digests cover its metadata, so the content digest is made anew; that of what stands
there is checked first, so that an edit cannot hide damage.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from typing import Any

from qformat.errors import IntegrityError, TargetError
from qformat.files import container as box
from qformat.files import strict_json
from qformat.files.checkpoint import Stored
from qformat.files.container import Container
from qformat.files.edits import Change, Edit, NewHead, closest
from qformat.files.plain import PlainCheckpoint
from qformat.files.safetensors import MAX_HEADER, SafetensorsFile
from qformat.files.writing import ALIGN, SLACK

PLAIN_ALIGN = 8  # where safetensors' own writer begins the data


def edited(checkpoint: Container | PlainCheckpoint, edits: Iterable[Edit]) -> NewHead:
    """What the head of a file becomes.

    Raises
    ------
    TargetError
        For several files, and for keys that are a container's own.
    IntegrityError
        If a container's header does not match its content digest.
    """
    if len(checkpoint.files) != 1:
        raise TargetError(
            f"it is a set of {len(checkpoint.files)} files, of which each has metadata of its own",
            file=checkpoint.path,
            hint="name one file" if isinstance(checkpoint, PlainCheckpoint) else
            "make one file of it: qformat convert FOLDER one.safetensors --keep '*'",
        )  # fmt: skip
    file = SafetensorsFile.open(checkpoint.files[0])
    if isinstance(checkpoint, Container):
        _check_content(checkpoint)
    metadata = dict(file.metadata)
    for edit in edits:
        _apply(metadata, edit, checkpoint)
    changes = tuple(
        Change(key, "string", file.metadata.get(key), metadata.get(key))
        for key in {**file.metadata, **metadata}
        if file.metadata.get(key) != metadata.get(key)
    )
    if isinstance(checkpoint, Container):
        metadata[box.CONTENT] = _content(checkpoint, metadata)
    header = {**strict_json.parse(file.header, file=file.path, what="the header"), "__metadata__": metadata}
    slack = SLACK if isinstance(checkpoint, Container) else 0
    align = ALIGN if isinstance(checkpoint, Container) else PLAIN_ALIGN
    head = _head(header, file.data_start, slack, align)
    if len(head) > MAX_HEADER:
        raise TargetError(
            f"the header would have {len(head):,} bytes; {MAX_HEADER:,} are allowed", file=file.path
        )
    return NewHead(head, file.data_start, changes, file.path)


def _apply(metadata: dict[str, str], edit: Edit, checkpoint: Container | PlainCheckpoint) -> None:
    if box.claims_container({edit.key: ""}):
        raise TargetError(f"{edit.key!r} belongs to the container and cannot be changed")
    if isinstance(checkpoint, Container) and edit.key in _gguf_keys(checkpoint):
        raise TargetError(
            f"{edit.key!r} is a key of the GGUF that the container was made of",
            file=checkpoint.path,
            hint="edit the GGUF, and convert it again",
        )
    if edit.delete:
        if edit.key not in metadata:
            raise TargetError(f"there is no key {edit.key!r}", hint=closest(edit.key, metadata))
        del metadata[edit.key]
        return
    if edit.type not in (None, "string", "str") or not isinstance(edit.value, str):
        raise TargetError(
            f"the metadata of a safetensors file are strings; {edit.key!r} cannot be another type"
        )
    try:
        edit.value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TargetError(
            f"the value of key {edit.key!r} cannot be written as UTF-8: {error.reason}"
        ) from None
    metadata[edit.key] = edit.value


def _gguf_keys(checkpoint: Container) -> Mapping[str, Any]:
    """The key-values of a GGUF that a container carries."""
    from qformat.files.gguf import header, raw

    names = raw.find(checkpoint.attachments)
    if not names:
        return {}
    import numpy as np

    data = np.frombuffer(checkpoint.read_attachment(names[0]), np.uint8)
    return header.parse(data, checkpoint.path).keyvalues


def _check_content(checkpoint: Container) -> None:
    if _content(checkpoint, checkpoint.metadata) != checkpoint.metadata[box.CONTENT]:
        raise IntegrityError(
            "its header does not match its content digest", file=checkpoint.path,
            hint="the file is damaged; `qformat verify` says where",
        )  # fmt: skip


def _content(checkpoint: Container, metadata: Mapping[str, str]) -> str:
    """The content digest of a container of one file, with this metadata."""
    (part,) = checkpoint.parts
    stored: list[Stored] = [s for n, s in part.file.tensors.items() if not n.startswith(box.PAD_PREFIX)]
    arrays = [(s.name, s.dtype, s.shape, part.digests[s.name]) for s in stored]
    return box.content_digest(box.content_lines(metadata, part.notes, arrays))


def _head(header: Mapping[str, Any], old: int, slack: int, align: int) -> bytes:
    """Length, JSON and spaces: as long as before if that is enough, else with new slack."""
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    size = old - 8
    if len(text) > size:
        size = len(text) + slack
        size += -(8 + size) % align
    return struct.pack("<Q", size) + text.ljust(size)
