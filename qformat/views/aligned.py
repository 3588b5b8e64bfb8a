"""Two checkpoints of one model, seen under the same names and in the same storage."""

from __future__ import annotations

from qformat import families
from qformat.errors import FormatError, QFormatError
from qformat.files.checkpoint import Checkpoint
from qformat.files.strict_json import parse
from qformat.views.derived import DerivedCheckpoint
from qformat.views.gguf_keys import gguf_keyvalues
from qformat.views.hf_view import model_of_keys

EMBEDDING = "token_embd.weight"


def counterpart(of: Checkpoint, other: Checkpoint) -> Checkpoint:
    """``other`` as ``of`` names and stores its tensors; ``other`` itself where that cannot be told.

    One of the two may be a GGUF (or a container made of one) and the other a Hugging Face model (or
    a container made of that): what is compared then are the same rows in the same order.
    """
    if not other.tensors or any(name in of.tensors for name in other.tensors):
        return other
    try:
        return _as_gguf(other, of) if EMBEDDING in of.tensors else _as_hugging_face(other)
    except QFormatError:
        return other


def _as_gguf(source: Checkpoint, like: Checkpoint) -> Checkpoint:
    if "config.json" not in source.attachments:
        raise FormatError("it has no config.json", file=source.path)
    config = parse(source.read_attachment("config.json"), file=source.path, what="config.json")
    model = families.config_from_hf(config)
    shapes = {name: info.shape for name, info in source.tensors.items()}
    made = families.to_gguf(model, shapes, like.tensors[EMBEDDING].shape[0])
    return DerivedCheckpoint(source, made, {})


def _as_hugging_face(source: Checkpoint) -> Checkpoint:
    values = gguf_keyvalues(source)
    if values is None:
        raise FormatError("it is no GGUF", file=source.path)
    shapes = {name: info.shape for name, info in source.tensors.items()}
    return DerivedCheckpoint(source, families.to_hf(model_of_keys(source, values), shapes), {})
