"""Help on the screen that was on top: what it shows, and every key that works there."""

from __future__ import annotations

from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from qformat.tui.actions import KEY_NAMES, POPUP, of_scope
from qformat.tui.page import Page


class Help(ModalScreen[None]):
    """A page of keys; greyed ones say why they do nothing now."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,f1,q", "leave", "Back"),
        *POPUP,
    ]

    def __init__(self, page: Page) -> None:
        super().__init__()
        self._page = page

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help"):
            yield Static(self._text(), markup=False)

    def _text(self) -> Table:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True, style="bold")
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1)
        if self._page.about:
            outer = Table.grid(padding=(0, 0, 1, 0))
            outer.add_row(Text(f"{self._page.about}\n"))
            outer.add_row(grid)
        else:
            outer = grid
        for scope in (self._page.scope, "app"):
            for action in of_scope(scope):
                why = self._page.why_not(action.verb) if scope != "app" else None
                keys = " ".join(KEY_NAMES.get(k, k.replace("ctrl+", "^")) for k in action.keys.split(","))
                told = Text(action.help) if why is None else Text(f"{action.help} (not now: {why})", "dim")
                grid.add_row(keys, action.title, told)
            grid.add_row("", "", "")
        grid.add_row(
            "", "", Text("Keys can be changed in tui.toml of the configuration folder, under [keys].", "dim")
        )
        return outer

    def action_leave(self) -> None:
        """Close the help."""
        self.dismiss(None)
