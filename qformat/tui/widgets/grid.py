"""A window onto a matrix of any size: what is on screen is asked for, and nothing else."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from qformat.blocks.tiles import Tile
from qformat.tui.themes import LEVELS, MONO, heat_ink, heat_style

_FAR = 1 << 60


class Grid(Widget, can_focus=True):
    """Rows and columns with a cursor; subclasses say how a number looks."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1, 0)", show=False),
        Binding("down", "move(1, 0)", show=False),
        Binding("left", "move(0, -1)", show=False),
        Binding("right", "move(0, 1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", f"move(0, -{_FAR})", show=False),
        Binding("end", f"move(0, {_FAR})", show=False),
        Binding("ctrl+home", f"move(-{_FAR}, -{_FAR})", show=False),
        Binding("ctrl+end", f"move({_FAR}, {_FAR})", show=False),
    ]
    COMPONENT_CLASSES = {"grid--head", "grid--cursor"}
    DEFAULT_CSS = """
    Grid { height: 1fr; width: 1fr; }
    Grid > .grid--head { color: $foreground 60%; }
    Grid > .grid--cursor { background: $accent; color: $background; text-style: bold; }
    """
    wide = 12  # cells of a column

    class Wanted(Message):
        """The region on screen, whose numbers are wanted."""

        def __init__(self, grid: Grid, region: Tile) -> None:
            self.grid, self.region = grid, region
            super().__init__()

        @property
        def control(self) -> Grid:
            """The grid that asks."""
            return self.grid

    class Moved(Message):
        """The cursor moved, or the number under it has come."""

        def __init__(self, grid: Grid) -> None:
            self.grid = grid
            super().__init__()

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.rows = self.cols = 0
        self.row = self.col = self.top = self.left = 0
        self._region: Tile | None = None
        self._numbers: NDArray[Any] | None = None

    def show(self, rows: int, cols: int) -> None:
        """Show another matrix, or the same anew."""
        self.rows, self.cols = rows, cols
        self.row, self.col = min(self.row, max(rows - 1, 0)), min(self.col, max(cols - 1, 0))
        self._region = self._numbers = None
        self._ask()

    def put(self, region: Tile, numbers: NDArray[Any]) -> None:
        """The numbers of a region have come."""
        if region == self._region:
            self._numbers = numbers
            self.refresh()
            self.post_message(self.Moved(self))

    @property
    def number(self) -> float | None:
        """What is under the cursor, if it is known."""
        return self._at(self.row, self.col)

    # --- moving -----------------------------------------------------------------------------

    def action_move(self, down: int, right: int) -> None:
        """Move the cursor, and the window with it."""
        self.go(self.row + down, self.col + right)

    def action_page(self, by: int) -> None:
        """Move by a screenful of rows."""
        self.action_move(by * max(self._height() - 1, 1), 0)

    def go(self, row: int, col: int) -> None:
        """Put the cursor on a cell, the nearest there is."""
        self.row, self.col = max(0, min(row, self.rows - 1)), max(0, min(col, self.cols - 1))
        height, across = self._height(), self._across()
        self.top = max(min(self.top, self.row), self.row - height + 1)
        self.left = max(min(self.left, self.col), self.col - across + 1)
        self._ask()
        self.refresh()
        self.post_message(self.Moved(self))

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the click was."""
        offset = event.get_content_offset(self)
        if offset is not None and offset.y >= 1 and offset.x >= self._margin():
            self.go(self.top + offset.y - 1, self.left + (offset.x - self._margin()) // self.wide)

    def on_mouse_scroll_down(self) -> None:
        self.action_move(3, 0)

    def on_mouse_scroll_up(self) -> None:
        self.action_move(-3, 0)

    def on_resize(self) -> None:
        self._ask()

    def _height(self) -> int:
        return max(self.size.height - 1, 1)

    def _margin(self) -> int:
        return len(f"{max(self.rows - 1, 0):,}") + 1

    def _across(self) -> int:
        return max((self.size.width - self._margin()) // self.wide, 1)

    def _ask(self) -> None:
        height, across = self._height(), self._across()
        if not (self.rows and self.cols and self.size.area):
            return
        region = Tile(
            self.top, min(height, self.rows - self.top), self.left, min(across, self.cols - self.left)
        )
        if region != self._region:
            self._region, self._numbers = region, self._moved(region)
            self.post_message(self.Wanted(self, region))

    def _moved(self, region: Tile) -> NDArray[Any] | None:
        """What of a new region is known from the last one; the rest is unknown."""
        old, numbers = self._region, self._numbers
        if old is None or numbers is None:
            return None
        kept = np.full((region.rows, region.cols), np.nan)
        r0, r1 = max(old.row, region.row), min(old.row + old.rows, region.row + region.rows)
        c0, c1 = max(old.col, region.col), min(old.col + old.cols, region.col + region.cols)
        if r0 < r1 and c0 < c1:
            part = numbers[r0 - old.row : r1 - old.row, c0 - old.col : c1 - old.col]
            kept[r0 - region.row : r1 - region.row, c0 - region.col : c1 - region.col] = part
        return kept

    def _at(self, row: int, col: int) -> float | None:
        region, numbers = self._region, self._numbers
        if region is None or numbers is None:
            return None
        row, col = row - region.row, col - region.col
        inside = 0 <= row < numbers.shape[0] and 0 <= col < numbers.shape[1]
        return float(numbers[row, col]) if inside else None

    # --- drawing ----------------------------------------------------------------------------

    def head(self, col: int) -> str:
        """What stands over a column."""
        return f"{col:,}"

    def cell(self, number: float | None, cursor: bool) -> tuple[str, Style]:
        """Text of ``wide`` cells and style of a number."""
        raise NotImplementedError

    def render_line(self, y: int) -> Strip:
        """The head, or a row."""
        base, width = self.rich_style, self.size.width
        head = base + self.get_component_rich_style("grid--head", partial=True)
        margin, across = self._margin(), min(self._across(), self.cols - self.left)
        if y == 0:
            names = "".join(self._head_text(self.left + i) for i in range(across))
            return Strip([Segment(" " * margin + names, head)]).adjust_cell_length(width, base)
        row = self.top + y - 1
        if row >= self.rows:
            return Strip.blank(width, base)
        segments = [Segment(f"{row:,}".rjust(margin - 1) + " ", head)]
        for i in range(across):
            cursor = row == self.row and self.left + i == self.col
            text, style = self.cell(self._at(row, self.left + i), cursor)
            segments.append(Segment(text, base + style))
        return Strip(segments).adjust_cell_length(width, base)

    def _head_text(self, col: int) -> str:
        return self.head(col).rjust(self.wide)


class ValueGrid(Grid):
    """Exact values, as many digits as float32 has."""

    wide = 14

    def cell(self, number: float | None, cursor: bool) -> tuple[str, Style]:
        """The number."""
        text = "·" if number is None else f"{number:.7g}"
        style = self.get_component_rich_style("grid--cursor") if cursor else Style()
        return text.rjust(self.wide), style


class HeatMap(Grid):
    """One cell for each block; dark is little, bright is much, within what is on screen."""

    wide = 2

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.low = self.high = 0.0

    def show(self, rows: int, cols: int) -> None:
        """Show another map; few columns get wide cells."""
        room = max(self.size.width - len(f"{rows:,}") - 1, 8)
        self.wide = max(2, min(room // max(cols, 1), 6))
        super().show(rows, cols)

    def put(self, region: Tile, numbers: NDArray[Any]) -> None:
        """Numbers have come: they set the range of the colours."""
        finite = numbers[np.isfinite(numbers)]
        self.low, self.high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        super().put(region, numbers)

    def level(self, number: float) -> int:
        """The step of a number between the lowest and the highest on screen."""
        if not np.isfinite(number):
            return LEVELS - 1
        span = self.high - self.low
        return round((number - self.low) / span * (LEVELS - 1)) if span > 0 else 0

    def cell(self, number: float | None, cursor: bool) -> tuple[str, Style]:
        """A coloured cell, or a shade."""
        if number is None or number != number:  # noqa: PLR0124  not yet known
            return ("[]" if cursor else "··").center(self.wide), Style(dim=True)
        level = max(0, min(self.level(number), LEVELS - 1))
        char, style = heat_style(self.app.theme, level)
        if not cursor:
            return char * self.wide, style
        if self.app.theme == MONO:
            return f"[{char * (self.wide - 2)}]", Style(bold=True)
        return f"[{' ' * (self.wide - 2)}]", style + Style.from_color(heat_ink(level)) + Style(bold=True)

    def _head_text(self, col: int) -> str:
        step = -(-8 // self.wide)  # columns that one number stands over
        return f"{col:,}".ljust(self.wide * step) if (col - self.left) % step == 0 else ""
