"""One long text: a chat template, a descriptor, anything that a row has no room for."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from qformat.tui.actions import POPUP

MOST = 200_000  # characters shown


class Reader(ModalScreen[None]):
    """A text from a file, which is data: neither markup nor escape sequences."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter", "leave", "Back"), *POPUP]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text if len(text) <= MOST else f"{text[:MOST]}\n… {len(text) - MOST:,} characters more"

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="reader") as box:
            box.border_title = Text(self._title)
            yield Static(Text(self._text), markup=False)

    def action_leave(self) -> None:
        """Close it."""
        self.dismiss(None)
