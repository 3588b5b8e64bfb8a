"""What bytes each token stands for, and text out of them while they come.

A token's text is written in one of three ways, which tokenizer.json's decoder tells. Byte-level: each
character stands for a byte, those that print badly for one further up in Unicode. Spaced: U+2581 stands
for a space and <0x..> for a byte. Word pieces: ## joins a piece to the one before it.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SPACE = "\u2581"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _byte_characters() -> dict[int, int]:
    """GPT-2's table, from character to byte: bytes that print stand for themselves, the others follow 255."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in plain]
    return {**{b: b for b in plain}, **{256 + i: b for i, b in enumerate(rest)}}


_BYTES = _byte_characters()


@dataclass(frozen=True)
class Spelling:
    """How tokens are written. ``strips`` spaces are taken off the start of a decoded text."""

    kind: str  # "bytes", "spaces", "words" or "apart"
    strips: int = 0
    falls_back: bool = False  # <0x..> is a byte

    def piece(self, token: str) -> bytes:
        r"""The bytes that a token stands for.

        >>> Spelling("bytes").piece("Ġé")
        b' \xe9'
        >>> Spelling("spaces", falls_back=True).piece("<0xE9>")
        b'\xe9'
        """
        if self.kind == "bytes":
            try:
                return token.translate(_BYTES).encode("latin-1") if _alphabetic(token) else token.encode()
            except UnicodeEncodeError:
                return token.encode(errors="replace")
        if self.kind == "spaces":
            byte = _BYTE.fullmatch(token) if self.falls_back else None
            return bytes([int(byte[1], 16)]) if byte else token.replace(SPACE, " ").encode(errors="replace")
        if self.kind == "words" and token.startswith("##"):
            return token[2:].encode(errors="replace")
        return b" " + token.encode(errors="replace")


def _alphabetic(token: str) -> bool:
    """Whether all characters stand for bytes; an added token may have others, and is then plain text."""
    return all(ord(c) in _BYTES for c in token)


def spelling_of(described: Mapping[str, Any]) -> Spelling:
    """The spelling that a tokenizer.json's decoder undoes."""
    steps = list(_steps(described.get("decoder")))
    kinds = {step.get("type") for step in steps}
    if "ByteLevel" in kinds:
        return Spelling("bytes")
    if "WordPiece" in kinds:
        return Spelling("words", strips=1)
    if not steps:
        return Spelling("apart", strips=1)
    return Spelling("spaces", max(_stripped(s) for s in steps), "ByteFallback" in kinds)


def _steps(decoder: Any) -> Iterator[Mapping[str, Any]]:
    if not isinstance(decoder, Mapping):
        return
    inside = decoder.get("decoders")
    if isinstance(inside, list):
        for inner in inside:
            yield from _steps(inner)
    else:
        yield decoder


def _stripped(step: Mapping[str, Any]) -> int:
    if step.get("type") == "Strip" and step.get("content") == " ":
        start = step.get("start")
        return start if isinstance(start, int) else 0
    if step.get("type") == "Metaspace":
        return int(step.get("prepend_scheme", "always") != "never" and step.get("add_prefix_space", True))
    return 0


class TextStream:
    """Text out of pieces while they come: a character appears when its last byte is there.

    >>> stream = TextStream()
    >>> stream.add("é".encode()[:1]), stream.add("é".encode()[1:]), stream.end()
    ('', 'é', '')
    """

    def __init__(self, strips: int = 0) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._strips = strips

    def add(self, piece: bytes) -> str:
        """The text that is whole now and was not before."""
        return self._stripped(self._decoder.decode(piece))

    def end(self) -> str:
        """What is left: U+FFFD for a character that never became whole."""
        return self._stripped(self._decoder.decode(b"", final=True))

    def _stripped(self, text: str) -> str:
        while self._strips and text:
            if not text.startswith(" "):
                self._strips = 0
                break
            text, self._strips = text[1:], self._strips - 1
        return text


def joined(pieces: Sequence[bytes], strips: int) -> str:
    """The text of all pieces at once."""
    stream = TextStream(strips)
    return stream.add(b"".join(pieces)) + stream.end()
