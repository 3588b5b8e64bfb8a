"""The title line: where one is."""

from __future__ import annotations

from rich.text import Text
from textual.widget import Widget

from qformat.text import line
from qformat.tui.page import Page


class TitleBar(Widget):
    """The program's name and the screen's crumbs, the end of which matters most."""

    DEFAULT_CSS = """
    TitleBar { height: 1; dock: top; background: $primary; color: $background; text-style: bold; }
    """

    def render(self) -> Text:
        """One line; names from files are data."""
        page = self.screen
        crumbs = line(page.crumbs()) if isinstance(page, Page) else ""
        room = self.size.width - 11
        if len(crumbs) > room > 1:
            crumbs = "…" + crumbs[1 - room :]
        return Text(f" qformat  {crumbs}", no_wrap=True, end="")
