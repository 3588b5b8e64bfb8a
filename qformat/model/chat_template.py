"""A model's chat template: messages to the text that the model reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qformat.errors import QFormatError
from qformat.files.opening import Source, opened
from qformat.files.strict_json import parse
from qformat.model.tokenizer import Tokenizer
from qformat.views.gguf_keys import gguf_keyvalues
from qformat.views.vocabulary_special import template_keys

SECONDS = 10.0
_SANDBOX = Path(__file__).with_name("chat_sandbox.py")
_FILES = ("tokenizer_config.json", "chat_template.json", "chat_template.jinja")
_KEPT = ("SYSTEMROOT", "LD_LIBRARY_PATH", "TZ")  # what a process may need of the environment


class TemplateError(QFormatError):
    """A chat template that is missing, wrong, or does what a template must not."""


Message = Mapping[str, str]


@dataclass(frozen=True)
class ChatTemplate:
    """A template in Jinja2's language, with the texts of special tokens that it may use."""

    source: str
    names: Mapping[str, str]
    seconds: float = SECONDS

    def render(self, messages: Sequence[Message], *, reply: bool = True) -> str:
        """The text of a conversation; with ``reply`` up to where the model's next reply begins.

        The template runs in a confined process (`qformat.model.chat_sandbox`), as it may be anybody's.

        Raises
        ------
        TemplateError
            If it fails, refuses these messages, takes too long or too much, or reaches for what it
            must not.
        """
        values = {**self.names, "messages": list(messages), "add_generation_prompt": reply}
        request = json.dumps({"template": self.source, "values": values})
        try:
            done = subprocess.run(  # noqa: S603  # our own file, by this interpreter
                [sys.executable, "-I", str(_SANDBOX)],
                input=request,
                capture_output=True,
                text=True,
                encoding="utf-8",
                timeout=self.seconds,
                env={k: os.environ[k] for k in _KEPT if k in os.environ},
                cwd="/" if os.name == "posix" else None,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _failed(f"it did not end within {self.seconds:g} s") from None
        return _answer(done)

    def ids(self, messages: Sequence[Message], tokenizer: Tokenizer) -> list[int]:
        """The token ids of a conversation; ``bos`` is there once if the tokenizer puts it before texts."""
        ids = tokenizer.encode(self.render(messages), add_special=False, parse_special=True)
        missing = tokenizer.adds_bos and tokenizer.bos is not None and ids[:1] != [tokenizer.bos]
        return [tokenizer.bos, *ids] if missing and tokenizer.bos is not None else ids


def _answer(done: subprocess.CompletedProcess[str]) -> str:
    try:
        found: Any = json.loads(done.stdout)
    except ValueError:  # killed by a limit, before it could say so
        raise _failed("it took more time or memory than a template may") from None
    if "error" in found:
        raise _failed(str(found["error"]))
    return str(found["text"])


def _failed(what: str) -> TemplateError:
    return TemplateError(
        f"the chat template cannot be used: {what}",
        hint="--template FILE takes another one, --raw goes on from the text as it is",
    )


def load_chat_template(source: Source, tokenizer: Tokenizer) -> ChatTemplate | None:
    """The chat template of a checkpoint; None if it has none.

    Raises
    ------
    FormatError
        If it has several and none is the default, or its files are damaged.
    """
    checkpoint = opened(source)
    values = gguf_keyvalues(checkpoint)
    if values is not None:
        text = values.read("tokenizer.chat_template")
        return ChatTemplate(text, tokenizer.names) if isinstance(text, str) else None
    files = {n: checkpoint.read_attachment(n) for n in _FILES if n in checkpoint.attachments}
    settings, own = (parse(files[n], file=checkpoint.path, what=n) if n in files else {} for n in _FILES[:2])
    found = template_keys(files, settings, own).get("chat_template")
    return None if found is None else ChatTemplate(found.value, tokenizer.names)
