"""The digest of a checkpoint's content, which a measurement names so that it can be traced."""

from __future__ import annotations

import hashlib

from qformat.files import container as box
from qformat.files.checkpoint import Checkpoint

PIECE = 8 << 20


def content_digest(checkpoint: Checkpoint) -> str:
    """A container's own content digest; else the same kind of digest over the arrays, read in full.

    A container that was made of plain safetensors names this digest as that of its source.
    """
    if box.CONTENT in checkpoint.metadata:
        return checkpoint.metadata[box.CONTENT]
    lines = [
        (info.name, info.dtype, info.shape, _digest(checkpoint, info.name))
        for info in checkpoint.tensors.values()
    ]
    return box.content_digest(box.content_lines({}, {}, lines))


def _digest(checkpoint: Checkpoint, tensor: str) -> str:
    found = hashlib.sha256()
    for plane in checkpoint.tensors[tensor].planes:
        data = checkpoint.plane(tensor, plane).reshape(-1).view("u1")
        for start in range(0, data.size, PIECE):
            found.update(data[start : start + PIECE].data)
    return found.hexdigest()
