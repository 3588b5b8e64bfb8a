"""The list of tensors: virtual rows, so that 100,000 of them are as quick as ten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from qformat.files.checkpoint import TensorInfo
from qformat.inspect.listing import cells
from qformat.text import line
from qformat.tui.themes import kind_style


@dataclass(frozen=True)
class GroupRow:
    """The tensors of one part of all layers, as one row."""

    pattern: str
    count: int
    nbytes: int
    elements: int
    codings: tuple[str, ...]


Row = str | GroupRow

# Title, sort key, width, and what it must leave the name, which takes the rest, or the longest name if that
# is less.
COLUMNS: tuple[tuple[str, str, int, int], ...] = (
    ("tensor", "name", 0, 0),
    ("shape", "elements", 12, 44),
    ("type", "", 6, 44),
    ("scheme", "scheme", 9, 0),
    ("bytes", "bytes", 13, 0),
    ("", "bytes", 10, 44),
    ("bpw", "bpw", 7, 0),
    ("rel. RMSE", "error", 10, 18),
)
NARROWEST = 12  # cells that a name has at least
_RIGHT = {"bytes", "bpw", "rel. RMSE"}
_BAR, _TYPE, _SCHEME, _ERROR = 5, 2, 3, 7
_OPTIONAL = (_ERROR, 1, _BAR, _TYPE)  # the first are the last to go


def fit(text: str, width: int) -> str:
    """Text in exactly ``width`` cells, cut near its start if it is longer: the end tells names apart."""
    if not text.isascii():
        from rich.cells import cell_len, set_cell_size

        cells = cell_len(text)
        if cells > width and cells > len(text):
            text = set_cell_size(text, max(width - 1, 0)) + "…"
        if cells != len(text):
            return set_cell_size(text, width)
    if len(text) <= width:
        return text.ljust(width)
    head = min((width - 1) // 3, 4)
    return text[:head] + "…" + text[len(text) - (width - 1 - head) :]


class TensorTable(ScrollView, can_focus=True):
    """Rows are names, or groups of them; what a row says is asked when it is first drawn."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown,space", "page(1)", show=False),
        Binding("home", "move(-1000000000)", show=False),
        Binding("end,G", "move(1000000000)", show=False),
    ]
    COMPONENT_CLASSES = {
        "tensor-table--head", "tensor-table--cursor", "tensor-table--idle", "tensor-table--dim",
    }  # fmt: skip
    cursor: reactive[int] = reactive(0)

    class Opened(Message):
        """A row was chosen with the mouse or Enter."""

        def __init__(self, row: Row) -> None:
            self.row = row
            super().__init__()

    class HeadClicked(Message):
        """A column's head was clicked: sort by it."""

        def __init__(self, sort: str) -> None:
            self.sort = sort
            super().__init__()

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.rows: Sequence[Row] = ()
        self.infos: Mapping[str, TensorInfo] = {}
        self.kinds: dict[str, int] = {}  # coding -> number, for its colour
        self.largest: float = 1  # bytes of the largest row
        self.sort = "file"
        self.reverse = False
        self.with_errors = False
        self._measured: Mapping[str, TensorInfo] = {}
        self._longest = 0  # letters of the longest name
        self.nothing = ""  # what stands there when there is no row
        self._strip = lru_cache(4096)(self._make)

    # --- what it shows ----------------------------------------------------------------------

    def show(self, rows: Sequence[Row], *, keep: Row | None = None) -> None:
        """Show other rows; the cursor stays on ``keep`` if that is among them."""
        self.rows = rows
        if self._measured is not self.infos:
            self._measured, self._longest = self.infos, max(map(len, self.infos), default=0)
        self.redraw()
        self.virtual_size = Size(self.size.width, len(rows) + 1)
        at = next((i for i, row in enumerate(rows) if row == keep), 0) if keep is not None else 0
        self.cursor = -1
        self.cursor = min(at, max(len(rows) - 1, 0))

    def redraw(self) -> None:
        """Forget drawn rows: what they say, or their colours, changed."""
        self._strip.cache_clear()
        self.refresh()

    @property
    def current(self) -> Row | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if 0 <= self.cursor < len(self.rows) else None

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.rows) + 1)

    def notify_style_update(self) -> None:
        """The theme changed."""
        self._strip.cache_clear()
        super().notify_style_update()

    # --- moving -----------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        self.cursor = max(0, min(self.cursor + by, len(self.rows) - 1))

    def action_page(self, by: int) -> None:
        """Move the cursor by a screenful."""
        self.action_move(by * max(self.size.height - 2, 1))

    def watch_cursor(self, before: int, after: int) -> None:
        """Redraw two rows, and scroll if the cursor left the window."""
        top, height = round(self.scroll_offset.y), max(self.size.height - 1, 1)
        if after < top:
            self.scroll_to(y=after, animate=False, immediate=True)
        elif after >= top + height:
            self.scroll_to(y=after - height + 1, animate=False, immediate=True)
        for row in (before, after):
            self.refresh(Region(0, row - round(self.scroll_offset.y) + 1, self.size.width, 1))

    def on_click(self, event: events.Click) -> None:
        """Choose a row, open it on a double click, or sort by a column."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if offset.y == 0:
            self._click_head(offset.x)
            return
        row = round(self.scroll_offset.y) + offset.y - 1
        if row < len(self.rows):
            self.cursor = row
            if event.chain > 1:
                self.post_message(self.Opened(self.rows[row]))

    def _click_head(self, x: int) -> None:
        at = 0
        for (_, sort, _, _), width in zip(COLUMNS, self._widths(), strict=True):
            at += width + 1 if width else 0
            if x < at:
                if sort:
                    self.post_message(self.HeadClicked(sort))
                return

    # --- drawing ----------------------------------------------------------------------------

    def _widths(self) -> list[int]:
        """The width of each column, 0 for one that there is no room for."""
        shown = [0 if i in _OPTIONAL else w for i, (_, _, w, _) in enumerate(COLUMNS)]
        name = self.scrollable_content_region.width - sum(w + 1 for w in shown if w) - 1
        for i in sorted(_OPTIONAL, key=lambda i: not self._sorted_by(i)):
            _, _, width, least = COLUMNS[i]
            least = NARROWEST if self._sorted_by(i) else min(least, self._longest)
            if name - width - 1 >= least and (i != _ERROR or self.with_errors):
                shown[i] = width
                name -= width + 1
        shown[0] = max(name, NARROWEST)
        return shown

    def _sorted_by(self, column: int) -> bool:
        title, sort, _, _ = COLUMNS[column]
        return bool(title and sort) and sort == self.sort

    def render_line(self, y: int) -> Strip:
        """The head, or a row."""
        width = self.size.width
        if y == 0:
            return self._head(width)
        row = round(self.scroll_offset.y) + y - 1
        if row >= len(self.rows):
            return self._below(row, width)
        return self._strip(row, width, row == self.cursor, self.has_focus)

    def _below(self, row: int, width: int) -> Strip:
        if row != 1 or self.rows:
            return Strip.blank(width, self.rich_style)
        dim = self.rich_style + self.get_component_rich_style("tensor-table--dim", partial=True)
        return Strip([Segment(f" {self.nothing}", dim)]).adjust_cell_length(width, self.rich_style)

    def _head(self, width: int) -> Strip:
        style = self.get_component_rich_style("tensor-table--head")
        parts = []
        for i, ((title, _, _, _), w) in enumerate(zip(COLUMNS, self._widths(), strict=True)):
            if not w:
                continue
            arrow = ("▲" if self.reverse else "▼") if self._sorted_by(i) else ""
            text = f"{title}{arrow}"
            parts.append((text.rjust(w) if title in _RIGHT else text.ljust(w))[:w])
        text = " ".join(parts)
        return Strip([Segment(text, style)]).adjust_cell_length(width, style)

    def _make(self, index: int, width: int, cursor: bool, focused: bool) -> Strip:
        row = self.rows[index]
        base = self.rich_style
        if cursor:
            base = self.get_component_rich_style(f"tensor-table--{'cursor' if focused else 'idle'}")
        texts, coding, nbytes = self._texts(row)
        kind = base + self._kind(coding) if not cursor else base
        dim = base if cursor else base + self.get_component_rich_style("tensor-table--dim", partial=True)
        segments = []
        for i, ((title, _, _, _), w) in enumerate(zip(COLUMNS, self._widths(), strict=True)):
            if not w:
                continue
            if i == _BAR:
                text, style = bar(nbytes / self.largest, w), kind
            else:
                text = texts[i].rjust(w) if title in _RIGHT else fit(texts[i], w)
                style = kind if i == _SCHEME else dim if i in (1, _TYPE) else base
            segments += [Segment(text, style), Segment(" ", base)]
        return Strip(segments).adjust_cell_length(width, base)

    def _kind(self, coding: str) -> Style:
        app = self.app
        return kind_style(app.theme, app.current_theme.dark, self.kinds.get(coding, 7))

    def _texts(self, row: Row) -> tuple[list[str], str, int]:
        """The cells of a row, its coding and its bytes."""
        if isinstance(row, GroupRow):
            bpw = f"{row.nbytes * 8 / row.elements:.3f}" if row.elements else "-"
            coding = row.codings[0] if len(row.codings) == 1 else "mixed"
            name = f"▸ {line(row.pattern)}" if row.count > 1 else line(row.pattern)
            return (
                [name, f"{row.count:,} tensors", "", coding, f"{row.nbytes:,}", "", bpw, ""],
                coding,
                row.nbytes,
            )
        info = self.infos[row]
        name, shape, dtype, scheme, nbytes, bpw, error = cells(info)
        scheme = scheme if info.scheme else info.coding
        return [line(name), shape, dtype, line(scheme), nbytes, "", bpw, error], info.coding, info.nbytes


def bar(part: float, width: int) -> str:
    """A bar in eighths of a cell; what is not zero shows.

    >>> bar(0.5, 4), bar(0.001, 4)
    ('██  ', '▏   ')
    """
    eighths = max(round(min(part, 1) * width * 8), 1 if part > 0 else 0)
    return ("█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()).ljust(width)
