"""The ideas of quantization by hand: the bits of a number, a block on a line, the size of a block."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Input, Static

from qformat.errors import QFormatError
from qformat.files.checkpoint import Checkpoint, TensorInfo
from qformat.inspect.lab.facts import FORMAT_HEADERS, aligned, format_rows, number_facts, special_rows
from qformat.inspect.lab.mapping import SPECS, Mapped, block_values, mapped
from qformat.inspect.lab.number import FORMATS, Number, number
from qformat.inspect.lab.outlier import Effect, outlier_effect, replaced
from qformat.inspect.lab.sizes import SizePoint
from qformat.text import line
from qformat.tui.actions import bindings
from qformat.tui.page import Page
from qformat.tui.widgets.bit_editor import BitEditor
from qformat.tui.widgets.keybar import KeyBar
from qformat.tui.widgets.number_line import NumberLine
from qformat.tui.widgets.sizes import Sizes
from qformat.tui.widgets.titlebar import TitleBar
from qformat.tui.workers import Job

VIEWS = ("bits", "mapping", "sizes")
SIZE = 32
SIZE_SPECS = ("asym4", "sym4", "sym8", "asym2", "mse4")


class Lab(Page):
    """Numbers of a tensor, or made-up ones, to try things out on."""

    scope = "lab"
    about = (
        "Bits: a number in one of seven formats. Arrow keys move along the bits, space or a click flips one, "
        "up and down go to the neighbouring numbers. Mapping: a block's values on a line, and under it the "
        "levels that each scheme leaves them; left and right choose a value, up and down (or the mouse) drag "
        "it: watch what an outlier does to the others. Sizes: what the size of the block costs this tensor."
    )
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = bindings("lab")

    def __init__(
        self,
        checkpoint: Checkpoint | None = None,
        info: TensorInfo | None = None,
        block: int = 0,
        size: int = SIZE,
    ) -> None:
        super().__init__()
        self.checkpoint, self.info, self.block, self.block_size = checkpoint, info, block, size
        self.values: NDArray[np.float32] = np.zeros(0, np.float32)
        self.given = self.values  # as they were before anything was dragged
        self.at = 0
        self.view = VIEWS[0]
        self.format = "bf16"
        self.asked: float | None = None
        self.spec = SIZE_SPECS[0]

    def crumbs(self) -> str:
        if self.checkpoint is None or self.info is None:
            return "lab › numbers of a normal distribution"
        block = f"block {self.block:,} ({self.block_size} values)"
        return f"{self.checkpoint.path} › {self.info.name} › lab, {block}"

    def compose(self) -> ComposeResult:
        yield TitleBar()
        yield Static("", id="lab-head", markup=False)
        with Vertical(id="lab-bits"):
            yield Input(placeholder="a number: 0.1, -2e-3, or its bits as 0x3dcd", id="lab-number")
            yield BitEditor(id="bits")
            with Horizontal(id="lab-facts"):
                yield Static("", id="number-facts", markup=False)
                yield Static("", id="specials", markup=False)
            yield Static("", id="formats", markup=False)
        with VerticalScroll(id="lab-mapping", can_focus=False):
            yield NumberLine(id="line")
        yield Sizes(id="lab-sizes")
        yield KeyBar()

    def on_mount(self) -> None:
        self._show_view(self.view)
        self._load()

    # --- the block ---------------------------------------------------------------------------

    def _load(self) -> None:
        checkpoint, info, block, size = self.checkpoint, self.info, self.block, self.block_size
        self.query_one(TitleBar).refresh()
        if checkpoint is None or info is None:
            self.computed_values(_made_up(size))
        else:
            self.compute("values", lambda _job: block_values(checkpoint, info, block, size))

    def computed_values(self, values: NDArray[np.float32]) -> None:
        """A block has been read; its largest value is the one to play with."""
        self.given = values
        self.at = int(np.nan_to_num(np.abs(values), nan=-1).argmax()) if values.size else 0
        self.query_one(NumberLine).show(values, self.at, fresh=True)
        self._change(values)
        self._ask(float(values[self.at]) if values.size else 0.0)

    def _change(self, values: NDArray[np.float32]) -> None:
        self.values = values
        self.query_one(NumberLine).show(values, self.at, fresh=False)
        given, at, size = self.given, self.at, self.block_size
        self.compute("mapped", lambda job: _mapped(values, given, at, size, job))
        self._show_head()

    def computed_mapped(self, found: tuple[list[Mapped], list[list[Effect]]]) -> None:
        """What the schemes make of the block, and what the change did to the others."""
        maps, effects = found
        told = [_told(m, e) for m, e in zip(maps, effects, strict=True)]
        self.query_one(NumberLine).put(maps, told)

    def failed_mapped(self, error: QFormatError) -> None:
        """Such values cannot be mapped."""
        self.query_one(NumberLine).put((), ())
        self.query_one("#lab-head", Static).update(Text(line(error.what), "bold"))

    @on(NumberLine.Chosen)
    def _chosen(self, event: NumberLine.Chosen) -> None:
        self.at = event.at
        self._ask(float(self.values[self.at]))
        self._change(self.values)

    @on(NumberLine.Dragged)
    def _dragged(self, event: NumberLine.Dragged) -> None:
        self._ask(event.value)
        self._change(replaced(self.values, self.at, event.value))

    def _show_head(self) -> None:
        text = {
            "bits": f"value {self.at} of the block, as {FORMATS[self.format].also}",
            "mapping": f"{self.values.size} values, {SPECS[0]} to {SPECS[-1]}: value {self.at} "
            f"{'was' if not np.array_equal(self.values, self.given) else 'is'} {self._was():.6g}",
            "sizes": f"{self.spec}: the error of the whole tensor at each size of block",
        }[self.view]
        self.query_one("#lab-head", Static).update(text)

    def _was(self) -> float:
        return float(self.given[self.at]) if self.given.size else 0.0

    # --- the number --------------------------------------------------------------------------

    def _ask(self, value: float) -> None:
        """Store a value in the format that is shown."""
        self.asked = value
        rows = [list(FORMAT_HEADERS), *format_rows(value)]
        shown = rows if self.app.size.width >= 84 else [row[:4] for row in rows]
        self.query_one("#formats", Static).update(_table(shown, left=(0, 1)))
        try:
            self._show_number(Number(FORMATS[self.format], FORMATS[self.format].encode(value)))
        except QFormatError as error:
            self.show_error(error)

    def _show_number(self, found: Number) -> None:
        self.query_one(BitEditor).show(found)
        facts = number_facts(found, self.asked)
        if self.has_class("-low"):  # those that the bits above show, too
            facts = [f for f in facts if f[0] not in ("format", "fields")]
        self.query_one("#number-facts", Static).update(_table(facts, left=(0, 1)))
        self.query_one("#specials", Static).update(_table(special_rows(found), left=(0, 1)))
        self._show_head()

    @on(BitEditor.Changed)
    def _flipped(self, event: BitEditor.Changed) -> None:
        self.asked = None
        self._show_number(event.number)

    @on(Input.Submitted, "#lab-number")
    def _typed(self, event: Input.Submitted) -> None:
        try:
            found = number(event.value.strip(), self.format)
        except QFormatError as error:
            self.show_error(error)
            return
        self.set_class(False, "-typing")
        self.query_one(BitEditor).focus()
        if event.value.strip()[:2].lower() in ("0x", "0b"):
            self.asked = None
            self._show_number(found)
        else:
            self._ask(float(event.value))

    # --- sizes -------------------------------------------------------------------------------

    def _measure(self) -> None:
        checkpoint, info, spec = self.checkpoint, self.info, self.spec
        self.query_one(Sizes).show((), spec)
        if checkpoint is not None and info is not None:
            self.compute("sizes", lambda job: _sizes(checkpoint, info, spec, job))

    def progress_sizes(self, _done: float, points: Sequence[SizePoint]) -> None:
        """One more size has been measured."""
        self.query_one(Sizes).show(points, self.spec)

    def computed_sizes(self, points: Sequence[SizePoint]) -> None:
        """All sizes have been measured."""
        self.query_one(Sizes).show(points, self.spec)

    # --- actions -----------------------------------------------------------------------------

    def why_not(self, verb: str) -> str | None:
        """What needs a file, or another view."""
        if verb == "back":
            return None if self.has_class("-typing") or self.is_busy("sizes") else "nothing to go back from"
        if verb in ("format", "number") and self.view != "bits":
            return "this is for bits: press b"
        if verb == "reset" and np.array_equal(self.values, self.given):
            return "no value was changed"
        if verb in ("next", "previous", "sizes", "scheme") and self.info is None:
            return "no tensor was taken here"
        if verb == "scheme" and self.view != "sizes":
            return "this is for sizes: press z"
        if verb == "previous" and self.block == 0:
            return "this is the first block"
        return "this is the last block" if verb == "next" and self.block + 1 >= self._blocks() else None

    def _blocks(self) -> int:
        if self.info is None:
            return 1
        cols = self.info.shape[-1] if self.info.shape else 1
        return self.info.elements // max(cols, 1) * -(-cols // self.block_size)

    def _show_view(self, view: str) -> None:
        self.view = view
        for each in VIEWS:
            self.query_one(f"#lab-{each}").display = each == view
        places = {"bits": BitEditor, "mapping": NumberLine, "sizes": Sizes}
        self.query_one(places[view]).focus()
        self._show_head()
        self.keys_changed()
        if view == "sizes" and not self.query_one(Sizes).points and not self.is_busy("sizes"):
            self._measure()

    def do_view(self) -> None:
        """The next view."""
        views = VIEWS if self.info is not None else VIEWS[:2]
        self._show_view(views[(views.index(self.view) + 1) % len(views)])

    def do_bits(self) -> None:
        """The bits of a number."""
        self._show_view("bits")

    def do_mapping(self) -> None:
        """A block on a line."""
        self._show_view("mapping")

    def do_sizes(self) -> None:
        """Sizes of a block."""
        self._show_view("sizes")

    def do_format(self) -> None:
        """The next format; what was asked for is stored anew."""
        names = list(FORMATS)
        self.format = names[(names.index(self.format) + 1) % len(names)]
        value = self.query_one(BitEditor).number.value
        self._ask(value if self.asked is None else self.asked)

    def do_number(self) -> None:
        """Type a number."""
        self.set_class(True, "-typing")
        self.query_one("#lab-number", Input).focus()

    def do_scheme(self) -> None:
        """The next scheme to measure sizes with."""
        self.spec = SIZE_SPECS[(SIZE_SPECS.index(self.spec) + 1) % len(SIZE_SPECS)]
        self._show_head()
        self._measure()

    def do_reset(self) -> None:
        """Every value as it was."""
        self._ask(self._was())
        self._change(self.given)

    def do_next(self) -> None:
        """The next block."""
        self.block += 1
        self._load()

    def do_previous(self) -> None:
        """The block before."""
        self.block -= 1
        self._load()

    def do_back(self) -> None:
        """Stop typing, or measuring."""
        if self.has_class("-typing"):
            self.set_class(False, "-typing")
            self.query_one(BitEditor).focus()
        else:
            self.stop("sizes")


def _made_up(size: int) -> NDArray[np.float32]:
    """Values like a trained block's: quantiles of a normal distribution, shuffled."""
    spread = NormalDist(0, 0.02)
    found = [spread.inv_cdf((i + 0.5) / size) for i in range(size)]
    return np.random.default_rng(0).permutation(np.asarray(found, np.float32))


