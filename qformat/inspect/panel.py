"""Panels that plugins add to the views of a tensor and of a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qformat.errors import PluginError
from qformat.plugins.guard import Attempt
from qformat.plugins.host import host
from qformat.text import clean

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    from qformat.files.checkpoint import Checkpoint, TensorInfo
    from qformat.inspect.block import BlockView


@dataclass(frozen=True)
class Panel:
    """A titled part of a view.

    ``render`` gets the checkpoint, the tensor and the block that is looked at (None: the tensor as a
    whole), and returns what `rich` can print, or None where it has nothing to say. It runs in a
    worker, away from the screen; what it returns is printed again whenever the screen's size changes.
    A string is plain text, not markup.
    """

    title: str
    render: Callable[[Checkpoint, TensorInfo, BlockView | None], RenderableType | None]


class Shown:
    """What a panel gave, for `rich` to print: strings in it are data, and a failure is one line."""

    def __init__(self, what: RenderableType) -> None:
        self._what = what

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        from rich.segment import Segment
        from rich.text import Text

        what = Text(self._what) if isinstance(self._what, str) else self._what
        found, failure = Attempt(lambda: list(console.render(what, options)), None).outcome()
        if failure is not None:
            found = console.render(Text(f"the panel failed: {failure.error}"), options)
        for text, style, control in found:
            if not control:
                yield Segment(clean(text), style)


def panels() -> list[Panel]:
    """The panels of all plugins, in the order of the plugins."""
    return [panel for _, panel in host().ask("qformat_panels", _check)]


def rendered(
    panel: Panel, checkpoint: Checkpoint, info: TensorInfo, block: BlockView | None = None
) -> Shown | None:
    """What a panel shows; one that fails shows why, in one line."""
    what, failure = Attempt(lambda: panel.render(checkpoint, info, block), None).outcome()
    if failure is not None:
        return Shown(f"the panel failed: {failure.error}")
    return None if what is None else Shown(what)


def all_rendered(
    checkpoint: Checkpoint, info: TensorInfo, block: BlockView | None = None
) -> list[tuple[str, Shown]]:
    """Title and contents of each panel that has something to say."""
    found = [(panel.title, rendered(panel, checkpoint, info, block)) for panel in panels()]
    return [(title, shown) for title, shown in found if shown is not None]


def _check(panel: object) -> None:
    if not isinstance(panel, Panel):
        raise PluginError(f"qformat_panels gave {panel!r}, which is not a Panel")
