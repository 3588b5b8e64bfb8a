"""Measuring: perplexity and divergence as they become known, by layer, and token by token."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.style import Style
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Input, ProgressBar, Static

from qformat.errors import QFormatError
from qformat.files.checkpoint import Checkpoint
from qformat.text import clean, line
from qformat.tui.actions import bindings
from qformat.tui.page import Page
from qformat.tui.themes import LEVELS, MONO, heat_ink, heat_style
from qformat.tui.widgets.facts import Facts
from qformat.tui.widgets.keybar import KeyBar
from qformat.tui.widgets.tensor_table import bar
from qformat.tui.widgets.titlebar import TitleBar
from qformat.tui.workers import Job, StoppedError

if TYPE_CHECKING:
    from textual_plot import PlotWidget

VIEWS = ("curve", "layers", "text")
SHOWN = 4000  # tokens that are tinted
SHORTEST_BAR, LONGEST_BAR = 6, 30  # cells; a layer's interval goes where there is no room for the shortest
GROUP_TOKENS = 2048  # between two points of the curve


class EvaluateScreen(Page):
    """One measurement, and what is known of it so far."""

    scope = "evaluate"
    about = (
        "A text, and if you name one the original that this model was made of. While it runs, the curve "
        "shows the figure with its 95% interval; Escape ends it and keeps what is known. Then: by layer, and "
        "the text with each token tinted by its divergence."
    )
    AUTO_FOCUS = "#text"
    BINDINGS: ClassVar[list[BindingType]] = bindings("evaluate")

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.result: Any = None
        self.points: list[tuple[int, float, float, float]] = []  # windows, figure, interval
        self.figure = ""
        self.plot: PlotWidget | None = None
        self.by_layer = False
        self.view = "curve"

    def crumbs(self) -> str:
        return f"{self.checkpoint.path} › evaluate"

    def compose(self) -> ComposeResult:
        original = self.qapp.original
        yield TitleBar()
        with Horizontal(id="evaluate"):
            with VerticalScroll(id="evaluate-form"):
                yield Static("text, a UTF-8 file", classes="label")
                yield Input(id="text", placeholder="a file to read")
                yield Static("original, if there is one", classes="label")
                yield Input(str(original.path) if original else "", id="original")
                yield Static("windows, all if empty", classes="label")
                yield Input(id="windows", type="integer")
                yield Static("", id="by-layer", classes="label")
                yield Static("", id="evaluate-state", markup=False)
                yield ProgressBar(id="evaluate-progress", total=1.0, show_eta=False)
                yield Facts(id="evaluate-facts")
            with Vertical(id="evaluate-curve"):
                yield Static("ctrl+r measures", id="curve-empty", markup=False)
            with VerticalScroll(id="evaluate-layers"):
                yield Static("", id="layer-bars", markup=False)
            with VerticalScroll(id="evaluate-text"):
                yield Static("", id="tinted", markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        self._show_view("curve")
        self._show_by_layer()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_layers)

    # --- measuring --------------------------------------------------------------------------

    def why_not(self, verb: str) -> str | None:
        """A text is needed; one measurement at a time."""
        if verb in ("run", "layers") and self.is_busy("measure"):
            return "it is running; Escape ends it and keeps what is known"
        if verb == "run" and not (text := self.query_one("#text", Input).value.strip()):
            return "name a text first"
        if verb == "run" and not Path(text).expanduser().is_file():
            return f"there is no file {line(text)}"
        if verb == "run" and self._limit() == 0:
            return "windows: a number from 1 on, or none for all"
        if verb == "layers" and not self.query_one("#original", Input).value.strip():
            return "layers add to a divergence: name the original first"
        if verb == "view" and self.result is None:
            return "there is nothing to see yet"
        return None

    def _limit(self) -> int | None:
        """How many windows to read, None for all; 0 if what is typed is no such number."""
        count = self.query_one("#windows", Input).value.strip()
        return None if not count else int(count) if count.isdecimal() else 0

    @on(Input.Changed)
    def _typed(self) -> None:
        self._show_by_layer()
        self.keys_changed()

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.action_do("evaluate.run")

    def do_run(self) -> None:
        """Start."""
        text = Path(self.query_one("#text", Input).value.strip()).expanduser()
        other = self.query_one("#original", Input).value.strip()
        self.points, self.result = [], None
        self.set_class(True, "-running")
        self._show_view("curve")
        self._show_no_curve("reading …")
        self.query_one("#evaluate-state", Static).update("")
        self.query_one("#evaluate-facts", Facts).show(())
        self.query_one("#layer-bars", Static).update("")
        self.query_one("#tinted", Static).update("")
        self.query_one(ProgressBar).update(progress=0)
        model, against = self.checkpoint, Path(other).expanduser() if other else None
        limit, layers = self._limit(), self.by_layer and bool(other)
        self.call_later(self._prepare)
        self.compute("measure", lambda job: _measure(job, model, against, text, limit, layers))

    def progress_measure(self, _done: float, status: Any) -> None:
        """How far it is, and another point of the curve."""
        self.query_one(ProgressBar).update(progress=status.fraction)
        text = Text(f"{status.windows:,} windows, {status.fraction:.0%}")
        known = status.estimate
        if known is not None:
            from qformat.evaluate.words import interval

            value, between = interval(known)
            text = (
                Text(f"{status.figure} {value}", "bold")
                .append(f"\n{between}\n", "not bold")
                .append_text(text)
            )
            self._add_point(status.windows, known, status.figure)
        self.query_one("#evaluate-state", Static).update(text)

    def _add_point(self, windows: int, known: Any, figure: str) -> None:
        """One more point of the curve, where there is a new one."""
        if not self.points or self.points[-1][0] < windows:
            low = known.value if known.low is None else known.low
            high = known.value if known.high is None else known.high
            self.points.append((windows, known.value, low, high))
            self.figure = figure
            self._draw_curve()

    def computed_measure(self, result: Any) -> None:
        """All figures, or those of what was read until it was ended."""
        self.result = result
        self.set_class(False, "-running")
        from qformat.evaluate.words import divergence_rows, model_rows, protocol_line

        facts = []
        for row in model_rows(result):
            facts += [(f"{row[0]}: perplexity", row[4]), ("  95% interval", row[5]), ("  bits/byte", row[6])]
        for name, mean, between in divergence_rows(result):
            facts += [(name, mean), ("  95% interval", between)]
        self.query_one("#evaluate-facts", Facts).show(facts)
        text = Text(line(protocol_line(result)))
        if not result.complete:
            text.append("\nnot the whole text", "italic")
        for note in result.notes:
            text.append(f"\n{clean(note)}", "italic")
        self.query_one("#evaluate-state", Static).update(text)
        compares = result.divergence is not None
        known = result.divergence.kl.mean if compares else result.model.alone.perplexity
        self._add_point(result.windows, known, "KL" if compares else "perplexity")
        self._show_layers()
        self._show_text()

    def failed_measure(self, error: QFormatError) -> None:
        """What is wrong, in place of figures."""
        self.set_class(False, "-running")
        self._show_no_curve("ctrl+r measures")
        self.query_one("#evaluate-state", Static).update(Text(clean(error), "bold"))

    # --- showing ----------------------------------------------------------------------------

    def _show_view(self, view: str) -> None:
        self.view = view
        for name in VIEWS:
            self.set_class(name == view, f"-{name}")

    async def _prepare(self) -> None:
        """Make the plot, which takes points once its parts are mounted."""
        from textual_plot import PlotWidget

        if self.plot is None:
            plot = PlotWidget(allow_pan_and_zoom=False)
            plot.display = False
            await self.query_one("#evaluate-curve").mount(plot)
            self.plot = plot
        if self.points:
            self._draw_curve()

    def _show_no_curve(self, why: str) -> None:
        """A word in place of a plot without points."""
        empty = self.query_one("#curve-empty", Static)
        empty.update(why)
        empty.display = True
        if self.plot is not None:
            self.plot.display = False

    def _draw_curve(self) -> None:
        plot = self.plot
        if plot is None:
            return
        plot.display = True
        self.query_one("#curve-empty").display = False
        theme = self.app.current_theme
        windows, values, low, high = zip(*self.points, strict=True)
        plot.clear()
        if len(self.points) == 1:
            plot.scatter(windows, values, marker="●", marker_style=theme.primary)
        else:
            plot.plot(windows, low, line_style=theme.secondary or "white")
            plot.plot(windows, high, line_style=theme.secondary or "white")
            plot.plot(windows, values, line_style=theme.accent or "white")
        plot.set_xlimits(0, windows[-1] + 1)
        plot.set_xlabel("windows")
        plot.set_ylabel(self.figure)

    def _show_layers(self) -> None:
        if self.result is None:
            return
        parts = self.result.by_layer
        text = Text()
        if parts is None:
            text.append(f"not measured: {self._how_to_layers()}", "dim")
        else:
            from qformat.evaluate.words import interval

            longest = max(abs(p.kl.value) for p in parts.parts) or 1.0
            told = [(line(p.name), *interval(p.kl), abs(p.kl.value) / longest) for p in parts.parts]
            names, values, betweens = (max(len(row[i]) for row in told) for i in range(3))
            room = self.query_one("#evaluate-layers").scrollable_content_region.width
            room -= names + values + 4
            wide = room - betweens - 2 >= SHORTEST_BAR
            width = min(max(room - betweens - 2 if wide else room, 4), LONGEST_BAR)
            for name, value, between, part in told:
                text.append(f"{name:<{names}}  {value:>{values}}  ")
                text.append(bar(part, width), self.app.current_theme.primary)
                text.append(f"  {between}\n" if wide else "\n", "dim")
        self.query_one("#layer-bars", Static).update(text)

    def _how_to_layers(self) -> str:
        if self.result.divergence is None:
            return "layers add to a divergence, which needs an original"
        return "measure again with ctrl+r" if self.by_layer else "ctrl+l, then measure again with ctrl+r"

    def _show_text(self) -> None:
        result, theme = self.result, self.app.theme
        kl = result.figures.get("kl")
        if kl is None:
            self.query_one("#tinted", Static).update("a divergence needs an original")
            return
        order = result.scored.source.argsort(kind="stable")[:SHOWN]
        raw = result.pieces([int(t) for t in result.scored.token[order]])
        top = sorted(float(kl[at]) for at in order)[-max(len(order) // 100, 1)]
        text = Text()
        text.append(f"the strongest tint is a KL of {top:.4g} or more: one token in a hundred\n\n", "dim")
        for piece, at in zip(raw, order, strict=True):
            level = round(min(float(kl[at]) / top, 1.0) * (LEVELS - 1)) if top > 0 else 0
            text.append(clean(piece.decode("utf-8", "replace")), _tint(theme, level))
        self.query_one("#tinted", Static).update(text)

    # --- actions ----------------------------------------------------------------------------

    def do_layers(self) -> None:
        """By layer, or not."""
        self.by_layer = not self.by_layer
        self._show_by_layer()
        self._show_layers()

    def _show_by_layer(self) -> None:
        """Whether the next measurement is by layer, too."""
        wanted, original = self.by_layer, self.query_one("#original", Input).value.strip()
        said = "no" if not wanted else "yes" if original else "no original"
        self.query_one("#by-layer", Static).update(f"by layer (ctrl+l): {said}")

    def do_view(self) -> None:
        """The next view."""
        self._show_view(VIEWS[(VIEWS.index(self.view) + 1) % len(VIEWS)])
        self.call_after_refresh(self._show_layers)  # which take the width that the view then has

    def do_back(self) -> None:
        """End a measurement and keep what is known; else leave."""
        if self.is_busy("measure"):
            self.finish("measure")
            self.query_one("#evaluate-state", Static).update("ending …")
        else:
            self.app.pop_screen()


def _tint(theme: str, level: int) -> Style:
    if level == 0:
        return Style()
    if theme == MONO:
        return Style(underline=level > 1, bold=level > 3, reverse=level > 5)
    return heat_style(theme, level)[1] + Style.from_color(heat_ink(level))


def _measure(
    job: Job, model: Checkpoint, against: Path | None, text: Path, limit: int | None, layers: bool
) -> Any:
    from qformat.evaluate.verbs import evaluate

    seen = -1

    def progress(status: Any) -> None:
        nonlocal seen
        if job.stopped or job.finishing:
            raise KeyboardInterrupt  # as Ctrl-C does: evaluate keeps what is done
        if status.windows != seen:
            seen = status.windows
            job.report(status.fraction, status)
        else:
            job.progress(0, status)

    try:
        return evaluate(
            model,
            against,
            text=text,
            limit=limit,
            by_layer=layers,
            progress=progress,
            group_tokens=GROUP_TOKENS,
        )
    except KeyboardInterrupt:
        if job.finishing:
            raise QFormatError("it was ended before there was a figure") from None
        raise StoppedError from None
