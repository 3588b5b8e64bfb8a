"""Two files side by side: tensors as they are compared, worst first, and the block that differs most."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Static

from qformat.blocks.sums import Sums
from qformat.convert.diff import TensorDiff, worst_first
from qformat.convert.figures import Figures
from qformat.errors import QFormatError
from qformat.files.checkpoint import Checkpoint
from qformat.text import line, size
from qformat.tui.actions import bindings
from qformat.tui.page import Page
from qformat.tui.widgets.keybar import KeyBar
from qformat.tui.widgets.lines import Lines
from qformat.tui.widgets.tensor_table import fit
from qformat.tui.widgets.titlebar import TitleBar
from qformat.tui.workers import PERIOD, Job

Found = tuple[tuple[TensorDiff, ...], Sums]
Place = tuple[Checkpoint, Checkpoint, str, int]  # a file, the other one, a tensor of the first, a block


class Compare(Page):
    """The original on the left, another file on the right."""

    scope = "compare"
    about = (
        "Each tensor of two files with the error of the right one against the left one, the original; names "
        "of Hugging Face and GGUF are matched. Rows come as they are computed, the worst first. Escape stops "
        "and keeps what is there; Enter takes the block apart that differs most."
    )
    AUTO_FOCUS = "#compare-rows"
    BINDINGS: ClassVar[list[BindingType]] = bindings("compare")

    def __init__(self, right: Checkpoint, left: Checkpoint | Path) -> None:
        super().__init__()
        self.right, self.given = right, left
        self.left: Checkpoint | None = None
        self.rows: list[TensorDiff] = []
        self.sums = Sums()
        self.done = 0.0
        self.total = 0

    def crumbs(self) -> str:
        left = self.given if isinstance(self.given, Path) else self.given.path
        return f"{left} against {self.right.path}"

    def compose(self) -> ComposeResult:
        yield TitleBar()
        yield Static("", id="compare-status", markup=False)
        yield Static("", id="compare-head", markup=False)
        yield Lines(id="compare-rows")
        yield KeyBar()

    def on_mount(self) -> None:
        given, app = self.given, self.qapp
        self.compute("open", lambda _job: app.open_file(given) if isinstance(given, Path) else given)

    def computed_open(self, left: Checkpoint) -> None:
        """Both are open: compare."""
        self.left = left
        right, clock = self.right, self.qapp.clock
        self.total = sum(i.nbytes for c in (left, right) for i in c.tensors.values())
        self._show()
        self.compute("compare", lambda job: _compared(left, right, job, clock))

    def failed_open(self, error: QFormatError) -> None:
        """The original cannot be opened."""
        self.query_one("#compare-status", Static).update(line(error))
        self.show_error(error)

    def progress_compare(self, done: float, at: Found | str) -> None:
        """More rows, or more bytes of one."""
        self.done = done
        if not isinstance(at, str):
            self._add(at)
        self._show_status()

    def computed_compare(self, found: Found) -> None:
        """The last rows."""
        self.done = self.total
        self._add(found)
        self._show_status()

    def _add(self, found: Found) -> None:
        rows, self.sums = found
        current = self._current() if self.query_one(Lines).cursor else None  # the top stays the worst
        self.rows = worst_first([*self.rows, *rows])
        self._show()
        if current is not None:
            self.query_one(Lines).cursor = next(i for i, r in enumerate(self.rows) if r is current)

    def _current(self) -> TensorDiff | None:
        at = self.query_one(Lines).cursor
        return self.rows[at] if 0 <= at < len(self.rows) else None

    # --- drawing -----------------------------------------------------------------------------

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        lines, rows, width = self.query_one(Lines), self.rows, self.app.size.width
        at = lines.cursor
        head = _cells("tensor", ("original", "other", "rel. RMSE", "SNR dB", "max error", "cosine"), width)
        self.query_one("#compare-head", Static).update(head)
        lines.show(len(rows), lambda i: _row(rows[i], width))
        lines.cursor = min(at, max(len(rows) - 1, 0))
        self._show_status()

    def _show_status(self) -> None:
        same = sum(not r.differs for r in self.rows)
        text = f" {len(self.rows):,} tensors, {len(self.rows) - same:,} different"
        if any(r.figures for r in self.rows):
            f = Figures.of(self.sums)
            text += f"; over all: relative RMSE {f.rmse:.4f}, SNR {f.snr:.2f} dB"
        if self.done < self.total:
            state = "comparing" if self.is_busy("compare") else "stopped"
            text = f" {state} at {size(self.done)} of {size(self.total)} ·{text}"
        self.query_one("#compare-status", Static).update(text)

    # --- actions -----------------------------------------------------------------------------

    def why_not(self, verb: str) -> str | None:
        """Blocks need a tensor that is quantized on one side, with values on both."""
        if verb == "back":
            return None if self.is_busy("compare") else "nothing is running"
        if verb == "block":
            row = self._current()
            if row is None or row.left is None or row.right is None or row.figures is None:
                return "no tensor of the list is in both files"
            if row.left.scheme is None and row.right.scheme is None:
                return "neither side of this tensor is in blocks"
        return None

    def do_back(self) -> None:
        """Stop, and keep the rows."""
        self.stop("compare")
        self._show_status()

    def do_block(self) -> None:
        """Find the block that differs most."""
        row, left, right = self._current(), self.left, self.right
        assert row is not None
        assert row.right is not None
        assert left is not None
        in_right = row.right.scheme is not None
        self.compute("worst", lambda job: _worst(left, right, row.name, job, in_right=in_right))

    def computed_worst(self, found: Place) -> None:
        """Push it, with the other file's values beside its own."""
        from qformat.tui.screens.block import BlockScreen

        checkpoint, other, name, index = found
        self.app.push_screen(BlockScreen(checkpoint, checkpoint.tensors[name], index, other))


