"""The bytes of a block, coloured by the fields that their bits belong to, and single bits with names."""

from __future__ import annotations

from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from qformat.inspect.block import BlockView, Span
from qformat.text import line
from qformat.tui.themes import kind_style
from qformat.tui.widgets.tensor_table import fit

MARGIN = 6  # cells before the first byte of a line


def field_style(widget: Widget, field: int) -> Style:
    """The style of a block's ``field``-th field."""
    app = widget.app
    return kind_style(app.theme, app.current_theme.dark, field)


@dataclass(frozen=True)
class _Line:
    """A line of bytes of one plane, or the plane's head."""

    stored: int
    start: int  # in the plane's bytes; -1 for the head


class BytesView(ScrollView):
    """Hexadecimal, plane by plane; a click moves the cursor."""

    COMPONENT_CLASSES = {"bytesview--head", "bytesview--offset", "bytesview--cursor"}
    DEFAULT_CSS = """
    BytesView { height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }
    BytesView > .bytesview--head { text-style: bold; }
    BytesView > .bytesview--offset { color: $foreground 50%; }
    BytesView > .bytesview--cursor { background: $foreground; color: $background; }
    """

    class Pointed(Message):
        """The cursor is on another byte."""

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.can_focus = False
        self.view: BlockView | None = None
        self.plane = self.byte = 0
        self._lines: list[_Line] = []
        self._owners: list[list[Span | None]] = []

    def show(self, view: BlockView) -> None:
        """Show another block; the cursor stays where it was in it."""
        self.view = view
        self._owners = [s.owners() for s in view.stored]
        self.plane = min(self.plane, len(view.stored) - 1)
        self.byte = min(self.byte, max(len(view.stored[self.plane].data) - 1, 0))
        self._lay_out()
        self.post_message(self.Pointed())

    def on_resize(self) -> None:
        self._lay_out()

    def _per_line(self) -> int:
        room = (self.scrollable_content_region.width - MARGIN) // 3
        return next((n for n in (32, 16, 12, 8) if n <= room), 4)

    def _lay_out(self) -> None:
        if self.view is None:
            return
        step = self._per_line()
        self._lines = [
            _Line(i, start)
            for i, stored in enumerate(self.view.stored)
            for start in (-1, *range(0, len(stored.data), step))
        ]
        self.virtual_size = Size(self.size.width, len(self._lines))
        self.refresh()

    def move(self, by: int) -> None:
        """Move the cursor through the bytes of all planes."""
        if self.view is None:
            return
        sizes = [len(s.data) for s in self.view.stored]
        at = sum(sizes[: self.plane]) + self.byte + by
        at = max(0, min(at, sum(sizes) - 1))
        self.plane = 0
        while at >= sizes[self.plane]:
            at -= sizes[self.plane]
            self.plane += 1
        self.byte = at
        y = next(i for i, row in enumerate(self._lines) if self._holds(row))
        if not self.scroll_offset.y <= y < self.scroll_offset.y + self.size.height:
            self.scroll_to(y=max(y - 1, 0), animate=False)
        self.refresh()
        self.post_message(self.Pointed())

    def _holds(self, row: _Line) -> bool:
        return row.stored == self.plane and 0 <= row.start <= self.byte < row.start + self._per_line()

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on a byte."""
        offset = event.get_content_offset(self)
        row = round(self.scroll_offset.y) + offset.y if offset else len(self._lines)
        if offset is None or self.view is None or row >= len(self._lines):
            return
        at, column = self._lines[row], (offset.x - MARGIN) // 3
        found = at.start + column
        if at.start >= 0 and 0 <= column < self._per_line() and found < len(self.view.stored[at.stored].data):
            self.plane, self.byte = at.stored, found
            self.move(0)

    def spans_under_cursor(self) -> list[Span]:
        """The items that have a bit in the byte under the cursor."""
        if self.view is None:
            return []
        owners = self._owners[self.plane][8 * self.byte : 8 * self.byte + 8]
        return list(dict.fromkeys(o for o in owners if o is not None))

    def render_line(self, y: int) -> Strip:
        """A plane's head, or a line of bytes."""
        base, width = self.rich_style, self.size.width
        row = round(self.scroll_offset.y) + y
        if self.view is None or row >= len(self._lines):
            return Strip.blank(width, base)
        at = self._lines[row]
        stored = self.view.stored[at.stored]
        if at.start < 0:
            head = base + self.get_component_rich_style("bytesview--head", partial=True)
            where = f"at {stored.data_offset:,} of {line(stored.file)}"
            text = f"{line(stored.plane)}: {_bytes(len(stored.data))} {where}"
            if len(text) > width:  # the file is the one in the title
                text = f"{line(stored.plane)}: {_bytes(len(stored.data))} at {stored.data_offset:,}"
            return Strip([Segment(fit(text, width), head)])
        dim = base + self.get_component_rich_style("bytesview--offset", partial=True)
        segments = [Segment(f"{at.start:>4}  ", dim)]
        for i in range(at.start, min(at.start + self._per_line(), len(stored.data))):
            segments += [*self._byte(at.stored, i, stored.data[i], base), Segment(" ", base)]
        return Strip(segments).adjust_cell_length(width, base)

    def _byte(self, plane: int, at: int, value: int, base: Style) -> list[Segment]:
        if (plane, at) == (self.plane, self.byte):
            return [Segment(f"{value:02x}", self.get_component_rich_style("bytesview--cursor"))]
        owners = self._owners[plane]
        halves = []
        for digit, bit in ((value >> 4, 8 * at + 4), (value & 15, 8 * at)):
            held = [o for o in owners[bit : bit + 4] if o is not None]
            most = max(held, key=held.count) if held else None
            style = base + field_style(self, most.field) if most else base + Style(dim=True)
            halves.append(Segment(f"{digit:x}", style))
        return halves


