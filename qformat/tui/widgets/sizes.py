"""Sizes of a block against bits per weight and error: a table and a small plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from qformat.inspect.lab.facts import SIZE_HEADERS, aligned, size_row
from qformat.inspect.lab.sizes import SizePoint

if TYPE_CHECKING:
    from textual_plot import PlotWidget


class Sizes(Horizontal, can_focus=True):
    """Points as they arrive; the library that plots is loaded with the second."""

    DEFAULT_CSS = """
    Sizes { height: 1fr; padding: 1 1 0 1; }
    Sizes > #size-table { width: auto; padding-right: 2; }
    Sizes > #size-plot { width: 1fr; height: 1fr; }
    """

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.points: tuple[SizePoint, ...] = ()
        self.plot: PlotWidget | None = None

    def compose(self) -> ComposeResult:
        yield Static("", id="size-table", markup=False)

    def show(self, points: Sequence[SizePoint], spec: str) -> None:
        """Show other points."""
        self.points = tuple(points)
        rows = [list(SIZE_HEADERS), *(size_row(p) for p in points)]
        narrow = self.app.size.width < 110
        shown = [[r[0], r[2], r[3]] if narrow else r for r in rows]
        text = "\n".join(aligned(shown, left=() if narrow else (1,)))
        self.query_one("#size-table", Static).update(
            Text(text if points else f"measuring {spec} …", no_wrap=True)
        )
        if len(points) > 1:
            self.call_later(self._plot)
        elif self.plot is not None:
            self.plot.display = False

    async def _plot(self) -> None:
        """Draw the points; the plot takes some once its parts are mounted."""
        from textual_plot import HiResMode, PlotWidget

        if self.plot is None:
            plot = PlotWidget(id="size-plot", allow_pan_and_zoom=False)
            await self.mount(plot)
            self.plot = plot
        plot = self.plot
        plot.display = len(self.points) > 1
        if not plot.display:
            return
        theme = self.app.current_theme
        plot.clear()
        x, y = [p.bpw for p in self.points], [p.figures.rmse for p in self.points]
        plot.plot(x, y, line_style=theme.primary, hires_mode=HiResMode.BRAILLE)
        plot.scatter(x, y, marker="●", marker_style=theme.accent or theme.primary)
        plot.set_xlimits(*_with_margin(x))
        plot.set_ylimits(*_with_margin(y))
        plot.set_xlabel("bits per weight")
        plot.set_ylabel("relative RMSE")


def _with_margin(values: Sequence[float]) -> tuple[float, float]:
    """Limits that leave the outermost points inside."""
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or 0.5
    return low - pad, high + pad
