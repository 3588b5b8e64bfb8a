"""What a model answered: the text while it grows, how it ended, and where two answers part."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from qformat.text import counted, quoted

LOOP_TOKENS, LOOP_TIMES, LONGEST = 24, 3, 128


def repeats(ids: Sequence[int]) -> int:
    """The length of the run that the end of ``ids`` repeats; 0 if it does not.

    It repeats if the last `LOOP_TOKENS` tokens or more are one run, at least `LOOP_TIMES` in a row.

    >>> repeats([7] * 30), repeats(list(range(30))), repeats([9, *[1, 2, 3, 4, 5, 6, 7, 8] * 3])
    (1, 0, 8)
    """
    for period in range(1, min(LONGEST, len(ids) // LOOP_TIMES) + 1):
        span = max(LOOP_TOKENS, period * LOOP_TIMES)
        if span <= len(ids) and all(ids[-i] == ids[-i - period] for i in range(1, span - period + 1)):
            return period
    return 0


@dataclass
class Reply:
    """A reply while it comes. ``end`` is "stop", "length", "loop" or "interrupted" once it has ended.

    Attributes
    ----------
    pieces
        What each token stands for; the text ends where the last whole character of them does.
    places
        Where in ``text`` each token begins.
    prompt, read
        Tokens of the prompt, and how many of them are read while there is no answer yet.
    seconds
        Time that this model took, the other one of a pair not counted; ``first_seconds`` of them went
        by before the first token, most of it for reading the prompt.
    """

    ids: list[int] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    text: str = ""
    end: str = ""
    prompt: int = 0
    read: int = 0
    seconds: float = 0.0
    first_seconds: float = 0.0

    def add(self, token: int, piece: bytes, text: str, seconds: float) -> None:
        """One more token, and the text that is whole with it."""
        self.ids.append(token)
        self.pieces.append(piece)
        self.places.append(len(self.text))
        self.text += text
        self.seconds += seconds
        if len(self.ids) == 1:
            self.first_seconds = self.seconds

    def copy(self) -> Reply:
        """As it is now; the original may go on."""
        return dataclasses.replace(
            self, ids=list(self.ids), pieces=list(self.pieces), places=list(self.places)
        )

    @property
    def empty(self) -> bool:
        return bool(self.end) and not self.text.strip()

    @property
    def tokens_per_second(self) -> float | None:
        """Of the tokens after the first, which waits for the prompt; None before there are two."""
        taken = self.seconds - self.first_seconds
        return (len(self.ids) - 1) / taken if taken > 0 else None

    @property
    def remark(self) -> str | None:
        """What a reader should know about how it ended, in words."""
        if self.end == "loop":
            every = counted(repeats(self.ids) or 0, "token")
            return f"the answer began to repeat itself (every {every}) and was cut off"
        if self.empty and self.end == "stop":
            return "the answer is empty"
        return {"length": "the answer was cut off at the limit of tokens", "interrupted": "interrupted"}.get(
            self.end
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "ids": self.ids,
            "end": self.end,
            "empty": self.empty,
            "loop": repeats(self.ids) or None,
            "seconds_to_first": self.first_seconds if self.ids else None,
            "tokens_per_second": self.tokens_per_second,
        }


def parting(ours: Reply, theirs: Reply) -> int | None:
    """The first token at which two replies differ in what it stands for; None if they are the same.

    Ids of one vocabulary tell the same as their pieces do; those of two need not mean the same.
    """
    for at, (a, b) in enumerate(itertools.zip_longest(ours.pieces, theirs.pieces)):
        if a != b or (ours.ids[at] != theirs.ids[at] and not a):
            return at
    return None


def parting_words(ours: Reply, theirs: Reply) -> str:
    """The same in a sentence."""
    at = parting(ours, theirs)
    if at is None:
        both = counted(len(ours.ids), "token")
        return f"Both say the same, {both if len(ours.ids) == 1 else f'all {both}'}."
    named = [quoted(r.pieces[at]) if at < len(r.pieces) else "the end" for r in (ours, theirs)]
    return f"They part at token {at + 1}: {named[0]} against {named[1]}."
