"""Names with values, and the schemes of a file with their colours: text that a summary is made of."""

from __future__ import annotations

from collections.abc import Iterable

from rich.style import Style
from rich.text import Text
from textual.widgets import Static

from qformat.inspect.summary import Group
from qformat.text import line
from qformat.tui.themes import kind_style
from qformat.tui.widgets.tensor_table import bar


class Facts(Static):
    """Lines of name and value; a long value goes on in its own column."""

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__("", id=id, markup=False)
        self._facts: list[tuple[str, str]] = []

    def show(self, facts: Iterable[tuple[str, str]]) -> None:
        """Show other facts."""
        self._facts = list(facts)
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        width = self.size.width
        self.set_class(not self._facts, "-empty")
        if not self._facts or width < 8:
            self.update("")
            return
        longest = max(len(line(v)) for _, v in self._facts)
        names = min(max(len(n) for n, _ in self._facts) + 2, max(width // 2, width - longest))
        room = max(width - names, 8)
        text = Text()
        for name, value in self._facts:
            own = len(name) >= names  # a line of its own
            if own:
                text.append(f"{name}\n", "dim")
            pieces = wrap(line(value), room)
            for i, piece in enumerate(pieces):
                text.append((name if i == 0 and not own else "").ljust(names), "dim")
                text.append(piece + "\n")
        text.right_crop(1)
        self.update(text)


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most ``width``, broken between words where that is possible."""
    import textwrap

    return textwrap.wrap(text, width) or [""]


class Legend(Static):
    """The schemes and types of a file: colour, share of its bytes, how many tensors."""

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__("", id=id, markup=False)
        self._groups: tuple[Group, ...] = ()
        self._kinds: dict[str, int] = {}

    def show(self, groups: tuple[Group, ...], kinds: dict[str, int]) -> None:
        """Show other groups; ``kinds`` numbers the colours by scheme id or dtype."""
        self._groups, self._kinds = groups, kinds
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        self.set_class(not self._groups, "-empty")
        total = sum(g.nbytes for g in self._groups) or 1
        app = self.app
        text = Text()
        for group in self._groups[:16]:
            coding = group.coding.partition(":")[0]
            style = kind_style(app.theme, app.current_theme.dark, self._kinds.get(coding, 7))
            _, tensors, _, nbytes, bpw = group.cells()
            text.append(f"■ {line(group.coding)}\n", style + Style(bold=True))
            text.append(f"  {bar(group.nbytes / total, 10)}", style)
            text.append(f" {group.nbytes / total:5.1%} {bpw:>7} bpw\n", Style())
            text.append(f"  {tensors} tensors, {nbytes} bytes\n", Style(dim=True))
        self.update(text)
