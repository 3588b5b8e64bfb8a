"""Panels that plugins add to the views of a tensor and of a block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qformat.errors import PluginError
from qformat.plugins.guard import Attempt
from qformat.plugins.host import host

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qformat.files.checkpoint import Checkpoint, TensorInfo
    from qformat.inspect.block import BlockView


@dataclass(frozen=True)
class Panel:
    """A titled part of a view.

    ``render`` gets the checkpoint, the tensor and the block that is looked at (None: the tensor as a
    whole), and returns what `rich` can print, or None where it has nothing to say. It runs in a
    worker, away from the screen.
    """

    title: str
    render: Callable[[Checkpoint, TensorInfo, BlockView | None], RenderableType | None]


def panels() -> list[Panel]:
    """The panels of all plugins, in the order of the plugins."""
    return [panel for _, panel in host().ask("qformat_panels", _check)]


def rendered(
    panel: Panel, checkpoint: Checkpoint, info: TensorInfo, block: BlockView | None = None
) -> RenderableType | None:
    """What a panel shows; one that fails shows why, in one line."""
    shown, failure = Attempt(lambda: panel.render(checkpoint, info, block), None).outcome()
    if failure is None:
        found: RenderableType | None = shown
        return found
    from rich.text import Text

    return Text(f"the panel failed: {failure.error}")


def _check(panel: object) -> None:
    if not isinstance(panel, Panel):
        raise PluginError(f"qformat_panels gave {panel!r}, which is not a Panel")
