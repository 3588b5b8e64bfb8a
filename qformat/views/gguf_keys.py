"""Where a GGUF's key-values are, in whatever they came in."""

from __future__ import annotations

from qformat.files.checkpoint import Checkpoint
from qformat.files.gguf import header, raw
from qformat.files.gguf.checkpoint import GGUFCheckpoint
from qformat.files.gguf.keyvalues import KeyValues


def gguf_keyvalues(source: Checkpoint) -> KeyValues | None:
    """The key-values of a GGUF, or of a container that was made of one; None for other checkpoints."""
    if isinstance(source, GGUFCheckpoint):
        return source.keyvalues
    names = raw.find(source.attachments)
    if not names:
        return None
    import numpy as np

    data = np.frombuffer(source.read_attachment(names[0]), np.uint8)
    return header.parse(data, source.path).keyvalues
