"""A table of texts whose rows are made when they are first seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.segment import Segment
from textual.geometry import Size
from textual.strip import Strip

from qformat.tui.widgets.lines import Lines
from qformat.tui.widgets.tensor_table import fit

FIRST = 28  # cells of the first column, at least


class Table(Lines):
    """Lines in columns under a head that stays; the first column takes what is left."""

    COMPONENT_CLASSES = {"table--head"}
    DEFAULT_CSS = """
    Table { overflow-x: hidden; }
    Table > .table--head { background: $panel; text-style: bold; }
    """

    def __init__(
        self,
        columns: Sequence[tuple[str, int]],
        id: str | None = None,  # noqa: A002
        least: Sequence[str] = (),
    ) -> None:
        """``columns`` are titles and widths; a negative width aligns to the right.

        ``least`` are the columns that go first where there is little room.
        """
        super().__init__(id=id)
        self._columns = list(columns)
        self._ranks = [len(least) - least.index(t) if t in least else 0 for t, _ in columns]
        self._cells: Callable[[int], Sequence[str]] = lambda _: ()

    def fill(self, count: int, cells: Callable[[int], Sequence[str]]) -> None:
        """Show other rows."""
        self._cells = cells
        self.show(count, self._row)
        self.virtual_size = Size(self.size.width, count + 1)

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, self._count + 1)

    def _widths(self) -> list[int]:
        """The width of each column, 0 for one that there is no room for beside the first."""
        room = self.scrollable_content_region.width - FIRST
        shown = [0] * len(self._columns)
        for i in sorted(range(1, len(shown)), key=lambda i: self._ranks[i]):
            width = abs(self._columns[i][1]) + 1
            if width <= room:
                shown[i] = width
                room -= width
        shown[0] = FIRST + max(room, 0)
        return shown

    def _joined(self, cells: Sequence[str]) -> str:
        parts = []
        for text, (_, wanted), width in zip(cells, self._columns, self._widths(), strict=True):
            if width:
                parts.append(text.rjust(width - 1) + " " if wanted < 0 else fit(text, width - 1) + " ")
        return "".join(parts)

    def _row(self, at: int) -> str:
        return self._joined(self._cells(at))

    def render_line(self, y: int) -> Strip:
        """The head, or a row."""
        if y == 0:
            style = self.get_component_rich_style("table--head")
            text = self._joined([title for title, _ in self._columns])
            return Strip([Segment(text, style)]).adjust_cell_length(self.size.width, style)
        return super().render_line(y - 1)
