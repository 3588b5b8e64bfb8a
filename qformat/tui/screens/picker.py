"""Choosing a file: lately opened ones, and what lies in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, cast

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from qformat.text import line, size
from qformat.tui.actions import POPUP
from qformat.tui.finding import Found, find
from qformat.tui.widgets.tensor_table import fit


class Listed(Message):
    """A folder was read; ``fault`` says why not."""

    def __init__(self, folder: Path, found: list[Found], fault: str = "") -> None:
        self.folder, self.found, self.fault = folder, found, fault
        super().__init__()


class Picker(ModalScreen[Path | None]):
    """Recent files, then the folder; Enter opens a file or a model, → walks into any folder."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel"),
        Binding("right", "enter", show=False),
        Binding("left", "up", show=False),
        Binding("tab", "swap", show=False, priority=True),
        *POPUP,
    ]

    def __init__(self, title: str, folder: Path | None = None) -> None:
        super().__init__()
        self._title = title
        self._folder = (folder or Path.cwd()).absolute()
        self._paths: list[Found] = []

    def compose(self) -> ComposeResult:
        with Vertical(id="picker"):
            yield Static(self._title, id="picker-title", markup=False)
            yield Input(placeholder="a path, or choose below", id="picker-path")
            yield Static("", id="picker-folder", markup=False)
            yield OptionList(id="picker-list")
            yield Static("⏎ open   → into a folder   ← up   tab path/list   esc cancel", id="picker-keys")

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()
        self._list(self._folder)

    @work(thread=True, exclusive=True, exit_on_error=False)
    def _list(self, folder: Path) -> None:
        try:
            self.post_message(Listed(folder, find(folder)))
        except OSError as error:
            self.post_message(Listed(folder, [], f"cannot be read: {error.strerror}"))

    @on(Listed)
    def _show(self, message: Listed) -> None:
        self._folder = message.folder
        where = line(message.folder) + (f"  {message.fault}" if message.fault else "")
        self.query_one("#picker-folder", Static).update(Text(where))
        from qformat.tui.app import QFormatApp

        recent = cast("QFormatApp", self.app).recent.paths()
        latest = [Found(p, "recent", 0 if p.is_dir() else p.stat().st_size) for p in recent[:6]]
        self._paths = [*latest, *message.found]
        options = self.query_one(OptionList)
        options.clear_options()
        width = max(options.size.width - 4, 40)
        for i, found in enumerate(self._paths):
            if i == len(latest) and i:
                options.add_option(None)
            options.add_option(Option(self._row(found, width)))
        if not self._paths:
            options.add_option(Option(Text("nothing here that can be opened", style="italic"), disabled=True))
        options.highlighted = 0 if self._paths else None

    def _row(self, found: Found, width: int) -> Text:
        mark = {"model": "◆ model  ", "file": "▪ file   ", "folder": "▸ folder ", "recent": "↺ recent "}
        name = line(found.path if found.kind == "recent" else found.path.name)
        if found.kind in ("model", "folder"):
            name += "/"
        right = size(found.nbytes) if found.nbytes else ""
        text = Text(no_wrap=True)
        text.append(mark[found.kind], "bold" if found.kind == "model" else "dim")
        text.append(fit(name, max(width - 22, 10)), "dim" if found.kind == "folder" else "")
        return text.append(right.rjust(11))

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        found = self._paths[event.option_index]
        if found.kind == "folder":
            self._list(found.path)
        else:
            self.dismiss(found.path)

    @on(Input.Submitted)
    def _typed(self, event: Input.Submitted) -> None:
        path = Path(event.value).expanduser()
        if not path.is_absolute():
            path = self._folder / path
        if path.is_dir() and not any(f.path == path and f.kind == "model" for f in self._paths):
            from qformat.tui.finding import is_model

            if not is_model(path):
                self._list(path)
                return
        self.dismiss(path)

    def action_enter(self) -> None:
        """Walk into the folder under the cursor."""
        at = self.query_one(OptionList).highlighted
        if at is not None and at < len(self._paths) and self._paths[at].path.is_dir():
            self._list(self._paths[at].path)

    def action_up(self) -> None:
        """Go to the folder above."""
        self._list(self._folder.parent)

    def action_swap(self) -> None:
        """Go from the list to the path and back."""
        box, options = self.query_one(Input), self.query_one(OptionList)
        (options if box.has_focus else box).focus()

    def action_leave(self) -> None:
        """Choose nothing."""
        self.dismiss(None)
