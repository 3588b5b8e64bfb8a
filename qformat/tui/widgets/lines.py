"""A list of any length whose lines are made when they are first seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from qformat.tui.widgets.tensor_table import fit


class Lines(ScrollView, can_focus=True):
    """Plain lines with a cursor; ``make`` gives the text of one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown,space", "page(1)", show=False),
        Binding("home", "move(-1000000000)", show=False),
        Binding("end,G", "move(1000000000)", show=False),
    ]
    COMPONENT_CLASSES = {"lines--cursor"}
    DEFAULT_CSS = "Lines { overflow-x: hidden; }"
    cursor: reactive[int] = reactive(0)

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._count = 0
        self._text: Callable[[int], str] = str

    def show(self, count: int, make: Callable[[int], str]) -> None:
        """Show other lines, from the first on."""
        self._count, self._text = count, make
        self.virtual_size = Size(self.size.width, count)
        self.cursor = 0
        self.scroll_to(y=0, animate=False, immediate=True)
        self.refresh()

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, self._count)

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        self.cursor = max(0, min(self.cursor + by, self._count - 1))

    def action_page(self, by: int) -> None:
        """Move the cursor by a screenful."""
        self.action_move(by * max(self.size.height - 1, 1))

    def watch_cursor(self, cursor: int) -> None:
        """Keep the cursor in sight."""
        top, height = round(self.scroll_offset.y), max(self.size.height, 1)
        if cursor < top:
            self.scroll_to(y=cursor, animate=False, immediate=True)
        elif cursor >= top + height:
            self.scroll_to(y=cursor - height + 1, animate=False, immediate=True)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line."""
        at, width = round(self.scroll_offset.y) + y, self.size.width
        style = self.rich_style
        if at >= self._count:
            return Strip.blank(width, style)
        if at == self.cursor and self.has_focus:
            style = self.get_component_rich_style("lines--cursor")
        return Strip([Segment(fit(self._text(at), width), style)])