def _compared(left: Checkpoint, right: Checkpoint, job: Job, clock: Any) -> Found:
    from qformat.convert.diff import compared, paired

    pending: list[TensorDiff] = []
    total, done, last = Sums(), 0, clock()

    def tell(nbytes: int, name: str) -> None:
        nonlocal done
        done += nbytes
        job.progress(nbytes, name)

    for row, sums in compared(*paired(left, right), progress=tell):
        pending.append(row)
        total += sums
        if clock() - last >= PERIOD:
            job.report(done, (tuple(pending), total))
            pending, last = [], clock()
    return tuple(pending), total


def _worst(left: Checkpoint, right: Checkpoint, name: str, job: Job, *, in_right: bool) -> Place:
    """The block that differs most, in the file that has the blocks."""
    from qformat.convert.diff import paired
    from qformat.convert.diff_blocks import stored_place, worst_blocks

    pair = paired(left, right)
    block = worst_blocks(*pair, name, 1, check=job.check)[0]
    if in_right:
        return right, left, name, block.index
    return left, right, *stored_place(pair[0], name, block)


def _row(row: TensorDiff, width: int) -> str:
    left, right = row.left.coding if row.left else "-", row.right.coding if row.right else "-"
    if row.figures is None:
        note = row.note or ("" if row.same_bits else "bytes differ")
        return _cells(line(row.name), (left, right, note, "", "", ""), width)
    f = row.figures
    numbers = (f"{f.rmse:.4f}", f"{f.snr:.2f}", f"{f.max:.4g}", f"{f.cosine:.6f}")
    return _cells(line(row.name), (left, right, *numbers), width)


def _cells(name: str, cells: tuple[str, ...], width: int) -> str:
    left, right, rmse, snr, most, cosine = cells
    shown = [f"{left:>9}", f"{right:>9}", f"{rmse:>10}"]
    shown += [f"{snr:>7}"] if width >= 78 else []
    shown += [f"{most:>11}", f"{cosine:>9}"] if width >= 100 else []
    text = " ".join(shown)
    return fit(name, max(width - len(text) - 2, 12)) + " " + text