def _mapped(
    values: NDArray[np.float32], given: NDArray[np.float32], at: int, size: int, job: Job
) -> tuple[list[Mapped], list[list[Effect]]]:
    maps, effects = [], []
    for spec in SPECS:
        job.check()
        maps += mapped(values, [spec], size)
        two = [float(given[at]), float(values[at])]
        effects.append(outlier_effect(values, at, spec, two, size) if values.size > 1 else [])
    return maps, effects


def _told(m: Mapped, effects: Sequence[Effect]) -> str:
    text = f"rel. RMSE {m.figures.rmse:.4f}"
    if effects:
        before, after = (e.figures.rmse for e in effects)
        text += f"  others {before:.4f}" + (f" → {after:.4f}" if after != before else "")
    text += f"  max {m.figures.max:.4g}  {m.used} of {len(m.levels)} levels"
    return f"{text}  RMSE {m.rmse:.4g}  {m.bpw:.3f} bpw  {m.fact()}"


def _sizes(checkpoint: Checkpoint, info: TensorInfo, spec: str, job: Job) -> tuple[SizePoint, ...]:
    from qformat.inspect.lab.sizes import size_points

    points: tuple[SizePoint, ...] = ()
    for point in size_points(checkpoint, info, spec, check=job.check):
        points = (*points, point)
        job.report(len(points), points)
    return points


def _table(rows: Sequence[Sequence[str]], left: Sequence[int]) -> Text:
    return Text("\n".join(aligned([list(r) for r in rows], left)), no_wrap=True)
