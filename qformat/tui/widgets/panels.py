"""What plugins have to say about a tensor or a block."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text
from textual.widgets import Static

from qformat.text import line

if TYPE_CHECKING:
    from qformat.inspect.panel import Shown


class Panels(Static):
    """Titled panels, one under the other; nothing where no plugin has any."""

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__("", id=id, markup=False)
        self.display = False

    def show(self, found: Iterable[tuple[str, Shown]]) -> None:
        """Show other panels."""
        parts: list[RenderableType] = []
        for title, shown in found:
            parts += [Text(line(title), "bold"), shown]
        self.update(Group(*parts))
        self.display = bool(parts)
