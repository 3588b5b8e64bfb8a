"""Text to token ids and back, as a checkpoint's own tokenizer has it."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer as Engine

from qformat.errors import FormatError
from qformat.model.tokenizer_pieces import Spelling, TextStream, joined, spelling_of
from qformat.model.tokenizer_special import Specials


class Tokenizer:
    """A vocabulary with its rules; `load_tokenizer` makes one.

    Parameters
    ----------
    engine
        The `tokenizers` object that cuts and merges.
    described
        What tokenizer.json says beside the model: decoder and added tokens are read.
    specials
        Tokens that begin and end a text or a reply.
    size
        The number of ids, those without a token included.
    """

    def __init__(self, engine: Engine, described: Mapping[str, Any], specials: Specials, size: int) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._specials = specials
        self.spelling: Spelling = spelling_of(described)
        self.size = size
        self.controls = frozenset(i for i, t in engine.get_added_tokens_decoder().items() if t.special)

    @property
    def bos(self) -> int | None:
        """The token that begins a text, if there is one."""
        return self._specials.bos

    @property
    def eos(self) -> frozenset[int]:
        """The tokens that end a text, a turn or a reply."""
        return self._specials.ends

    @property
    def adds_bos(self) -> bool:
        """Whether `encode` puts ``bos`` before a text."""
        return self.bos is not None and self.bos in self._specials.before

    @property
    def adds_eos(self) -> bool:
        """Whether `encode` puts a token that ends a text after it."""
        return any(i in self.eos for i in self._specials.after)

    @property
    def names(self) -> Mapping[str, str]:
        """The texts of the special tokens by their names, such as ``bos_token``: chat templates use them."""
        return {f"{short}_token": self._text(i) for short, i in self._specials.ids.items()}

    def encode(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """The token ids of a text.

        Parameters
        ----------
        text
            Any text.
        add_special
            Put before and after it what the tokenizer puts there: often ``bos``.
        parse_special
            Take the text of a control token, such as ``<|im_end|>``, for that token. Text that somebody
            else wrote should not be able to do that.

        Raises
        ------
        FormatError
            If the text holds half of a surrogate pair, which is no character.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise FormatError(f"the text is not valid Unicode at character {error.start}") from None
        with self._lock:
            self._engine.encode_special_tokens = not parse_special
            ids: list[int] = self._engine.encode_batch_fast([text], add_special_tokens=False)[0].ids
        return [*self._specials.before, *ids, *self._specials.after] if add_special else ids

    def decode(self, ids: Iterable[int], special: bool = False) -> str:
        """The text of token ids; control tokens are left out unless ``special``."""
        kept = [i for i in ids if special or i not in self.controls]
        return joined(self.pieces(kept), self.spelling.strips)

    def stream(self) -> TextStream:
        """Decodes pieces one by one; no character comes before its last byte."""
        return TextStream(self.spelling.strips)

    def pieces(self, ids: Iterable[int]) -> list[bytes]:
        """The bytes that each token stands for; empty for an id without a token."""
        table, size = self._pieces, len(self._pieces)
        return [table[i] if 0 <= i < size else b"" for i in ids]

    def id_of(self, token: str) -> int | None:
        """The id of a token by its text in the vocabulary."""
        found: int | None = self._engine.token_to_id(token)
        return found

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over what each id stands for: alike for a model's GGUF and its Hugging Face folder."""
        found = hashlib.sha256()
        for i, piece in enumerate(self._pieces):
            if piece:
                found.update(f"{i} {len(piece)} ".encode() + piece)
        return f"sha256:{found.hexdigest()}"

    def same_as(self, other: Tokenizer) -> bool:
        """Whether all ids stand for the same in both."""
        return self.digest == other.digest

    def difference(self, other: Tokenizer) -> str | None:
        """The first id that stands for something else, in words; None if there is none."""
        if self.same_as(other):
            return None
        for i in range(max(self.size, other.size)):
            (ours,), (theirs,) = self.pieces([i]), other.pieces([i])
            if ours != theirs:
                return f"token {i} is {_quoted(ours)} in one and {_quoted(theirs)} in the other"
        return None

    @functools.cached_property
    def _pieces(self) -> Sequence[bytes]:
        table = [b""] * self.size
        for token, i in self._engine.get_vocab(with_added_tokens=True).items():
            table[i] = self.spelling.piece(token)
        if self.spelling.kind == "bytes":  # tokens found in the text before it becomes bytes are text
            for i, added in self._engine.get_added_tokens_decoder().items():
                table[i] = added.content.encode()
        return table

    def _text(self, number: int) -> str:
        return str(self._engine.id_to_token(number) or "")


def _quoted(piece: bytes) -> str:
    return repr(piece.decode(errors="backslashreplace")) if piece else "no token"
