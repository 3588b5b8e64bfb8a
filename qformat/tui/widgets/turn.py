"""One turn of a conversation: what was said, and the answers in columns; where they part is marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.widgets import Static

from qformat.errors import QFormatError
from qformat.text import clean, counted, quoted

if TYPE_CHECKING:
    from qformat.model.reply import Reply

END = "∎"  # where one answer ends and the other goes on


class Turn(Static):
    """What a person said, then answers that grow; all of it is data, and can do nothing to the terminal."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"turn--said", "turn--mark", "turn--dim"}

    def __init__(self, said: str) -> None:
        super().__init__("", markup=False)
        self.said = said
        self.replies: Sequence[Reply] = ()

    def on_mount(self) -> None:
        self.show(())

    def show(self, replies: Sequence[Reply]) -> None:
        """Show answers as far as they are."""
        self.replies = replies
        self.update(Group(self._said(), *self._answers()))

    def fail(self, error: QFormatError) -> None:
        """Say why there is no answer."""
        told = Text(clean(error), self.get_component_rich_style("turn--dim"))
        self.update(Group(self._said(), *self._answers(), told))

    def _said(self) -> Text:
        return Text(f"> {clean(self.said)}", self.get_component_rich_style("turn--said"), overflow="fold")

    def _answers(self) -> list[RenderableType]:
        if not self.replies:
            return []
        from qformat.model.reply import parting_words

        mark = self._parting()
        columns = [Group(self._text(r, mark), self._figures(r)) for r in self.replies]
        if len(columns) == 1:
            return list(columns)
        grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
        for _ in columns:
            grid.add_column(ratio=1, overflow="fold")
        grid.add_row(*columns)
        dim = self.get_component_rich_style("turn--dim")
        return [grid, Text(clean(parting_words(*self.replies)), dim)] if self._ended else [grid]

    @property
    def _ended(self) -> bool:
        return all(r.end for r in self.replies)

    def _parting(self) -> int | None:
        """The first token that differs, as far as both have come."""
        if len(self.replies) != 2:
            return None
        from qformat.model.reply import parting

        at = parting(*self.replies)
        both = min(len(r.ids) for r in self.replies)
        return at if at is not None and (at < both or self._ended) else None

    def _text(self, reply: Reply, mark: int | None) -> Text:
        if mark is None:
            return Text(clean(reply.text), overflow="fold")
        style = self.get_component_rich_style("turn--mark")
        if mark >= len(reply.ids):
            return Text(clean(reply.text), overflow="fold").append(END, style)
        ends = [*reply.places[1:], len(reply.text)]
        first, last = reply.places[mark], ends[mark]
        shown = reply.text[first:last]
        text = Text(clean(reply.text[:first]), overflow="fold")
        if shown.strip():
            text.append(clean(shown), style)
        else:  # a line break, a control token, a part of a character
            text.append(quoted(reply.pieces[mark]), style).append(clean(shown))
        return text.append(clean(reply.text[last:]))

    def _figures(self, reply: Reply) -> Text:
        parts = [counted(len(reply.ids), "token")]
        if reply.tokens_per_second is not None:
            parts.append(f"{reply.tokens_per_second:.1f}/s")
        if reply.ids:
            parts.append(f"first after {reply.first_seconds:.1f} s")
        if reply.remark:
            parts.append(clean(reply.remark))
        return Text(" · ".join(parts), self.get_component_rich_style("turn--dim"))
