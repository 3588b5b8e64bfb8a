"""What is wrong with a file, where, and what to do: in place of its contents."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

from qformat.errors import QFormatError
from qformat.text import clean, line


class Fault(Static):
    """An error as a panel."""

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__("", id=id, markup=False)

    def show(self, error: QFormatError) -> None:
        """Show an error."""
        text = Text("This cannot be opened\n\n", "bold")
        text.append(f"{clean(error.what)}\n\n")
        if error.where:
            text.append("where    ", "dim").append(f"{line(error.where)}\n")
        if error.hint:
            text.append("what to do  ", "dim").append(f"{clean(error.hint)}\n")
        text.append("\no opens another file, q leaves", "dim")
        self.update(text)
