"""What is wrong with a file, where, and what to do: in place of its contents."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

from qformat.errors import QFormatError
from qformat.text import clean, line
from qformat.tui.widgets.facts import wrap


class Fault(Static):
    """An error as a panel."""

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__("", id=id, markup=False)
        self._error: QFormatError | None = None

    def show(self, error: QFormatError) -> None:
        """Show an error."""
        self._error = error
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        error, room = self._error, max(self.size.width - 12, 20)
        if error is None:
            return
        text = Text("This cannot be opened\n\n", "bold")
        text.append(f"{clean(error.what)}\n", "not bold")
        for name, value in (("where", line(error.where)), ("what to do", clean(error.hint or ""))):
            for i, piece in enumerate(wrap(value, room) if value else ()):
                text.append(f"\n{'' if i else name:<12}", "dim not bold").append(piece, "not bold")
        text.append("\n\no opens another file, q leaves", "dim not bold")
        self.update(text)
