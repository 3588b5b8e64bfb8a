"""SentencePiece's `tokenizer.model`: the few fields of its protobuf that a GGUF needs.

A protobuf message is a run of fields: a varint ``number << 3 | kind``, then a varint (kind 0), 8 bytes
(1), a length and so many bytes (2), or 4 bytes (5). Of the model these are read::

    1  piece, many times:  1 text, 2 score (float), 3 type
    2  trainer:            3 kind of model (1 unigram, 2 BPE)
    3  normalizer:         3 whether a space is put in front of a text
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from qformat.errors import FormatError

UNIGRAM, BPE = 1, 2
MAX_PIECES = 1 << 22


@dataclass(frozen=True)
class Piece:
    """A token: its text, score and type, which are numbered as in a GGUF."""

    text: str
    score: float
    type: int


@dataclass(frozen=True)
class Model:
    """What `tokenizer.model` says."""

    pieces: tuple[Piece, ...]
    kind: int
    adds_space: bool


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(raw) and shift < 64:
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise FormatError("a number in tokenizer.model is cut short or too long", offset=at)


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field; fixed-size ones as their bytes."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(raw, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = _varint(raw, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise FormatError(f"tokenizer.model has a field of kind {kind}, which is not known", offset=at)
        if size > len(raw) - at:
            what = f"a field of tokenizer.model claims {size:,} bytes, but {len(raw) - at:,} are left"
            raise FormatError(what, offset=at)
        yield tag >> 3, raw[at : at + size]
        at += size


def read(raw: bytes) -> Model:
    """Read a `tokenizer.model`.

    Raises
    ------
    FormatError
        If it is damaged, or not SentencePiece's.
    """
    pieces: list[Piece] = []
    kind, adds_space = UNIGRAM, True
    for number, value in _fields(raw):
        if number == 1 and isinstance(value, bytes):
            pieces.append(_piece(value))
            if len(pieces) > MAX_PIECES:
                raise FormatError(f"tokenizer.model has more than {MAX_PIECES:,} tokens")
        elif number == 2 and isinstance(value, bytes):
            kind = _number(value, 3, UNIGRAM)
        elif number == 3 and isinstance(value, bytes):
            adds_space = bool(_number(value, 3, 1))
    if not pieces:
        raise FormatError("tokenizer.model has no tokens", hint="it may not be SentencePiece's")
    return Model(tuple(pieces), kind, adds_space)


def _number(raw: bytes, field: int, default: int) -> int:
    for number, value in _fields(raw):
        if number == field and isinstance(value, int):
            default = value
    return default


def _piece(raw: bytes) -> Piece:
    text, score, kind = "", 0.0, 1
    for number, value in _fields(raw):
        if number == 1 and isinstance(value, bytes):
            try:
                text = value.decode()
            except UnicodeDecodeError as error:
                raise FormatError(f"a token of tokenizer.model is not UTF-8: {error.reason}") from None
        elif number == 2 and isinstance(value, bytes) and len(value) == 4:
            (score,) = struct.unpack("<f", value)
        elif number == 3 and isinstance(value, int):
            kind = value
    if not 1 <= kind <= 6:
        raise FormatError(f"a token of tokenizer.model has type {kind}; the types known are 1 to 6")
    return Piece(text, score, kind)
