"""A conversation with a model: turns in, streamed replies out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from qformat.errors import QFormatError
from qformat.files.opening import Source, opened
from qformat.model import open_model
from qformat.model.chat_template import ChatTemplate, Message, load_chat_template
from qformat.model.generate import Session, ample, generate
from qformat.model.model import Model
from qformat.model.reply import Reply, repeats
from qformat.model.tokenizer import Tokenizer
from qformat.model.tokenizer_loading import load_tokenizer
from qformat.model.weights import Dtype


class Conversation:
    """One model's side of a conversation.

    Without a template, or with ``raw``, a turn is a text that the model goes on from, and nothing that was
    said before counts. ``raw`` and ``system`` may be set between turns. Of a turn only what is new is read.
    """

    def __init__(
        self, model: Model, tokenizer: Tokenizer, template: ChatTemplate | None, system: str | None = None
    ) -> None:
        self.model, self.tokenizer, self.template, self.system = model, tokenizer, template, system
        self.raw = template is None
        self.turns: list[Message] = []
        self._session: Session | None = None

    @property
    def messages(self) -> list[Message]:
        """All that was said, the system message first."""
        return [*([{"role": "system", "content": self.system}] if self.system else []), *self.turns]

    def reset(self) -> None:
        """Forget what was said."""
        self.turns = []

    def reply(self, text: str, *, max_new: int = 512, **sampling: Any) -> Iterator[Reply]:
        """Say something; the reply, again after every token. It becomes part of the conversation.

        It comes before its first token, too, after each part of a long prompt that was read. A turn that
        ends early, by closing this iterator, keeps what was answered until then, if anything was.

        Raises
        ------
        QFormatError
            If the conversation has become longer than the model's context, and from the template.
        """
        said: Message = {"role": "user", "content": text}
        messages = [*self.messages, said]
        if self.template is None or self.raw:
            prompt = self.tokenizer.encode(text)
        else:
            prompt = self.template.ids(messages, self.tokenizer)
        room = self.model.config.context - len(prompt) if self.model.config.context else max_new
        if room < 1:
            what = f"the conversation has {len(prompt):,} tokens, the model's context {len(prompt) + room:,}"
            hint = "start a new one: /reset" if self.turns and not self.raw else "say less at once"
            raise QFormatError(what, file=self.model.checkpoint.path, hint=hint)
        stream, resumed = self.tokenizer.stream(), time.perf_counter()
        reply = Reply(prompt=len(prompt))
        most = min(max_new, room)
        session, self._session = self._room_for(len(prompt) + most), None
        for reply.read in session.read_ahead(prompt):
            reply.seconds += time.perf_counter() - resumed
            self._session = session  # whole between two parts, if it ends here
            yield reply
            self._session, resumed = None, time.perf_counter()
        tokens = generate(
            self.model, prompt, max_new=most, stop_ids=self.tokenizer.eos, session=session, **sampling
        )
        try:
            for token in tokens:
                (piece,) = self.tokenizer.pieces([token])
                shown = stream.add(b"" if token in self.tokenizer.controls else piece)
                reply.add(token, piece, shown, time.perf_counter() - resumed)
                if repeats(reply.ids):
                    reply.end = "loop"
                    break
                yield reply
                resumed = time.perf_counter()
            else:
                reply.end = "length" if len(reply.ids) >= most else "stop"
            self._session = session
        except GeneratorExit:  # between two tokens: what was read is whole
            self._session = session
            raise
        finally:
            reply.end = reply.end or "interrupted"
            reply.text += stream.end()
            self.turns += [said, {"role": "assistant", "content": reply.text}]
        yield reply

    def _room_for(self, count: int) -> Session:
        """The turns before, if there is room for more, as they were read; else an empty session."""
        if self._session is not None and self._session.capacity >= count:
            return self._session
        return Session(self.model, ample(self.model.config, count))


def open_conversation(
    source: Source, dtype: Dtype = "f32", *, template: str | None = None, raw: bool = False
) -> Conversation:
    """A conversation with a checkpoint's model, by its own chat template or another's source.

    With ``raw``, and where a model has no template, there is none: the model goes on from what is said.

    Raises
    ------
    QFormatError
        If the checkpoint has no model that is known, no tokenizer, or a damaged template.
    """
    checkpoint = opened(source)
    tokenizer = load_tokenizer(checkpoint)
    if raw:
        chosen = None
    elif template is not None:
        chosen = ChatTemplate(template, tokenizer.names)
    else:
        chosen = load_chat_template(checkpoint, tokenizer)
    return Conversation(open_model(checkpoint, dtype), tokenizer, chosen)


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
