"""The elements of a block: codes, decoded values, and how far they lie from the original's."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from qformat.inspect.block import BlockView
from qformat.text import line
from qformat.tui.widgets.bytesview import field_style


class Elements(ScrollView):
    """A line for each element under a head that stays."""

    COMPONENT_CLASSES = {"elements--head", "elements--dim"}
    DEFAULT_CSS = """
    Elements { height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }
    Elements > .elements--head { background: $panel; text-style: bold; }
    Elements > .elements--dim { color: $foreground 60%; }
    """

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.can_focus = False
        self._view: BlockView | None = None
        self._original: Sequence[float] | None = None

    def show(self, view: BlockView, original: Sequence[float] | None) -> None:
        """Show another block, beside the original's values if they are known."""
        self._view, self._original = view, original
        self.virtual_size = Size(self.size.width, len(view.values) + 1)
        self.refresh()

    def page(self, by: int) -> None:
        """Go on, or back, by as many elements as are shown."""
        self.scroll_relative(y=by * (self.size.height - 1), animate=False)

    def _columns(self) -> list[tuple[str, int, int]]:
        """Title, width, and which field (or -1); bits and errors where there is room for them."""
        view, room = self._view, self.scrollable_content_region.width
        assert view is not None
        number = max(map(len, (f"{v:.7g}" for v in (*view.values, *(self._original or ()))))) + 1
        start = [("column", 6, -1)]
        end = [("value", max(number, 6), -1)]
        if self._original is not None:
            end.append(("original", max(number, 9), -1))
        codes, bits = [], []
        for field in view.wide():
            at = view.fields.index(field)
            width = max(len(f"{i}") for i in field.items)
            codes.append((line(field.name)[-6:], max(width, len(line(field.name)[-6:])) + 1, at))
            bits.append(("bits", max(len(field.bits[0]), 4) + 1, at))
        error = [("error", 11, -1)] if self._original is not None else []
        room -= sum(w for _, w, _ in (*start, *codes, *end))
        if sum(w for _, w, _ in error) > room:
            error = []
        room -= sum(w for _, w, _ in error)
        pairs = zip(bits, codes, strict=True) if sum(w for _, w, _ in bits) <= room else ((c,) for c in codes)
        return [*start, *(column for pair in pairs for column in pair), *end, *error]

    def render_line(self, y: int) -> Strip:
        """The head, or an element."""
        base, width, view = self.rich_style, self.size.width, self._view
        if view is None:
            return Strip.blank(width, base)
        columns = self._columns()
        if y == 0:
            head = self.get_component_rich_style("elements--head")
            text = "".join(title.rjust(w) for title, w, _ in columns)
            return Strip([Segment(text, head)]).adjust_cell_length(width, head)
        i = round(self.scroll_offset.y) + y - 1
        if i >= len(view.values):
            return Strip.blank(width, base)
        dim = base + self.get_component_rich_style("elements--dim", partial=True)
        segments = []
        for title, w, field in columns:
            style = base if field < 0 else base + field_style(self, field)
            segments.append(
                Segment(self._cell(title, i, field).rjust(w), dim if title == "column" else style)
            )
        return Strip(segments).adjust_cell_length(width, base + Style())

    def _cell(self, title: str, i: int, field: int) -> str:
        assert self._view is not None
        value = self._view.values[i]
        if field >= 0:
            found = self._view.fields[field]
            return found.bits[i] if title == "bits" else f"{found.items[i]}"
        if title == "column":
            return f"{self._view.first + i:,}"
        if title == "value" or self._original is None:
            return f"{value:.7g}"
        original = self._original[i]
        return f"{original:.7g}" if title == "original" else f"{value - original:+.3g}"
