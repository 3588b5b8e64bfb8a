"""A file's summary, its metadata, and the list of its tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Input, Static

from qformat.blocks.dtypes import is_quantizable
from qformat.errors import QFormatError
from qformat.files.checkpoint import Checkpoint
from qformat.inspect.listing import SORTS, fuzzy, layer_pattern
from qformat.inspect.metadata import Metadata
from qformat.inspect.summary import Summary, summarize
from qformat.text import line
from qformat.tui.actions import bindings
from qformat.tui.launch import awaken
from qformat.tui.page import Page
from qformat.tui.screens.picker import Picker
from qformat.tui.screens.reader import Reader
from qformat.tui.widgets.facts import Facts, Legend
from qformat.tui.widgets.fault import Fault
from qformat.tui.widgets.keybar import KeyBar
from qformat.tui.widgets.metadata_tree import MetadataTree
from qformat.tui.widgets.tensor_table import GroupRow, Row, TensorTable
from qformat.tui.widgets.titlebar import TitleBar
from qformat.tui.workers import Job

_NO_TENSORS = "no tensors: i shows the metadata, t searches the vocabulary"
FIRST = 6  # facts that stand before the schemes: up to bits per weight


@dataclass(frozen=True)
class Order:
    """Which tensors the list shows, and in what order."""

    filter: str = ""
    sort: str = "file"
    reverse: bool = False
    grouped: bool = False
    only: str | None = None  # the pattern of one group that was opened


class Browser(Page):
    """What is in one file."""

    scope = "browser"
    about = (
        "The tensors of a file: how large each is, how it is coded, and what that costs. The panel beside "
        "them has the summary, the schemes in use with their colours, and the metadata."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("browser")

    def __init__(self, path: Path | None) -> None:
        super().__init__()
        self.path = path
        self.checkpoint: Checkpoint | None = None
        self.summary: Summary | None = None
        self.order = Order()

    def crumbs(self) -> str:
        return str(self.path) if self.path else ""

    def compose(self) -> ComposeResult:
        yield TitleBar()
        yield Fault(id="fault")
        with Horizontal(id="browser"):
            with Vertical(id="info"):
                with VerticalScroll(id="summary"):
                    yield Facts(id="facts")
                    yield Legend(id="legend")
                    yield Facts(id="model-facts")
                    yield Facts(id="origin")
                yield MetadataTree(id="metadata")
            with Vertical(id="tensors"):
                yield TensorTable(id="table")
                yield Static("", id="status", markup=False)
                yield Input(placeholder="letters in order, or a glob with *", id="filter")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(TensorTable).focus()
        if self.path is None:
            self.set_class(True, "-nothing")
            self.call_after_refresh(self._pick)
            return
        path, app = self.path, self.qapp
        self.compute("open", lambda _job: app.open_file(path))

    def _pick(self) -> None:
        self.app.push_screen(Picker("Open a model"), self._picked)

    def _picked(self, path: Path | None) -> None:
        if path is None:
            self.app.exit()
            return
        self.path = path
        self.set_class(False, "-nothing")
        self.query_one(TitleBar).refresh()
        app = self.qapp
        self.compute("open", lambda _job: app.open_file(path))

    # --- opening ----------------------------------------------------------------------------

    def computed_open(self, checkpoint: Checkpoint) -> None:
        """The header is there: list the tensors at once, then see what else there is to say."""
        self.checkpoint = checkpoint
        table = self.query_one(TensorTable)
        table.infos, table.largest = checkpoint.tensors, math.inf
        table.nothing = "no tensor matches" if checkpoint.tensors else _NO_TENSORS
        table.with_errors = checkpoint.format == "qformat"
        table.show(list(checkpoint.tensors))
        self._status()
        self.call_after_refresh(self._opened)

    def _opened(self) -> None:
        checkpoint = self.checkpoint
        assert checkpoint is not None
        awaken()
        if self.path is not None:
            self.qapp.recent.add(self.path)
        self.query_one(MetadataTree).show(Metadata(checkpoint))
        self.compute("summary", lambda _job: summarize(checkpoint))
        original = self.qapp.original_path
        if original is not None and self.qapp.original is None:
            app = self.qapp
            self.compute("original", lambda _job: app.open_file(original))

    def failed_open(self, error: QFormatError) -> None:
        """The file is not what it should be: a panel says so."""
        awaken()
        self.set_class(True, "-fault")
        self.query_one(Fault).show(error)

    def computed_summary(self, summary: Summary) -> None:
        """Facts, legend, and what bars and colours of the list need."""
        self.summary = summary
        checkpoint, table = self.checkpoint, self.query_one(TensorTable)
        assert checkpoint is not None
        codings = dict.fromkeys(g.coding.partition(":")[0] for g in summary.groups)
        table.kinds = {coding: i for i, coding in enumerate(codings)}
        self.query_one("#facts", Facts).show(summary.facts()[:FIRST])
        self.query_one("#origin", Facts).show(summary.facts()[FIRST:])
        self.query_one(Legend).show(summary.groups, table.kinds)
        table.redraw()
        self.compute("model", lambda _job: _model_facts(checkpoint))

    def computed_model(self, found: tuple[list[tuple[str, str]], int]) -> None:
        """The slower facts: family, memory; and the largest tensor, for the bars."""
        facts, largest = found
        self.query_one("#model-facts", Facts).show(facts)
        table = self.query_one(TensorTable)
        if not self.order.grouped:
            table.largest = largest
        table.redraw()

    def computed_original(self, checkpoint: Checkpoint) -> None:
        """What this file was made of is known now."""
        self.qapp.original = checkpoint
        self._status()

    # --- the list ---------------------------------------------------------------------------

    def _relist(self, order: Order) -> None:
        checkpoint = self.checkpoint
        if checkpoint is None or order == self.order:
            return
        self.order = order
        table = self.query_one(TensorTable)
        table.sort, table.reverse = order.sort, order.reverse
        self._status()
        self.compute("list", lambda job: _listed(checkpoint, order, job))

    def computed_list(self, found: tuple[list[Row], int]) -> None:
        """Another list, or the same in another order."""
        table = self.query_one(TensorTable)
        rows, table.largest = found
        table.show(rows, keep=table.current)
        self._status()

    def _status(self) -> None:
        if self.checkpoint is None:
            return
        order, shown = self.order, len(self.query_one(TensorTable).rows)
        parts = [
            f"{shown:,} of {len(self.checkpoint.tensors):,}" if not order.grouped else f"{shown:,} groups"
        ]
        if order.only:
            parts.append(f"in {line(order.only)}")
        if order.filter:
            parts.append(f"filter “{line(order.filter)}”")
        if order.sort != "file":
            parts.append(f"by {order.sort}" + (", reversed" if order.reverse else ""))
        if self.is_busy("list"):
            parts.append("…")
        if self.qapp.original is not None:
            parts.append(f"original {line(self.qapp.original.path)}")
        self.query_one("#status", Static).update(Text("  ·  ".join(parts)))

    @on(TensorTable.HeadClicked)
    def _by_column(self, event: TensorTable.HeadClicked) -> None:
        order = self.order
        flip = event.sort == order.sort and not order.reverse
        self._relist(Order(order.filter, event.sort, flip, order.grouped, order.only))

    @on(TensorTable.Opened)
    def _by_mouse(self, event: TensorTable.Opened) -> None:
        self._inside(event.row)

    # --- actions ----------------------------------------------------------------------------

    def why_not(self, verb: str) -> str | None:
        """Nothing but opening and leaving works without a file."""
        if verb == "back":
            keeps = self.order.filter or self.order.only or self.has_class("-info") or self._typing()
            return None if keeps else "nothing to go back from"
        if verb == "lab":
            return None
        if self.checkpoint is None:
            return "no file is open" if self.has_class("-fault", "-nothing") else "the file is being opened"
        if verb == "inside" and self.query_one(TensorTable).current is None:
            return "no tensor is in the list"
        if verb in ("convert", "evaluate", "chat") and not self.checkpoint.tensors:
            return "this file has no tensors"
        if verb in ("tokens", "chat") and not _may_have_tokens(self.checkpoint):
            return "this file carries no tokenizer"
        return None

    def _typing(self) -> bool:
        return self.has_class("-filtering")

    def do_inside(self) -> None:
        """Look into the tensor under the cursor, or open a group."""
        row = self.query_one(TensorTable).current
        if row is not None:
            self._inside(row)

    def _inside(self, row: Row) -> None:
        order, checkpoint = self.order, self.checkpoint
        assert checkpoint is not None
        if isinstance(row, GroupRow):
            self._relist(Order(order.filter, order.sort, order.reverse, grouped=False, only=row.pattern))
            return
        from qformat.tui.screens.tensor import TensorScreen

        names = [r for r in self.query_one(TensorTable).rows if isinstance(r, str)]
        self.app.push_screen(TensorScreen(checkpoint, names, row))

    def do_filter(self) -> None:
        """Show the line to type a filter in."""
        self.set_class(True, "-filtering")
        self.query_one("#filter", Input).focus()

    @on(Input.Changed, "#filter")
    def _filtered(self, event: Input.Changed) -> None:
        order = self.order
        self._relist(Order(event.value, order.sort, order.reverse, order.grouped, order.only))

    @on(Input.Submitted, "#filter")
    def _chosen(self) -> None:
        self.query_one(TensorTable).focus()
        self.set_class(bool(self.order.filter), "-filtering")

    def do_sort(self) -> None:
        """Sort by the next key."""
        sorts = [s for s in SORTS if s != "error" or self.query_one(TensorTable).with_errors]
        order = self.order
        following = sorts[(sorts.index(order.sort) + 1) % len(sorts)]
        self._relist(Order(order.filter, following, order.reverse, order.grouped, order.only))

    def do_reverse(self) -> None:
        """Turn the order round."""
        order = self.order
        self._relist(Order(order.filter, order.sort, not order.reverse, order.grouped, order.only))

    def do_group(self) -> None:
        """Join layers, or take them apart."""
        order = self.order
        self._relist(Order(order.filter, order.sort, order.reverse, not order.grouped))

    def do_info(self) -> None:
        """Narrow: summary instead of the list. Wide: hide or show it."""
        self.toggle_class("-info")
        if self.has_class("-info", "-narrow"):
            self.query_one(MetadataTree).focus()
        else:
            self.query_one(TensorTable).focus()

    def do_back(self) -> None:
        """Leave the filter, then the group, then the panel, then the screen."""
        order = self.order
        if self._typing():
            self.query_one("#filter", Input).value = ""
            self.set_class(False, "-filtering")
            self.query_one(TensorTable).focus()
            self._relist(Order("", order.sort, order.reverse, order.grouped, order.only))
        elif order.only:
            self._relist(Order(order.filter, order.sort, order.reverse, grouped=True))
        elif self.has_class("-info"):
            self.do_info()
        elif len(self.app.screen_stack) > 1:
            self.app.pop_screen()

    def do_tokens(self) -> None:
        """Push the vocabulary."""
        from qformat.tui.screens.tokens import Tokens

        assert self.checkpoint is not None
        self.app.push_screen(Tokens(self.checkpoint))

    def do_compare(self) -> None:
        """Compare with the original, or with a file that is chosen."""
        if self.qapp.original is not None:
            self._compare(self.qapp.original)
        else:
            self.app.push_screen(Picker("Compare with: the original, or another version"), self._compare)

    def _compare(self, left: Checkpoint | Path | None) -> None:
        from qformat.tui.screens.compare import Compare

        if left is not None and self.checkpoint is not None:
            self.app.push_screen(Compare(self.checkpoint, left))

    def do_lab(self) -> None:
        """Push the lab, with the tensor under the cursor if there is one."""
        from qformat.tui.screens.lab import Lab

        row = self.query_one(TensorTable).current
        info = self.checkpoint.tensors[row] if self.checkpoint is not None and isinstance(row, str) else None
        known = info if info is not None and info.elements and is_quantizable(info.dtype) else None
        self.app.push_screen(Lab(self.checkpoint if known else None, known))

    def do_convert(self) -> None:
        """Push the plan of a conversion."""
        from qformat.tui.screens.convert import ConvertScreen

        assert self.checkpoint is not None
        self.app.push_screen(ConvertScreen(self.checkpoint))

    def do_evaluate(self) -> None:
        """Push a measurement."""
        from qformat.tui.screens.evaluate import EvaluateScreen

        assert self.checkpoint is not None
        self.app.push_screen(EvaluateScreen(self.checkpoint))

    def do_chat(self) -> None:
        """Push a conversation."""
        from qformat.tui.screens.chat import ChatScreen

        assert self.checkpoint is not None
        self.app.push_screen(ChatScreen(self.checkpoint))

    def do_original(self) -> None:
        """Choose the original."""
        self.app.push_screen(Picker("The original of this file"), self._set_original)

    def _set_original(self, path: Path | None) -> None:
        if path is not None:
            app = self.qapp
            self.compute("original", lambda _job: app.open_file(path))

    @on(MetadataTree.Asked)
    def _read(self, event: MetadataTree.Asked) -> None:
        metadata = self.query_one(MetadataTree).metadata
        assert metadata is not None
        try:
            text = metadata.full(event.key)
        except QFormatError as error:
            self.show_error(error)
        else:
            self.app.push_screen(Reader(line(event.key), text))


def _may_have_tokens(checkpoint: Checkpoint) -> bool:
    return "tokenizer.ggml.tokens" in checkpoint.metadata or "tokenizer.json" in checkpoint.attachments


def _model_facts(checkpoint: Checkpoint) -> tuple[list[tuple[str, str]], int]:
    from qformat.inspect.model import model_facts

    largest = max((i.nbytes for i in checkpoint.tensors.values()), default=1)
    return model_facts(checkpoint).facts(), max(largest, 1)


def _listed(checkpoint: Checkpoint, order: Order, job: Job) -> tuple[list[Row], int]:
    """The rows of an order, and the bytes of the largest."""
    names = list(checkpoint.tensors)
    if order.only is not None:
        names = [n for n in names if layer_pattern(n) == order.only]
    if order.filter:
        keep = fuzzy(order.filter)
        names = [n for n in names if keep(n)]
    job.check()
    key = SORTS[order.sort]
    if order.grouped:
        groups = _grouped(checkpoint, names)
        if key is not None:
            by = {
                "name": lambda g: g.pattern,
                "bytes": lambda g: -g.nbytes,
                "elements": lambda g: -g.elements,
            }
            groups.sort(key=by.get(order.sort, lambda g: -g.nbytes))
        rows: list[Row] = [g if g.count > 1 else g.pattern for g in groups]
        sizes = [g.nbytes for g in groups]
    else:
        infos = checkpoint.tensors
        if key is not None:
            names = [i.name for i in sorted((infos[n] for n in names), key=key)]
        rows = list(names)
        sizes = [infos[n].nbytes for n in names]
    job.check()
    return (rows[::-1] if order.reverse else rows), max(*sizes, 1, 1)


def _grouped(checkpoint: Checkpoint, names: list[str]) -> list[GroupRow]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(layer_pattern(name), []).append(name)
    groups = []
    for pattern, members in found.items():
        label = pattern if len(members) > 1 else members[0]
        infos = [checkpoint.tensors[n] for n in members]
        codings = tuple(dict.fromkeys(i.coding for i in infos))
        groups.append(
            GroupRow(label, len(infos), sum(i.nbytes for i in infos), sum(i.elements for i in infos), codings)
        )
    return groups
