"""Counts as upright bars, in eighths of a cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.segment import Segment
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget


@dataclass(frozen=True)
class Chart:
    """What a histogram shows: counts, what stands under the first, the middle and the last, a title."""

    title: str
    counts: Sequence[int]
    labels: tuple[str, str, str]
    far: tuple[bool, ...] = ()  # bins to be marked as outliers


class Histogram(Widget):
    """Bars over an axis; ``logarithmic`` makes rare bins visible."""

    COMPONENT_CLASSES = {"histogram--bar", "histogram--far", "histogram--axis", "histogram--title"}
    DEFAULT_CSS = """
    Histogram { height: 10; width: 1fr; margin: 0 0 1 0; }
    Histogram > .histogram--bar { color: $primary; }
    Histogram > .histogram--far { color: $error; text-style: bold; }
    Histogram > .histogram--axis { color: $foreground 60%; }
    Histogram > .histogram--title { text-style: bold; color: $foreground; }
    """
    logarithmic: reactive[bool] = reactive(False)

    def __init__(self, chart: Chart) -> None:
        super().__init__()
        self.chart = chart

    def render_line(self, y: int) -> Strip:
        """Title, bars, axis, labels."""
        width, height = self.size
        if y == 0:
            return self._text(self.chart.title, "title", width)
        if y == height - 1:
            return self._text(self._labels(self._bins() * self._wide()), "axis", width)
        if y == height - 2:
            return self._text("─" * (self._bins() * self._wide()), "axis", width)
        return self._bars(height - 3 - y, height - 3, width)

    def _bins(self) -> int:
        return len(self._merged()[0])

    def _wide(self) -> int:
        return max(1, min(self.size.width // max(self._bins(), 1), 6))

    def _merged(self) -> tuple[list[int], list[bool]]:
        """Neighbouring bins joined until they fit."""
        counts = list(self.chart.counts)
        far = list(self.chart.far) or [False] * len(counts)
        step = max(1, math.ceil(len(counts) / max(self.size.width, 1)))
        starts = range(0, len(counts), step)
        return [sum(counts[i : i + step]) for i in starts], [any(far[i : i + step]) for i in starts]

    def _bars(self, level: int, levels: int, width: int) -> Strip:
        counts, far = self._merged()
        top = max(counts, default=0) or 1
        base, wide = self.rich_style, self._wide()
        bar = base + self.get_component_rich_style("histogram--bar", partial=True)
        red = base + self.get_component_rich_style("histogram--far", partial=True)
        segments = []
        for count, outlier in zip(counts, far, strict=True):
            share = math.log1p(count) / math.log1p(top) if self.logarithmic else count / top
            eighths = max(round(share * levels * 8), 1 if count else 0) - level * 8
            char = " ▁▂▃▄▅▆▇█"[max(0, min(eighths, 8))]
            if outlier and level == 0 and count:
                char = "▲"
            body = char * (wide - 1) + (char if wide == 1 else " ")
            segments.append(Segment(body, red if outlier else bar))
        return Strip(segments).adjust_cell_length(width, base)

    def _labels(self, width: int) -> str:
        first, middle, last = self.chart.labels
        room = max(width - len(first) - len(last), len(middle) + 2)
        return first + middle.center(room) + last

    def _text(self, text: str, part: str, width: int) -> Strip:
        style = self.rich_style + self.get_component_rich_style(f"histogram--{part}", partial=True)
        return Strip([Segment(text, style)]).adjust_cell_length(width, self.rich_style)
