"""A checkpoint's metadata, entry by entry: long lists are decoded as far as somebody looks."""

from __future__ import annotations

import json
from collections.abc import Sequence

from qformat.errors import QFormatError
from qformat.files.checkpoint import Checkpoint
from qformat.files.strict_json import parse
from qformat.text import clean, line

GGUF_TOKENS = "tokenizer.ggml.tokens"


class Metadata:
    """Keys with short texts (those that ``inspect --metadata`` prints), and their values in full."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        # Only GGUF has typed values; the metadata of other formats is strings.
        self._values = getattr(checkpoint, "keyvalues", {})
        self.entries: list[tuple[str, str]] = [(k, line(v)) for k, v in checkpoint.metadata.items()]

    def count(self, key: str) -> int:
        """Items of a list; 0 for anything else."""
        value = self._values.get(key)
        return value.count if value is not None and value.is_array else 0

    def items(self, key: str, start: int, stop: int) -> list[str]:
        """Some items of a list, as text on one line each.

        Raises
        ------
        FormatError
            If one of them is not UTF-8.
        """
        return [line(item) for item in self._values[key].read()[start:stop]]

    def full(self, key: str) -> str:
        """A value in full; JSON is indented. Unprintable characters are escaped."""
        if key in self._values:
            value = self._values[key]
            return clean(value.describe() if value.is_array else value.read())
        text = self._checkpoint.metadata[key]
        try:
            return clean(json.dumps(json.loads(text), indent=2, ensure_ascii=False))
        except ValueError:
            return clean(text)


def vocabulary(checkpoint: Checkpoint) -> Sequence[str]:
    """The tokens of a checkpoint's tokenizer by their ids, decoded when asked for.

    Raises
    ------
    QFormatError
        If it has none, or one of a kind whose tokens are not listed.
    """
    values = getattr(checkpoint, "keyvalues", {})
    if GGUF_TOKENS in values:
        found: Sequence[str] = values[GGUF_TOKENS].read()
        return found
    if "tokenizer.json" not in checkpoint.attachments:
        raise QFormatError("it has no tokenizer.json, and no tokens in key-values", file=checkpoint.path)
    raw = checkpoint.read_attachment("tokenizer.json")
    value = parse(raw, file=checkpoint.path, what="tokenizer.json")
    model = value.get("model") if isinstance(value, dict) else None
    tokens = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(tokens, list):  # Unigram: pairs of token and score
        return [str(t[0]) if isinstance(t, list) and t else str(t) for t in tokens]
    if not isinstance(tokens, dict):
        raise QFormatError("its tokenizer.json lists no vocabulary", file=checkpoint.path)
    added = value.get("added_tokens", [])
    ids = {i: t for t, i in tokens.items() if isinstance(i, int)}
    ids |= {a["id"]: a["content"] for a in added if isinstance(a, dict) and {"id", "content"} <= set(a)}
    return [ids.get(i, "") for i in range(max(ids, default=-1) + 1)] if len(ids) < 1 << 24 else []
