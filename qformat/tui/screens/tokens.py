"""A tokenizer's vocabulary, searchable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input, Static

from qformat.files.checkpoint import Checkpoint
from qformat.inspect.metadata import vocabulary
from qformat.text import line
from qformat.tui.actions import bindings
from qformat.tui.page import Page
from qformat.tui.widgets.keybar import KeyBar
from qformat.tui.widgets.lines import Lines
from qformat.tui.widgets.titlebar import TitleBar
from qformat.tui.workers import Job


class Tokens(Page):
    """Tokens by id; typing searches for a piece of a token, or for an id."""

    scope = "tokens"
    about = "The tokenizer's vocabulary by id. Type a piece of a token, or a number to go to that id."
    BINDINGS: ClassVar[list[BindingType]] = bindings("tokens")

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self._checkpoint = checkpoint
        self._tokens: Sequence[str] = ()
        self._hits: list[int] | None = None

    def crumbs(self) -> str:
        return f"{self._checkpoint.path} › tokens"

    def compose(self) -> ComposeResult:
        yield TitleBar()
        yield Input(placeholder="a piece of a token, or an id", id="search")
        yield Static("", id="status", markup=False)
        yield Lines(id="tokens")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        checkpoint = self._checkpoint
        self.compute("tokens", lambda _job: vocabulary(checkpoint))

    def computed_tokens(self, tokens: Sequence[str]) -> None:
        """The vocabulary is there."""
        self._tokens = tokens
        self._show(None)

    def _show(self, hits: list[int] | None) -> None:
        self._hits = hits
        tokens = self._tokens
        lines = self.query_one(Lines)
        if hits is None:
            lines.show(len(tokens), lambda i: f"{i:>9}  {_quoted(tokens, i)}")
        else:
            lines.show(len(hits), lambda i: f"{hits[i]:>9}  {_quoted(tokens, hits[i])}")
        found = f"{len(tokens):,} tokens" if hits is None else f"{len(hits):,} of {len(tokens):,} tokens"
        self.query_one("#status", Static).update(found)

    @on(Input.Changed)
    def _search(self, event: Input.Changed) -> None:
        text, tokens = event.value, self._tokens
        if not text:
            self.stop("hits")
            self._show(None)
        else:
            self.compute("hits", lambda job: _find(tokens, text, job))

    def computed_hits(self, hits: list[int]) -> None:
        """What a search found."""
        self._show(hits)

    @on(Input.Submitted)
    def _to_the_list(self) -> None:
        self.query_one(Lines).focus()


def _quoted(tokens: Sequence[str], i: int) -> str:
    try:
        return line(tokens[i])
    except Exception as error:  # noqa: BLE001  one token that is not UTF-8 must not hide the others
        return f"({line(error)})"


def _find(tokens: Sequence[str], text: str, job: Job) -> list[int]:
    hits = []
    number = int(text) if text.isascii() and text.isdigit() else -1
    if 0 <= number < len(tokens):
        hits.append(number)
    for start in range(0, len(tokens), 10_000):
        job.check()
        part = tokens[start : start + 10_000]
        hits += [start + i for i, token in enumerate(part) if text in token and start + i != number]
    return hits
