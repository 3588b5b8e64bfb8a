"""A conversation with a model: turns in, streamed replies out."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from qformat.errors import QFormatError
from qformat.model.chat_template import ChatTemplate, Message
from qformat.model.generate import generate
from qformat.model.model import Model
from qformat.model.tokenizer import Tokenizer

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


def parting(ours: Sequence[int], theirs: Sequence[int]) -> int | None:
    """The first place where two replies differ; None if they are the same."""
    for at, (a, b) in enumerate(itertools.zip_longest(ours, theirs)):
        if a != b:
            return at
    return None


@dataclass
class Reply:
    """A reply while it comes. ``end`` is "stop", "length", "loop" or "interrupted" once it has ended."""

    ids: list[int] = field(default_factory=list)
    text: str = ""
    end: str = ""
    seconds: float = 0.0

    @property
    def empty(self) -> bool:
        return bool(self.end) and not self.text.strip()

    @property
    def tokens_per_second(self) -> float | None:
        return len(self.ids) / self.seconds if self.seconds > 0 and self.ids else None

    @property
    def remark(self) -> str | None:
        """What a reader should know about how it ended, in words."""
        if self.end == "loop":
            return f"the answer began to repeat itself (every {repeats(self.ids)} tokens) and was cut off"
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
            "tokens_per_second": self.tokens_per_second,
        }


class Conversation:
    """One model's side of a conversation. Without a template, the turns are texts that it goes on from."""

    def __init__(
        self, model: Model, tokenizer: Tokenizer, template: ChatTemplate | None, system: str | None = None
    ) -> None:
        self.model, self.tokenizer, self.template = model, tokenizer, template
        self._first: list[Message] = [{"role": "system", "content": system}] if system else []
        self.messages: list[Message] = list(self._first)

    def reset(self) -> None:
        """Forget what was said."""
        self.messages = list(self._first)

    def reply(self, text: str, *, max_new: int = 512, **sampling: Any) -> Iterator[Reply]:
        """Say something; the reply, again after every token. It becomes part of the conversation.

        A turn that ends early, by closing this iterator, keeps what was said until then.

        Raises
        ------
        QFormatError
            If the conversation has become longer than the model's context, and from the template.
        """
        messages = [*self.messages, {"role": "user", "content": text}]
        prompt = self.template.ids(messages, self.tokenizer) if self.template else self.tokenizer.encode(text)
        room = self.model.config.context - len(prompt) if self.model.config.context else max_new
        if room < 1:
            what = f"the conversation has {len(prompt)} tokens, more than the model's context"
            raise QFormatError(what, file=self.model.checkpoint.path, hint="start a new one: /reset")
        reply, stream, begun = Reply(), self.tokenizer.stream(), time.perf_counter()
        tokens = generate(
            self.model, prompt, max_new=min(max_new, room), stop_ids=self.tokenizer.eos, **sampling
        )
        try:
            for token in tokens:
                reply.ids.append(token)
                (piece,) = self.tokenizer.pieces([token])
                reply.text += stream.add(b"" if token in self.tokenizer.controls else piece)
                reply.seconds = time.perf_counter() - begun
                if repeats(reply.ids):
                    reply.end = "loop"
                    break
                yield reply
            else:
                reply.end = "length" if len(reply.ids) >= min(max_new, room) else "stop"
        finally:
            reply.end = reply.end or "interrupted"
            reply.text += stream.end()
            self.messages = [*messages, {"role": "assistant", "content": reply.text}]
        yield reply


def side_by_side(replies: Sequence[Iterator[Reply]], show: Callable[[list[Reply]], None]) -> list[Reply]:
    """Let several replies grow in turn, a token each; ``show`` is called after every round."""
    latest = [Reply() for _ in replies]
    running = dict(enumerate(replies))
    try:
        while running:
            for i in list(running):
                found = next(running[i], None)
                if found is None:
                    del running[i]
                else:
                    latest[i] = found
            show(latest)
    except KeyboardInterrupt:
        for left in running.values():
            left.close()  # type: ignore[attr-defined]
        for one in latest:
            one.end = one.end or "interrupted"
    return latest
