"""A block's values on a line, and under them the levels that schemes leave to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from qformat.inspect.lab.mapping import Mapped
from qformat.tui.themes import kind_style
from qformat.tui.widgets.tensor_table import fit

HEAD = 3  # lines above the first scheme
_MARKS = " ╷│┃"  # none, one, some, many values in a cell


class NumberLine(ScrollView, can_focus=True):
    """The line at the top holds the values; one of them can be dragged along it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "choose(-1)", show=False),
        Binding("right", "choose(1)", show=False),
        Binding("up,plus", "drag(1)", show=False),
        Binding("down,minus", "drag(-1)", show=False),
        Binding("shift+up,pageup", "drag(10)", show=False),
        Binding("shift+down,pagedown", "drag(-10)", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"numberline--dim", "numberline--cursor"}
    DEFAULT_CSS = """
    NumberLine { height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }
    NumberLine > .numberline--dim { color: $foreground 55%; }
    NumberLine > .numberline--cursor { color: $accent; text-style: bold; }
    """

    class Chosen(Message):
        """Another value is under the cursor."""

        def __init__(self, at: int) -> None:
            self.at = at
            super().__init__()

    class Dragged(Message):
        """The value under the cursor was moved."""

        def __init__(self, value: float) -> None:
            self.value = value
            super().__init__()

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.values: NDArray[np.float32] = np.zeros(0, np.float32)
        self.at = 0
        self.low, self.high = -1.0, 1.0
        self.mapped: Sequence[Mapped] = ()
        self.told: Sequence[str] = ()
        self._dragging = False

    def show(self, values: NDArray[np.float32], at: int, *, fresh: bool) -> None:
        """Show values; ``fresh`` ones choose the line's ends anew, others only widen it."""
        self.values, self.at = values, at
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        low, high = min(low, 0.0), max(high, 0.0)
        if fresh or not low < high:
            pad = 0.25 * (high - low) or 1.0
            self.low, self.high = low - pad, high + pad
        elif low < self.low or high > self.high:
            pad = 0.1 * (high - low)
            self.low, self.high = min(self.low, low - pad), max(self.high, high + pad)
        self.refresh()

    def put(self, mapped: Sequence[Mapped], told: Sequence[str]) -> None:
        """The schemes' levels, and a line of text about each."""
        self.mapped, self.told = mapped, told
        self.virtual_size = Size(self.size.width, HEAD + 2 * len(mapped))
        self.refresh()

    # --- keys and mouse ---------------------------------------------------------------------

    def action_choose(self, by: int) -> None:
        """Put the cursor on the next larger value, or the next smaller."""
        if self.values.size:
            order = np.argsort(self.values, kind="stable").tolist()
            place = max(0, min(order.index(self.at) + by, len(order) - 1))
            self.post_message(self.Chosen(order[place]))

    def action_drag(self, by: int) -> None:
        """Move the value under the cursor by cells of the line."""
        if self.values.size:
            self.post_message(self.Dragged(float(self.values[self.at]) + by * self._step))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Take the value nearest to the mouse."""
        offset = event.get_content_offset(self)
        if offset is None or round(self.scroll_offset.y) + offset.y >= HEAD or not self.values.size:
            return
        at = int(np.abs(self.values - self._value(offset.x)).argmin())
        self._dragging = True
        self.capture_mouse()
        self.post_message(self.Chosen(at))

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Drag what was taken."""
        if self._dragging:
            x = event.x - self.gutter.left
            beyond = -2 if x <= 0 else 2 if x >= self._width() - 1 else 0  # pull the line's end along
            self.post_message(self.Dragged(self._value(x + beyond)))

    def on_mouse_up(self) -> None:
        """Let go."""
        self._dragging = False
        self.release_mouse()

    # --- drawing ----------------------------------------------------------------------------

    def _width(self) -> int:
        return max(self.scrollable_content_region.width, 8)

    @property
    def _step(self) -> float:
        return (self.high - self.low) / (self._width() - 1)

    def _value(self, x: int) -> float:
        return self.low + x * self._step

    def _cells(self, values: Sequence[float] | NDArray[np.float32]) -> NDArray[np.int64]:
        """The cell of each value; what lies beyond the ends falls on none."""
        where = np.round((np.asarray(values, np.float64) - self.low) / self._step)
        inside = where[(where >= 0) & (where < self._width())]
        return inside.astype(np.int64)

    def render_line(self, y: int) -> Strip:
        """Scale, values, zero; then for each scheme what it says and its levels."""
        base, width = self.rich_style, self.size.width
        row = round(self.scroll_offset.y) + y
        if row < HEAD:
            segments = (self._scale, self._values, self._zero)[row](base)
        else:
            scheme, part = divmod(row - HEAD, 2)
            if scheme >= len(self.mapped):
                return Strip.blank(width, base)
            segments = self._levels(base, scheme) if part else self._text(base, scheme)
        return Strip(segments).adjust_cell_length(width, base)

    def _dim(self, base: Style) -> Style:
        return base + self.get_component_rich_style("numberline--dim", partial=True)

    def _marked(self, base: Style) -> Style:
        return base + self.get_component_rich_style("numberline--cursor", partial=True)

    def _scale(self, base: Style) -> list[Segment]:
        width = self._width()
        left, right = f"{self.low:.4g}", f"{self.high:.4g}"
        middle = f"value {self.at}: {self.values[self.at]:.6g}" if self.values.size else ""
        room = width - len(left) - len(right)
        return [
            Segment(left, self._dim(base)),
            Segment(middle.center(room)[:room], self._marked(base)),
            Segment(right, self._dim(base)),
        ]

    def _values(self, base: Style) -> list[Segment]:
        counts = np.bincount(self._cells(self.values), minlength=self._width())
        text = [_MARKS[min(n, 2) if n < 4 else 3] for n in counts]
        return self._with_cursor(text, self.values, base, base, "▼")

    def _zero(self, base: Style) -> list[Segment]:
        line = ["─"] * self._width()
        for cell in self._cells([0.0]):
            line[cell] = "┼"
        return [Segment("".join(line), self._dim(base))]

    def _text(self, base: Style, scheme: int) -> list[Segment]:
        spec, told = self.mapped[scheme].spec, self.told[scheme] if scheme < len(self.told) else ""
        kind = base + kind_style(self.app.theme, self.app.current_theme.dark, scheme)
        room = self._width() - 8
        return [Segment(fit(spec, 7), kind), Segment(" " + whole(told, room), base)]

    def _levels(self, base: Style, scheme: int) -> list[Segment]:
        found = self.mapped[scheme]
        line = [" "] * self._width()
        for cell in self._cells(found.levels):
            line[cell] = "┊"
        for cell in self._cells(found.values):
            line[cell] = "┃"
        kind = base + kind_style(self.app.theme, self.app.current_theme.dark, scheme)
        return self._with_cursor(line, found.values, base, kind, "▲")

    def _with_cursor(
        self,
        line: list[str],
        values: Sequence[float] | NDArray[np.float32],
        base: Style,
        kind: Style,
        mark: str,
    ) -> list[Segment]:
        """A line of marks; levels that nobody took are dim, the cursor's value stands out."""
        chosen = self._cells([values[self.at]]) if self.at < len(values) else ()
        for cell in chosen:
            line[cell] = mark
        styles = {mark: self._marked(base), "┊": self._dim(base)}
        return [Segment(char, styles.get(char, kind)) for char in line]


def whole(text: str, width: int) -> str:
    """As many parts of a text, which two spaces separate, as there is room for.

    >>> whole("rel. RMSE 0.1  max 0.2  scale 1", 25)
    'rel. RMSE 0.1  max 0.2'
    """
    return text if len(text) <= width else text[: width + 2].rpartition("  ")[0]
