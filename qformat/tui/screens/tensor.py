"""One tensor: how its values, codes and scales are spread, a map of its blocks, its exact values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Static

from qformat.blocks import dtypes
from qformat.blocks.layout import rows_cols
from qformat.blocks.tiles import Tile
from qformat.errors import QFormatError
from qformat.files.checkpoint import Checkpoint, TensorInfo
from qformat.inspect.tensor import tensor_facts
from qformat.text import line
from qformat.tui.actions import bindings
from qformat.tui.page import Page
from qformat.tui.themes import LEVELS, MONO, heat_style
from qformat.tui.widgets.facts import Facts
from qformat.tui.widgets.grid import Grid, HeatMap, ValueGrid
from qformat.tui.widgets.histogram import Chart, Histogram
from qformat.tui.widgets.keybar import KeyBar
from qformat.tui.widgets.panels import Panels
from qformat.tui.widgets.titlebar import TitleBar
from qformat.tui.workers import Job

if TYPE_CHECKING:
    from qformat.inspect.panel import Shown

VIEWS = ("histograms", "map", "values")


class TensorScreen(Page):
    """A tensor of a list; ``names`` are its neighbours."""

    scope = "tensor"
    about = (
        "One tensor. Histograms show how its values, codes and scales are spread, with outliers marked. The "
        "map has a cell for each block, and reads only what is on screen. Arrow keys move over map and "
        "values; Enter takes the block under the cursor apart."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("tensor")

    def __init__(self, checkpoint: Checkpoint, names: Sequence[str], name: str) -> None:
        super().__init__()
        self.checkpoint, self.names, self.name_ = checkpoint, names, name
        self.view = "histograms"
        self.kind = ""
        self.kinds: tuple[str, ...] = ()

    @property
    def info(self) -> TensorInfo:
        return self.checkpoint.tensors[self.name_]

    def crumbs(self) -> str:
        return f"{self.checkpoint.path} › {self.name_}"

    def compose(self) -> ComposeResult:
        yield TitleBar()
        with Horizontal(id="tensor"):
            with VerticalScroll(id="tensor-side"):
                yield Facts(id="tensor-facts")
                yield Facts(id="tensor-statistics")
                yield Panels(id="tensor-panels")
            with VerticalScroll(id="histograms"):
                yield Static("reading …", id="histograms-state", markup=False)
            with Vertical(id="map"):
                yield HeatMap(id="heat")
                yield Static("", id="map-state", markup=False)
            with Vertical(id="values"):
                yield ValueGrid(id="numbers")
                yield Static("", id="values-state", markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        self._load()

    def _load(self) -> None:
        """Everything anew for another tensor."""
        info, checkpoint = self.info, self.checkpoint
        self.query_one(TitleBar).refresh()
        self.query_one("#tensor-facts", Facts).show([("tensor", info.name), *tensor_facts(info)])
        self.query_one("#tensor-statistics", Facts).show([])
        self.query_one(Panels).show([])
        self.query(Histogram).remove()
        state = self.query_one("#histograms-state", Static)
        state.display = True
        for grid in self.query(Grid):
            grid.row = grid.col = grid.top = grid.left = 0
        self.stop("heat")
        self.stop("numbers")
        if dtypes.is_quantizable(info.dtype):
            state.update("reading …")
            self.compute("usage", lambda job: _usage(checkpoint, info, job))
            self.compute("statistics", lambda job: _statistics(checkpoint, info, job))
        else:
            state.update(f"values of type {info.dtype} have no statistics")
        self.compute("panels", lambda _job: _panels(checkpoint, info))
        self._find_kinds()
        self._show_view(self.view)

    def _find_kinds(self) -> None:
        from qformat.inspect.heat import kinds

        original = self.qapp.original is not None
        self.kinds = kinds(self.info, has_original=original) if self._has_values() else ()
        if self.kind not in self.kinds:
            self.kind = next(iter(self.kinds), "")

    def _has_values(self) -> bool:
        return dtypes.is_quantizable(self.info.dtype) and self.info.elements > 0

    def computed_panels(self, found: list[tuple[str, Shown]]) -> None:
        """What plugins have to say about the tensor."""
        self.query_one(Panels).show(found)

    # --- histograms -------------------------------------------------------------------------

    def progress_statistics(self, done: float, _at: Any) -> None:
        """How far the two passes are."""
        share = done / max(2 * self.info.elements, 1)
        self.query_one("#histograms-state", Static).update(f"reading {share:.0%}")

    def computed_statistics(self, stats: Any) -> None:
        """The values' spread comes first."""
        self.query_one("#tensor-statistics", Facts).show(stats.facts())
        bins = range(len(stats.histogram))
        chart = Chart(
            f"values, {stats.count:,}: {stats.near / max(stats.finite, 1):.4%} within ±0.5, "
            f"{stats.outliers:,} outliers beyond 6 deviations",
            stats.histogram,
            (f"{stats.low:.4g}", f"{stats.middle(len(bins) // 2):.3g}", f"{stats.high:.4g}"),
            tuple(stats.is_far(i) for i in bins),
        )
        self._add(chart, first=True)

    def computed_usage(self, used: tuple[Any, ...]) -> None:
        """Then codes and scales."""
        from qformat.inspect.usage import Levels

        for field in used[:12]:
            title = f"{line(field.name)}: {field.fact()}"
            if isinstance(field, Levels):
                last = field.low + len(field.counts) - 1
                labels = (f"{field.low}", f"{(field.low + last) // 2}", f"{last}")
                self._add(Chart(title, field.counts, labels))
            elif field.count:
                labels = (f"{field.low:.4g}", f"{(field.low + field.high) / 2:.3g}", f"{field.high:.4g}")
                self._add(Chart(title, field.histogram, labels))

    def _add(self, chart: Chart, *, first: bool = False) -> None:
        box = self.query_one("#histograms", VerticalScroll)
        self.query_one("#histograms-state", Static).display = False
        box.mount(Histogram(chart), before=0 if first else None)

    # --- map and values ---------------------------------------------------------------------

    def _show_view(self, view: str) -> None:
        self.view = view
        for name in VIEWS:
            self.set_class(name == view, f"-{name}")
        if view == "histograms":
            self.query_one("#histograms").focus()
        else:
            self.call_after_refresh(self._show_grid)
        self.keys_changed()

    def _show_grid(self) -> None:
        if not self._has_values():
            return
        from qformat.inspect.heat import map_shape

        grid = self.query_one("#heat" if self.view == "map" else "#numbers", Grid)
        grid.focus()
        grid.show(*(map_shape(self.info) if self.view == "map" else rows_cols(self.info.shape)))

    @on(Grid.Wanted)
    def _wanted(self, event: Grid.Wanted) -> None:
        info, checkpoint, region = self.info, self.checkpoint, event.region
        app, kind = self.qapp, self.kind
        if isinstance(event.grid, HeatMap):
            self.compute("heat", lambda _job: (region, _heat(app, checkpoint, info, kind, region)))
        else:
            self.compute("numbers", lambda _job: (region, _values(checkpoint, info, region)))

    def computed_heat(self, found: tuple[Tile, Any]) -> None:
        """Numbers for the map."""
        self.query_one(HeatMap).put(*found)

    def computed_numbers(self, found: tuple[Tile, Any]) -> None:
        """Exact values."""
        self.query_one(ValueGrid).put(*found)

    def failed_heat(self, error: QFormatError) -> None:
        """A map that cannot be drawn says why."""
        self.query_one("#map-state", Static).update(Text(line(error.what), "bold"))

    def failed_numbers(self, error: QFormatError) -> None:
        """Likewise for values."""
        self.query_one("#values-state", Static).update(Text(line(error.what), "bold"))

    @on(Grid.Moved)
    def _moved(self, event: Grid.Moved) -> None:
        grid = event.grid
        number = "…" if grid.number is None else f"{grid.number:.7g}"
        if isinstance(grid, HeatMap):
            from qformat.inspect.heat import cell_size

            size = cell_size(self.info)
            last = min((grid.col + 1) * size, rows_cols(self.info.shape)[1]) - 1
            text = Text(f"{self.kind} {number}", "bold")
            text.append(f"  row {grid.row:,}, columns {grid.col * size:,} to {last:,}", "not bold")
            if self.info.scheme:
                text.append(f", block {grid.row * grid.cols + grid.col:,}", "not bold")
            narrow = self.app.size.width < 130
            text.append(f"{chr(10) if narrow else '   '}on screen {grid.low:.4g} ", "dim not bold")
            for level in range(LEVELS):
                char, style = heat_style(self.app.theme, level)
                text.append(char * 2 if self.app.theme == MONO else "  ", style)
            text.append(f" {grid.high:.4g}", "dim not bold")
            self.query_one("#map-state", Static).update(text)
        else:
            where = f"  row {grid.row:,}, column {grid.col:,}"
            self.query_one("#values-state", Static).update(Text(number, "bold").append(where, "not bold"))

    # --- actions ----------------------------------------------------------------------------

    def why_not(self, verb: str) -> str | None:
        """What a tensor's kind rules out."""
        if verb == "block" and self.info.scheme is None:
            return "this tensor is not quantized: it has no blocks"
        if verb in ("map", "values", "lab") and not self._has_values():
            return f"values of type {self.info.dtype} are not computed with"
        if verb == "shade" and (self.view != "map" or len(self.kinds) < 2):
            return "only on the map (m), and only if there is more to show: scale, peak, error"
        if verb == "log" and self.view != "histograms":
            return "only for histograms (h)"
        if verb in ("next", "previous"):
            at = self.names.index(self.name_) if self.name_ in self.names else 0
            end = len(self.names) - 1 if verb == "next" else 0
            return "there is none" if at == end else None
        return None

    def do_view(self) -> None:
        """Go round the views."""
        following = VIEWS[(VIEWS.index(self.view) + 1) % len(VIEWS)]
        self._show_view(following if self._has_values() else "histograms")

    def do_histograms(self) -> None:
        """Show the histograms."""
        self._show_view("histograms")

    def do_map(self) -> None:
        """Show the map."""
        self._show_view("map")

    def do_values(self) -> None:
        """Show the values."""
        self._show_view("values")

    def do_log(self) -> None:
        """Counts on a logarithmic scale, or not."""
        for histogram in self.query(Histogram):
            histogram.logarithmic = not histogram.logarithmic

    def do_shade(self) -> None:
        """The map's next kind."""
        self.kind = self.kinds[(self.kinds.index(self.kind) + 1) % len(self.kinds)]
        self._show_grid()

    def _block_under_cursor(self) -> int:
        from qformat.inspect.heat import cell_size, map_shape

        if self.view == "histograms":
            return 0
        _, across = map_shape(self.info)
        if self.view == "map":
            grid: Grid = self.query_one(HeatMap)
            return grid.row * across + grid.col
        grid = self.query_one(ValueGrid)
        return grid.row * across + grid.col // cell_size(self.info)

    def do_block(self) -> None:
        """Push the block under the cursor."""
        from qformat.tui.screens.block import BlockScreen

        self.app.push_screen(BlockScreen(self.checkpoint, self.info, self._block_under_cursor()))

    def do_lab(self) -> None:
        """Push the lab with the values under the cursor."""
        from qformat.inspect.heat import cell_size
        from qformat.tui.screens.lab import Lab

        self.app.push_screen(
            Lab(self.checkpoint, self.info, self._block_under_cursor(), cell_size(self.info))
        )

    def do_next(self) -> None:
        """The tensor after this one."""
        self._step(1)

    def do_previous(self) -> None:
        """The tensor before this one."""
        self._step(-1)

    def _step(self, by: int) -> None:
        self.name_ = self.names[self.names.index(self.name_) + by]
        self._load()


def _panels(checkpoint: Checkpoint, info: TensorInfo) -> list[tuple[str, Shown]]:
    from qformat.inspect.panel import all_rendered

    return all_rendered(checkpoint, info)


def _statistics(checkpoint: Checkpoint, info: TensorInfo, job: Job) -> Any:
    from qformat.inspect.statistics import statistics

    return statistics(checkpoint, info, job.progress)


def _usage(checkpoint: Checkpoint, info: TensorInfo, job: Job) -> Any:
    from qformat.inspect.usage import usage

    return usage(checkpoint, info, job.check)


def _values(checkpoint: Checkpoint, info: TensorInfo, region: Tile) -> Any:
    from qformat.inspect.values import values

    return values(checkpoint, info, region).astype("float64")


def _heat(app: Any, checkpoint: Checkpoint, info: TensorInfo, kind: str, region: Tile) -> Any:
    from qformat.inspect.heat import ERROR, heat

    original = None
    if kind == ERROR:
        other = app.original_for(checkpoint)
        if info.name in other.tensors:
            original = (other, other.tensors[info.name])
    return heat(checkpoint, info, kind, region, original)
