"""A text file and its tokens."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qformat.evaluate.windows import LLAMA_CPP, TextError, Windows, cut

DEFAULT_CTX = 512


@dataclass(frozen=True)
class Text:
    """What a text file holds."""

    path: Path
    content: str
    digest: str


def read_text(path: str | os.PathLike[str]) -> Text:
    """Read a UTF-8 file.

    Raises
    ------
    TextError
        If it cannot be read, is empty, or is not UTF-8.
    """
    where = Path(path)
    try:
        data = where.read_bytes()
        content = data.decode("utf-8")
    except OSError as error:
        raise TextError(f"cannot be read: {error.strerror}", file=where) from None
    except UnicodeDecodeError as error:
        raise TextError("is not UTF-8 text", file=where, offset=error.start) from None
    if not content.strip():
        raise TextError("the text is empty", file=where)
    return Text(where, content, hashlib.sha256(data).hexdigest())


def windows_of(
    text: Text,
    tokenizer: Any,
    config: Any,
    *,
    protocol: str,
    ctx: int | None,
    stride: int | None,
) -> tuple[list[int], Windows]:
    """The text's tokens and its windows; by default of 512 tokens, or of the model's context if shorter.

    Raises
    ------
    TextError
        If the text does not fill a window, or a window or a stride is impossible.
    """
    size = ctx or min(DEFAULT_CTX, config.context or DEFAULT_CTX)
    if size < 2:
        raise TextError(f"a window of {size} tokens has none to score", hint="use --ctx 512")
    if config.learned_positions and size > config.context:
        raise TextError(
            f"the model has learned {config.context} positions; a window of {size} has more",
            hint=f"use --ctx {config.context}",
        )
    if stride is not None and (protocol == LLAMA_CPP or not 1 <= stride <= size):
        raise TextError(
            "a stride goes with the protocol of sliding windows, and is at most a window",
            hint=f"use a --stride from 1 to {size}, without --protocol",
        )
    bos = tokenizer.bos if tokenizer.adds_bos else None
    tokens = list(tokenizer.encode(text.content, add_special=protocol == LLAMA_CPP, parse_special=False))
    try:
        return tokens, cut(tokens, ctx=size, protocol=protocol, stride=stride, bos=bos)
    except TextError as error:
        raise TextError(error.what, file=text.path, hint=error.hint) from None
