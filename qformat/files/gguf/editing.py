"""Changing a GGUF's key-values: what the header becomes, and which changes would break the file.

Tensor infos and the values that stay are copied byte for byte. A key that is there keeps its place
and its type; a new one goes to the end.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from qformat.errors import TargetError
from qformat.files.edits import Change, Edit, NewHead, closest
from qformat.files.gguf import header as headers
from qformat.files.gguf.building import Typed, encode_pair
from qformat.files.gguf.checkpoint import SPLIT_COUNT, SPLIT_NO, SPLIT_TENSORS, GGUFCheckpoint
from qformat.files.gguf.header import Header
from qformat.files.gguf.keyvalues import KeyValues, Value
from qformat.files.gguf.types import ALIGNMENT_KEY, MAGIC, ValueType
from qformat.files.gguf.values import type_label, typed

ARCHITECTURE = "general.architecture"
FIXED = {
    ALIGNMENT_KEY: "it decides where the tensors lie",
    SPLIT_NO: "it says which shard the file is",
    SPLIT_COUNT: "it says how many shards there are",
    SPLIT_TENSORS: "it says how many tensors the shards have",
}
_PER_TOKEN = ("tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type")


def edited(checkpoint: GGUFCheckpoint, edits: Iterable[Edit]) -> NewHead:
    """What the head of a file becomes; of a split model, that of its first file, which has the keys.

    Raises
    ------
    TargetError
        For a change that would break the file, and a value that its type cannot hold.
    """
    file = checkpoint.shards[0]
    if checkpoint.path.is_file() and not checkpoint.path.samefile(file.path):
        raise TargetError(
            "the key-values of a split model are in its first file",
            file=checkpoint.path,
            hint=f"edit {file.path.name}",
        )
    import numpy as np

    old = file.header
    pairs: dict[str, Value | Typed] = dict(old.keyvalues.items())
    for edit in edits:
        _apply(pairs, edit, old.keyvalues)
    head = _header(old, pairs)
    size = file.data.size
    padded = size >= old.data_start
    head += bytes(-len(head) % old.alignment if padded else 0)
    new = headers.parse(np.frombuffer(head, np.uint8), file.path)
    _check(new.keyvalues, old, whole=len(checkpoint.shards) == 1)
    return NewHead(head, min(old.data_start, size), _changes(old.keyvalues, new.keyvalues), file.path)


def _apply(pairs: dict[str, Value | Typed], edit: Edit, old: KeyValues) -> None:
    if edit.key in FIXED:
        raise TargetError(f"{edit.key} cannot be changed: {FIXED[edit.key]}")
    if edit.delete:
        if edit.key == ARCHITECTURE:
            raise TargetError(f"without {ARCHITECTURE} nobody knows what model the file is")
        if edit.key not in pairs:
            raise TargetError(f"there is no key {edit.key!r}", hint=closest(edit.key, pairs))
        del pairs[edit.key]
        return
    found = old.get(edit.key)
    pairs[edit.key] = typed(edit, (found.item or found.type, found.is_array) if found else None)


def _header(old: Header, pairs: dict[str, Value | Typed]) -> bytes:
    infos = old.entries[0].at if old.entries else old.end
    parts = [struct.pack("<4sIQQ", MAGIC, old.version, len(old.entries), len(pairs))]
    parts += [encode_pair(key, value) for key, value in pairs.items()]
    return b"".join([*parts, old.data[infos : old.end].tobytes()])


def _changes(old: KeyValues, new: KeyValues) -> tuple[Change, ...]:
    found = []
    for key in [*old, *(k for k in new if k not in old)]:
        before, after = old.get(key), new.get(key)
        if before is None or after is None or _encoded(before) != _encoded(after):
            told = after or before
            kind = type_label(told.item or told.type, told.is_array) if told else ""
            found.append(Change(key, kind, _shown(before), _shown(after)))
    return tuple(found)


def _shown(value: Value | None) -> str | None:
    return None if value is None else value.describe()


def _encoded(value: Value) -> tuple[ValueType, bytes]:
    return value.type, value.raw()


# --- what would break the file ------------------------------------------------------------------


def _check(new: KeyValues, old: Header, *, whole: bool) -> None:
    """Hold what changed against what it has to agree with."""

    def changed(key: str) -> bool:
        before, after = old.keyvalues.get(key), new.get(key)
        return after is not None and (before is None or _encoded(before) != _encoded(after))

    arch = new.scalar(ARCHITECTURE, ValueType.STRING)
    if changed(ARCHITECTURE) and not any(k.startswith(f"{arch}.") for k in new):
        what = f"{ARCHITECTURE} would be {arch!r}, but no key begins with {arch + '.'!r}"
        raise TargetError(what, hint="set the model's hyperparameters under that name in the same edit")
    _check_tokens(new, changed)
    if whole and changed(f"{arch}.block_count"):
        _check_blocks(f"{arch}.block_count", new, old, old.path)


def _check_tokens(new: KeyValues, changed: Callable[[str], bool]) -> None:
    there = {k: new[k].count for k in _PER_TOKEN if k in new}
    if len(set(there.values())) > 1 and any(changed(k) for k in there):
        told = ", ".join(f"{k} has {n:,}" for k, n in there.items())
        raise TargetError(f"a vocabulary has one entry for each token, but {told}")
    tokens = there.get(_PER_TOKEN[0])
    for key in new:
        if tokens and key.startswith("tokenizer.ggml.") and key.endswith("_token_id") and changed(key):
            value = new[key].read()
            if not isinstance(value, int) or isinstance(value, bool) or not -1 <= value < tokens:
                raise TargetError(f"{key} must be the number of a token, below {tokens:,}, not {value!r}")


def _check_blocks(key: str, new: KeyValues, old: Header, path: Path) -> None:
    parts = [e.name.split(".") for e in old.entries if e.name.startswith("blk.")]
    there = {int(p[1]) for p in parts if len(p) > 2 and p[1].isdecimal()}
    if there and new[key].read() != max(there) + 1:
        what = f"{key} would be {new[key].describe()}, but the file has tensors of {max(there) + 1} blocks"
        raise TargetError(what, file=path)
