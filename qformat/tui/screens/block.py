"""One block taken apart: bytes, bits, fields, codes, values."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.style import Style
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Static

from qformat.blocks.layout import rows_cols
from qformat.errors import QFormatError
from qformat.files.checkpoint import Checkpoint, TensorInfo
from qformat.inspect.block import BlockView, block_count, block_tile, block_view
from qformat.inspect.panel import Shown, all_rendered
from qformat.text import line, spaced
from qformat.tui.actions import bindings
from qformat.tui.page import Page
from qformat.tui.widgets.bytesview import BitsView, BytesView, field_style
from qformat.tui.widgets.elements import Elements
from qformat.tui.widgets.fault import Fault
from qformat.tui.widgets.keybar import KeyBar
from qformat.tui.widgets.panels import Panels
from qformat.tui.widgets.titlebar import TitleBar


class BlockScreen(Page):
    """A block of a tensor; the arrow keys step to its neighbours.

    Values of ``beside`` are shown next to its own, or those of the original that is open.
    """

    scope = "block"
    about = (
        "One block: the bytes that hold it, coloured by field; the bits of the byte under the cursor under "
        "the names of what they belong to; what the fields are; and each element with its code and value, "
        "beside the original's if one is open. Arrow keys step through the tensor, comma and full stop "
        "through the bytes, page up and down through the elements, square brackets through the fields."
    )
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = bindings("block")

    def __init__(
        self, checkpoint: Checkpoint, info: TensorInfo, index: int, beside: Checkpoint | None = None
    ) -> None:
        super().__init__()
        self.beside = beside
        self.checkpoint, self.info, self.index = checkpoint, info, index
        self.view: BlockView | None = None

    def crumbs(self) -> str:
        block = f"block {self.index:,} of {block_count(self.info):,}"
        return f"{self.checkpoint.path} › {self.info.name} › {block}"

    def compose(self) -> ComposeResult:
        source = BytesView(id="bytes")
        yield TitleBar()
        yield Static("", id="block-head", markup=False)
        yield Fault(id="fault")
        with Horizontal(id="block"):
            with Vertical(id="block-left"):
                yield source
                yield BitsView(source, id="bits")
                with VerticalScroll(id="block-facts", can_focus=False):
                    yield Static("", id="fields", markup=False)
                    yield Panels(id="panels")
            yield Elements(id="elements")
        yield KeyBar()

    def on_mount(self) -> None:
        self._load()

    def _load(self) -> None:
        checkpoint, info, index = self.checkpoint, self.info, self.index
        app, beside = self.qapp, self.beside
        self.query_one(TitleBar).refresh()
        self.compute("block", lambda _job: _taken_apart(app, checkpoint, info, index, beside))

    def computed_block(self, found: tuple[BlockView, list[float] | None]) -> None:
        """The block has been read."""
        view, original = found
        self.view = view
        self.set_class(False, "-fault")
        self.set_class(original is not None, "-beside")
        self.query_one(BytesView).show(view)
        self.query_one(Elements).show(view, original)
        self._show_head(view)
        self._show_fields(view)
        self.compute("panels", lambda _job: all_rendered(self.checkpoint, self.info, view))

    def computed_panels(self, found: list[tuple[str, Shown]]) -> None:
        """What plugins have to say about the block."""
        self.query_one(Panels).show(found)

    def failed_block(self, error: QFormatError) -> None:
        """A block that cannot be decoded says why."""
        self.view = None
        self.set_class(True, "-fault")
        self.query_one(Fault).show(error)

    def _show_head(self, view: BlockView) -> None:
        last = view.first + len(view.values) - 1
        assert self.info.scheme is not None
        text = Text(f"block {view.index:,} of {block_count(self.info):,}", "bold", no_wrap=True)
        text.append(f": row {view.row:,}, columns {view.first:,} to {last:,}", "not bold")
        text.append(
            f"   {line(self.info.scheme.spec())}, {self.info.bpw:.3f} bits per weight", "dim not bold"
        )
        self.query_one("#block-head", Static).update(text)

    def _show_fields(self, view: BlockView) -> None:
        text = Text()
        for number, field in enumerate(view.fields):
            style = field_style(self, number)
            text.append(f"■ {line(field.name)}", style + Style(bold=True))
            text.append(f" {field.kind}", Style(dim=True))
            if len(field.items) == 1:
                item = field.items[0]
                value = f"{item:g}" if isinstance(item, float) else f"{item}"
                text.append(f"  {spaced(field.bits[0], field.kind)}  = {value}\n", style)
            elif field in view.wide():
                text.append(f" ×{len(field.items)}\n", Style(dim=True))
            else:
                shown = " ".join(f"{i:g}" if isinstance(i, float) else f"{i}" for i in field.items[:64])
                text.append(f" ×{len(field.items)}  {shown}\n", style)
        text.right_crop(1)
        self.query_one("#fields", Static).update(text)

    @on(BytesView.Pointed)
    def _pointed(self) -> None:
        self.query_one(BitsView).refresh()

    # --- actions ----------------------------------------------------------------------------

    def _across(self) -> int:
        assert self.info.scheme is not None
        return -(-rows_cols(self.info.shape)[1] // self.info.scheme.block)

    def why_not(self, verb: str) -> str | None:
        """The ends of the tensor."""
        steps = {"left": -1, "right": 1, "up": -self._across(), "down": self._across()}
        if verb in steps and not 0 <= self.index + steps[verb] < block_count(self.info):
            return "the tensor ends here"
        if verb not in steps and self.view is None:
            return "this block cannot be decoded" if self.has_class("-fault") else "the block is being read"
        return None

    def _step(self, by: int) -> None:
        self.index += by
        self._load()

    def do_right(self) -> None:
        """The next block."""
        self._step(1)

    def do_left(self) -> None:
        """The block before."""
        self._step(-1)

    def do_down(self) -> None:
        """The same columns, one row down."""
        self._step(self._across())

    def do_up(self) -> None:
        """The same columns, one row up."""
        self._step(-self._across())

    def do_lab(self) -> None:
        """Push the lab with this block's values."""
        from qformat.tui.screens.lab import Lab

        assert self.info.scheme is not None
        self.app.push_screen(Lab(self.checkpoint, self.info, self.index, self.info.scheme.block))

    def do_page_down(self) -> None:
        """Elements further down."""
        self.query_one(Elements).page(1)

    def do_page_up(self) -> None:
        """Elements further up."""
        self.query_one(Elements).page(-1)

    def do_first(self) -> None:
        """The first elements."""
        self.query_one(Elements).scroll_home(animate=False)

    def do_last(self) -> None:
        """The last elements."""
        self.query_one(Elements).scroll_end(animate=False)

    def do_fields_on(self) -> None:
        """Fields further down."""
        self.query_one("#block-facts").scroll_page_down(animate=False)

    def do_fields_back(self) -> None:
        """Fields further up."""
        self.query_one("#block-facts").scroll_page_up(animate=False)

    def do_later(self) -> None:
        """The byte cursor goes on."""
        self.query_one(BytesView).move(1)

    def do_earlier(self) -> None:
        """The byte cursor goes back."""
        self.query_one(BytesView).move(-1)


def _taken_apart(
    app: Any, checkpoint: Checkpoint, info: TensorInfo, index: int, beside: Checkpoint | None
) -> tuple[BlockView, list[float] | None]:
    view = block_view(checkpoint, info, index)
    if beside is None and app.original is None:
        return view, None
    from qformat.inspect.values import values

    other = app.original_for(checkpoint, beside)
    same = other.tensors.get(info.name)
    if same is None or same.shape != info.shape:
        return view, None
    return view, [float(v) for v in values(other, same, block_tile(info, index)).reshape(-1)]
