"""The small files that a container carries: config and tokenizer, or a GGUF's header with its key-values."""

from __future__ import annotations

from collections.abc import Mapping

from qformat.files.checkpoint import Checkpoint
from qformat.files.gguf import raw
from qformat.files.gguf.checkpoint import GGUFCheckpoint


def riders(source: Checkpoint) -> Mapping[str, int]:
    """What a container made of this checkpoint carries, with sizes."""
    if isinstance(source, GGUFCheckpoint):
        names = raw.attachment_names(len(source.shards))
        return {n: raw.skeleton_bytes(s) for n, s in zip(names, source.shards, strict=True)}
    return source.attachments


def read_rider(source: Checkpoint, name: str) -> bytes:
    """The content of one of them."""
    if isinstance(source, GGUFCheckpoint):
        shard = source.shards[raw.attachment_names(len(source.shards)).index(name)]
        return raw.skeleton(shard)
    return source.read_attachment(name)
