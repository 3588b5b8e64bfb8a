"""Converting: schemes by rule, the plan's exact size as one types, and the run with its progress."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, ProgressBar, Static, TextArea

from qformat.errors import QFormatError, TargetError
from qformat.files.checkpoint import Checkpoint
from qformat.text import clean, growth, line, shape, size
from qformat.tui.actions import bindings
from qformat.tui.page import Page
from qformat.tui.widgets.keybar import KeyBar
from qformat.tui.widgets.table import Table
from qformat.tui.widgets.titlebar import TitleBar
from qformat.tui.workers import Job

FORMATS = {"qformat": "container", "gguf": "GGUF", "safetensors": "plain safetensors"}
COLUMNS = (
    ("tensor", 0), ("shape", 12), ("from", 8), ("to", 10), ("bytes", -11), ("bpw", -7), ("RMSE", -7),
)  # fmt: skip


class ConvertScreen(Page):
    """A plan that follows what is typed; nothing is written before it is run."""

    scope = "convert"
    about = (
        "Target, scheme and rules on the left; on the right what would become of each tensor, exact to the "
        "byte. The format goes by the target's ending until another is chosen. A rule is PATTERN=SCHEME, one "
        "a line; the first that matches wins, and 'keep' leaves a tensor as it is. Escape during a run "
        "cancels it: nothing is left behind."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("convert")

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.to = "gguf" if checkpoint.format == "gguf" else "qformat"
        self.chosen = False  # whether the format was chosen, and no longer follows the target's ending
        self.plan: Any = None
        self.fault: QFormatError | None = None  # why the plan cannot be run
        self.written = False

    def crumbs(self) -> str:
        return f"{self.checkpoint.path} › convert"

    def compose(self) -> ComposeResult:
        yield TitleBar()
        with Horizontal(id="convert"):
            with Vertical(id="form"):
                yield Static("", id="target-label", classes="label")
                yield Input(self._default_target(), id="target")
                yield Static("scheme, asym4:block=64", classes="label")
                yield Input("q4_k_m" if self.to == "gguf" else "asym4", id="scheme")
                yield Static("rules, PATTERN=SCHEME", classes="label")
                yield TextArea("", id="rules")
                yield Static("", id="outcome", markup=False)
                yield ProgressBar(id="progress", show_eta=True)
            yield Table(COLUMNS, id="plan", least=("RMSE", "shape", "from", "bpw"))
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#scheme", Input).focus()
        self._plan()

    def _default_target(self) -> str:
        path = self.checkpoint.path
        stem = path.name if path.is_dir() else path.stem
        return str(path.parent / f"{stem}-new{'.gguf' if self.to == 'gguf' else '.safetensors'}")

    # --- planning ---------------------------------------------------------------------------

    @on(Input.Changed)
    @on(TextArea.Changed)
    def _plan(self) -> None:
        if self.is_busy("run"):
            return
        from qformat.convert.options import format_of

        self.plan, self.fault, self.written = None, None, False
        typed = self.query_one("#target", Input).value.strip()
        target = Path(os.path.expanduser(typed))  # noqa: PTH111 - Path's raises for an unknown user
        if not self.chosen:
            self.to = format_of(target)
        self.query_one("#target-label", Static).update(f"target: {FORMATS[self.to].removeprefix('plain ')}")
        scheme = self.query_one("#scheme", Input).value.strip()
        rules = [r for r in self.query_one("#rules", TextArea).text.splitlines() if r.strip()]
        source, to = self.checkpoint.path, self.to
        self.compute("plan", lambda _job: _planned(source, target if typed else None, scheme, rules, to))

    def computed_plan(self, found: tuple[Any, Any, QFormatError | None]) -> None:
        """The plan fits: show it, and whether there is a place for it."""
        self.plan, report, self.fault = found
        self._show(report)

    def failed_plan(self, error: QFormatError) -> None:
        """What is typed is no plan yet: say why."""
        self.query_one(Table).fill(0, lambda _: ())
        self.query_one("#outcome", Static).update(Text(clean(error), "italic"))

    def _show(self, report: Any) -> None:
        rows = report.rows

        def cells(i: int) -> list[str]:
            row = rows[i]
            rmse = f"{row.figures.rmse:.4f}" if row.figures else ""
            return [
                line(row.name), shape(row.shape), line(row.source), line(row.coding),
                f"{row.nbytes:,}", f"{row.bpw:.3f}", rmse,
            ]  # fmt: skip

        self.query_one(Table).fill(len(rows), cells)
        done = report.seconds is not None
        text = Text(f"{FORMATS[self.to]}, {report.nbytes:,} bytes", "bold")
        grown = growth(report.source_bytes, report.nbytes)
        text.append(f"\n{size(report.nbytes)}, {report.bpw:.3f} bits per weight, {grown}", "not bold")
        text.append(
            f"\nwritten in {report.seconds:.1f} s" if done else "\nnothing is written yet", "not bold dim"
        )
        if self.fault is not None and not done:
            text.append(f"\n! {clean(self.fault)}", "bold")
        for warning in report.warnings:
            text.append(f"\n! {clean(warning)}", "not bold italic")
        self.query_one("#outcome", Static).update(text)

    # --- running ----------------------------------------------------------------------------

    def computed_run(self, report: Any) -> None:
        """The target is complete."""
        self.written = True
        self.set_class(False, "-running")
        self._show(report)
        self.notify(f"{line(report.target)} is written", markup=False)

    def progress_run(self, done: float, at: Any) -> None:
        """Bytes of the source that are done."""
        self.query_one(ProgressBar).update(progress=done)
        self.query_one("#outcome", Static).update(Text(f"converting {line(at)}"))

    def failed_run(self, error: QFormatError) -> None:
        """The run met something: nothing was written."""
        self.set_class(False, "-running")
        self.query_one("#outcome", Static).update(Text(clean(error), "bold"))

    def why_not(self, verb: str) -> str | None:
        """Only a plan can be run, and only once."""
        if verb in ("run", "format") and self.is_busy("run"):
            return "it is running; Escape cancels"
        if verb == "run" and self.plan is None:
            return "there is no plan yet: see what is wrong on the left"
        if verb == "run" and self.written:
            return "it is written already; change the target to write another"
        if verb == "run" and self.fault is not None:
            return clean(self.fault)
        return None

    def do_run(self) -> None:
        """Write the target."""
        plan = self.plan
        self.set_class(True, "-running")
        self.query_one(ProgressBar).update(total=plan.source_bytes, progress=0)
        self.compute("run", lambda job: _run(plan, job))

    def do_format(self) -> None:
        """The next format, with an ending that fits."""
        self.chosen = True
        names = list(FORMATS)
        self.to = names[(names.index(self.to) + 1) % len(names)]
        box = self.query_one("#target", Input)
        ending = {"gguf": ".gguf", "qformat": ".safetensors", "safetensors": ""}[self.to]
        value = Path(box.value)
        known = value.suffix in (".gguf", ".safetensors")
        box.value = str(value.with_suffix(ending)) if known else f"{box.value}{ending}"
        self._plan()

    def do_back(self) -> None:
        """Cancel a run, or leave."""
        if self.is_busy("run"):
            self.stop("run")
            self.set_class(False, "-running")
            self.query_one("#outcome", Static).update("cancelled: nothing was written")
            self.keys_changed()
        else:
            self.app.pop_screen()


def _planned(
    source: Path, target: Path | None, scheme: str, rules: list[str], to: str
) -> tuple[Any, Any, QFormatError | None]:
    from qformat.convert.options import Options
    from qformat.convert.recipe import parse_rule
    from qformat.convert.report import report
    from qformat.convert.verbs import plan

    if target is None:
        raise TargetError("there is no target", hint="type where to write")
    told = Options(to=to)
    if to != "safetensors":
        told = Options(scheme or None, rules=tuple(parse_rule(r) for r in rules), to=to)
    found = plan(source, target, told)
    return found, report(found), _fault(found)


def _fault(plan: Any) -> QFormatError | None:
    """Why a plan cannot be run as things are on the disk."""
    for path in (plan.target, *plan.paths.values()):
        if os.path.lexists(path):
            return TargetError("it exists already", file=path, hint="type another name")
    if not os.path.isdir(plan.target.parent):  # noqa: PTH112 - Path's raises for too long a name
        return TargetError("its folder does not exist", file=plan.target, hint="make it, or type another one")
    return None


def _run(plan: Any, job: Job) -> Any:
    from qformat.convert.report import report
    from qformat.convert.run import run
    from qformat.schemes.cores import cores

    fault = _fault(plan)
    if fault is not None:
        raise fault
    return report(plan, run(plan, threads=cores(), progress=job.progress))
