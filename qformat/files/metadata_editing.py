"""Changing the metadata of a safetensors file or a container: what its header becomes.

A container's digests cover its metadata, so the content digest is made anew; that of what stands
there is checked first, so that an edit cannot hide damage.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qformat.errors import IntegrityError, TargetError
from qformat.files import container as box
from qformat.files import strict_json
from qformat.files.container import Container
from qformat.files.edits import Change, Edit, NewHead, closest
from qformat.files.plain import PlainCheckpoint
from qformat.files.safetensors import MAX_HEADER, SafetensorsFile
from qformat.files.writing import ALIGN, SLACK

PLAIN_ALIGN = 8  # where safetensors' own writer begins the data


def edited(checkpoint: Container | PlainCheckpoint, edits: Sequence[Edit]) -> list[NewHead]:
    """What the heads of the files become; of a sharded container also its index.

    Raises
    ------
    TargetError
        For several plain files, and for keys that are a container's own.
    IntegrityError
        If a container's header does not match its content digest.
    """
    if isinstance(checkpoint, PlainCheckpoint):
        if len(checkpoint.files) != 1:
            raise TargetError(
                f"it is a set of {len(checkpoint.files)} files, of which each has metadata of its own",
                file=checkpoint.path,
                hint="name one file",
            )
        return [_new_head(checkpoint, checkpoint.files[0], edits, None)]
    _check_content(checkpoint)
    metadata = dict(checkpoint.metadata)
    for edit in edits:
        _apply(metadata, edit, checkpoint)
    content = _content(checkpoint, metadata)
    heads = [_new_head(checkpoint, path, edits, content) for path in checkpoint.files]
    return heads if len(heads) == 1 else [*heads, _new_index(checkpoint, content)]


def _new_index(checkpoint: Container, content: str) -> NewHead:
    """The index of a set with another content digest, which is as long."""
    path = index_of(checkpoint)
    old = path.read_bytes()
    told = checkpoint.metadata[box.CONTENT].encode()
    if old.count(told) != 1:
        raise IntegrityError(
            "the index does not have the files' content digest", file=path,
            hint="the set is damaged; `qformat verify` says where",
        )  # fmt: skip
    return NewHead(old.replace(told, content.encode()), len(old), (), path)


def index_of(checkpoint: Container) -> Path:
    """The one index of a set."""
    if checkpoint.path.is_file():
        return checkpoint.path
    found = sorted(checkpoint.path.glob("*.safetensors.index.json"))
    if len(found) != 1:
        raise TargetError(f"it has {len(found)} indexes, expected one", file=checkpoint.path)
    return found[0]


def _new_head(
    checkpoint: Container | PlainCheckpoint, path: Path, edits: Sequence[Edit], content: str | None
) -> NewHead:
    file = SafetensorsFile.open(path)
    metadata = dict(file.metadata)
    for edit in edits:
        _apply(metadata, edit, checkpoint)
    changes = tuple(
        Change(key, "string", file.metadata.get(key), metadata.get(key))
        for key in {**file.metadata, **metadata}
        if file.metadata.get(key) != metadata.get(key)
    )
    if content is not None:
        metadata[box.CONTENT] = content
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
        shard = len(checkpoint.files) == 1 and "-of-" in checkpoint.files[0].name
        raise IntegrityError(
            "its header does not match its content digest", file=checkpoint.path,
            hint="it is one shard of a set: name its folder" if shard
            else "the file is damaged; `qformat verify` says where",
        )  # fmt: skip


def _content(checkpoint: Container, metadata: Mapping[str, str]) -> str:
    """The content digest of a container with this metadata."""
    notes = {name: note for part in checkpoint.parts for name, note in part.notes.items()}
    stored = [s for part in checkpoint.parts for s in part.file.tensors.values()]
    named = [s for s in stored if not s.name.startswith(box.PAD_PREFIX)]
    arrays = [(s.name, s.dtype, s.shape, checkpoint.digests[s.name]) for s in named]
    return box.content_digest(box.content_lines(metadata, notes, arrays))


def _head(header: Mapping[str, Any], old: int, slack: int, align: int) -> bytes:
    """Length, JSON and spaces: as long as before if that is enough, else with new slack."""
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    size = old - 8
    if len(text) > size:
        size = len(text) + slack
        size += -(8 + size) % align
    return struct.pack("<Q", size) + text.ljust(size)