class BitsView(Widget):
    """The bits of the byte under the cursor and of its neighbours in the same items, named."""

    COMPONENT_CLASSES = {"bitsview--dim"}
    DEFAULT_CSS = """
    BitsView { height: 5; }
    BitsView > .bitsview--dim { color: $foreground 50%; }
    """

    def __init__(self, source: BytesView, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._source = source

    def _window(self) -> tuple[list[Span], int, int]:
        """Items under the cursor, and the first and last byte to show: at most four."""
        spans = self._source.spans_under_cursor()
        at = self._source.byte
        first = min([s.bit // 8 for s in spans] + [at])
        last = max([(s.bit + s.bits - 1) // 8 for s in spans] + [at])
        return (spans, first, last) if last - first < 4 else (spans, at, at)

    def render_line(self, y: int) -> Strip:
        """Names, brackets, bits, bit numbers, and what the items are."""
        base, width, view = self.rich_style, self.size.width, self._source.view
        if view is None:
            return Strip.blank(width, base)
        spans, first, last = self._window()
        dim = base + self.get_component_rich_style("bitsview--dim", partial=True)
        if y == 4:
            return self._items(spans, width, base)
        owners = self._source._owners[self._source.plane][8 * first : 8 * last + 8]  # noqa: SLF001
        wide = max(1, min(4, (width - 6) // max(len(owners), 1)))
        runs = _runs(owners)[::-1]  # most significant first
        segments = [Segment(("item", "", "bits", "bit", "")[y].ljust(6), dim)]
        for owner, start, count in runs:
            room = count * wide
            style = base + field_style(self, owner.field) if owner else dim
            name = f"{view.fields[owner.field].name}[{owner.item}]" if owner else "unused"
            if y == 0:
                segments.append(Segment(_short(line(name), room), style))
            elif y == 1:
                segments.append(Segment("└" + "─" * (room - 2) + " " if room > 1 else "│", style))
            else:
                for bit in range(start + count - 1, start - 1, -1):
                    raw = view.stored[self._source.plane].data[first + bit // 8] >> (bit % 8) & 1
                    text = f"{raw}" if y == 2 else f"{bit % 8}"
                    segments.append(Segment(text.ljust(wide), (style + Style(bold=True)) if y == 2 else dim))
        return Strip(segments).adjust_cell_length(width, base)

    def _items(self, spans: list[Span], width: int, base: Style) -> Strip:
        view = self._source.view
        assert view is not None
        segments = [Segment(" " * 6, base)]
        for span in spans[:8]:
            field = view.fields[span.field]
            style = base + field_style(self, span.field)
            item = field.items[span.item]
            number = f"{item:g}" if isinstance(item, float) else f"{item}"
            segments.append(Segment(f"{line(field.name)}[{span.item}] = {number}   ", style))
        return Strip(segments).adjust_cell_length(width, base)


def _bytes(count: int) -> str:
    return f"{count:,} byte{'s' * (count != 1)}"


def _short(name: str, room: int) -> str:
    """A name in ``room`` cells: whole, or its index alone, or nothing."""
    if len(name) < room:
        return name.ljust(room)
    index = name[name.rfind("[") :].strip("[]")
    return index.ljust(room) if len(index) < room else " " * room


def _runs(owners: list[Span | None]) -> list[tuple[Span | None, int, int]]:
    """Stretches of bits with one owner: owner, first bit, how many."""
    found: list[tuple[Span | None, int, int]] = []
    for bit, owner in enumerate(owners):
        if found and found[-1][0] is owner:
            found[-1] = (owner, found[-1][1], found[-1][2] + 1)
        else:
            found.append((owner, bit, 1))
    return found
