"""The bits of one number, to be turned over by hand."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from qformat.inspect.lab.facts import plain
from qformat.inspect.lab.number import FORMATS, Number
from qformat.tui.themes import kind_style


class BitEditor(Widget, can_focus=True):
    """Bits under their numbers and their fields' names; space or a click flips one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(1)", show=False),
        Binding("right", "move(-1)", show=False),
        Binding("home", "move(99)", show=False),
        Binding("end", "move(-99)", show=False),
        Binding("space,enter", "flip", show=False),
        Binding("up", "neighbour(1)", show=False),
        Binding("down", "neighbour(-1)", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"biteditor--dim", "biteditor--cursor"}
    DEFAULT_CSS = """
    BitEditor { height: 5; }
    BitEditor > .biteditor--dim { color: $foreground 60%; }
    BitEditor > .biteditor--cursor { background: $accent; color: $background; text-style: bold; }
    """

    class Changed(Message):
        """A bit was flipped, or a neighbour taken."""

        def __init__(self, number: Number) -> None:
            self.number = number
            super().__init__()

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.number = Number(FORMATS["bf16"], 0)
        self.bit = 0  # under the cursor; 0 is the lowest

    def show(self, number: Number) -> None:
        """Show another number; in another format the cursor goes to its highest exponent bit."""
        if number.format != self.number.format:
            self.bit = max(number.format.bits - 2, 0)
        self.number = number
        self.refresh()

    # --- keys and mouse ---------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """Move the cursor towards the higher bits, or the lower."""
        self.bit = max(0, min(self.bit + by, self.number.format.bits - 1))
        self.refresh()

    def action_flip(self) -> None:
        """Flip the bit under the cursor."""
        self.post_message(self.Changed(self.number.flipped(self.bit)))

    def action_neighbour(self, by: int) -> None:
        """Go to the next number above or below."""
        found = self.number.above if by > 0 else self.number.below
        if found is not None:
            self.post_message(self.Changed(found))

    def on_click(self, event: events.Click) -> None:
        """Flip the bit that was clicked."""
        offset = event.get_content_offset(self)
        if offset is None or not 1 <= offset.y <= 2:
            return
        for bit, _, x in self._places():
            if x <= offset.x < x + self._wide:
                self.bit = bit
                self.action_flip()

    # --- drawing ----------------------------------------------------------------------------

    @property
    def _wide(self) -> int:
        return 2 if self.number.format.bits > 16 else 3

    def _places(self) -> list[tuple[int, int, int]]:
        """For each bit, highest first: its number, its field's, and where it stands."""
        found, x, bit = [], 1, self.number.format.bits - 1
        for field, (_, width) in enumerate(self.number.format.fields):
            for _ in range(width):
                found.append((bit, field, x))
                x, bit = x + self._wide, bit - 1
            x += 2
        return found

    def render_line(self, y: int) -> Strip:
        """Fields, numbers, bits, a pointer, what flipping would give."""
        base, width = self.rich_style, self.size.width
        dim = base + self.get_component_rich_style("biteditor--dim", partial=True)
        if y == 0:
            segments = self._names(base)
        elif y == 1:
            segments = self._row(dim, lambda bit: str(bit) if self._wide > 2 or bit % 4 == 0 else "·")
        elif y == 2:
            segments = self._row(base, lambda bit: self.number.bits[-1 - bit], bits=True)
        elif y == 3:
            x = next(x for bit, _, x in self._places() if bit == self.bit)
            segments = [Segment(" " * (x + self._wide - 2) + "▲", dim)]
        else:
            _, field, flipped = next(f for f in self.number.flips() if f[0] == self.bit)
            text = f" bit {self.bit}, {field}: flipped, the number is {plain(flipped.value)}"
            segments = [Segment(text, dim)]
        return Strip(segments).adjust_cell_length(width, base)

    def _names(self, base: Style) -> list[Segment]:
        segments, end = [Segment(" ", base)], 1
        places = self._places()
        for field, (name, width) in enumerate(self.number.format.fields):
            x = next(x for _, f, x in places if f == field)
            room = width * self._wide
            segments += [Segment(" " * (x - end), base)]
            segments += [Segment(name[: room + 1].ljust(room), base + self._style(field))]
            end = x + max(room, len(name[: room + 1]))
        return segments

    def _row(self, style: Style, text: object, *, bits: bool = False) -> list[Segment]:
        segments, end = [Segment(" ", style)], 1
        cursor = self.get_component_rich_style("biteditor--cursor")
        for bit, field, x in self._places():
            segments.append(Segment(" " * (x - end), style))
            shown = text(bit).rjust(self._wide - 1) + " "  # type: ignore[operator]
            kind = style + self._style(field) if bits else style
            if bits and bit == self.bit and self.has_focus:
                kind = cursor
            segments.append(Segment(shown, kind))
            end = x + self._wide
        return segments

    def _style(self, field: int) -> Style:
        return kind_style(self.app.theme, self.app.current_theme.dark, field)
