"""The program: themes, keys, the stack of screens, and the files that are open."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.screen import Screen

from qformat.errors import QFormatError
from qformat.files.checkpoint import Checkpoint
from qformat.tui import themes
from qformat.tui.actions import ACTIONS, bindings, of_scope
from qformat.tui.page import Page
from qformat.tui.recent import Recent, Settings

Opener = Callable[[Path], Checkpoint]


def _open(path: Path) -> Checkpoint:
    from qformat.files.opening import open_checkpoint

    return open_checkpoint(path)


class QFormatApp(App[None]):
    """``qformat tui``. Reader, clock, settings and list of recent files can be given, for tests."""

    TITLE = "qformat"
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+backslash"  # the registry's own keys open it, too
    CSS_PATH = [
        "styles/base.tcss",
        "styles/browser.tcss",
        "styles/tensor.tcss",
        "styles/block.tcss",
        "styles/lab.tcss",
        "styles/compare.tcss",
        "styles/work.tcss",
        "styles/chat.tcss",
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-low"), (36, "-high")]
    BINDINGS: ClassVar[list[BindingType]] = bindings("app")

    def __init__(
        self,
        files: Sequence[Path] = (),
        *,
        original: Path | None = None,
        theme: str | None = None,
        opener: Opener = _open,
        clock: Callable[[], float] = time.monotonic,
        recent: Recent | None = None,
        settings: Settings | None = None,
    ) -> None:
        super().__init__()
        self.files = tuple(files)
        self.original_path = original
        self.open_file = opener
        self.clock = clock
        self.recent = recent or Recent()
        self.settings = settings or Settings()
        self.original: Checkpoint | None = None
        self._aligned: tuple[Checkpoint, Checkpoint, Checkpoint] | None = None
        for known in themes.THEMES:
            self.register_theme(known)
        chosen = theme or self.settings.theme
        self.theme = chosen if chosen in self.available_themes else themes.DARK.name
        self.set_keymap({k: v for k, v in self.settings.keys.items() if k in {a.id for a in ACTIONS}})

    def get_default_screen(self) -> Screen[Any]:
        """The browser of the first file, or the picker."""
        from qformat.tui.screens.browser import Browser

        return Browser(self.files[0] if self.files else None)

    def on_mount(self) -> None:
        if self.settings.fault:
            self.notify(self.settings.fault, severity="warning", markup=False)

    def original_for(self, checkpoint: Checkpoint, original: Checkpoint | None = None) -> Checkpoint:
        """The original, or another file, under the names and in the storage of a checkpoint; for workers.

        Raises
        ------
        QFormatError
            If no original is open.
        """
        original = original or self.original
        if original is None:
            raise QFormatError("no original is open", hint="choose one with u in the list of tensors")
        known = self._aligned
        if known is not None and known[0] is checkpoint and known[1] is original:
            return known[2]
        from qformat.views.aligned import counterpart

        found = counterpart(checkpoint, original)
        self._aligned = checkpoint, original, found
        return found

    # --- actions that every screen has ------------------------------------------------------

    def action_do(self, name: str) -> None:
        """Run an action of the scope ``app``."""
        getattr(self, f"do_{name.partition('.')[2]}")()

    def do_help(self) -> None:
        """Push the help of the screen on top."""
        from qformat.tui.screens.help import Help

        if isinstance(self.screen, Page):
            self.push_screen(Help(self.screen))

    def do_jump(self) -> None:
        """Push the labels of the parts of the screen on top."""
        from qformat.tui.screens.jump import Jump

        self.push_screen(Jump.over(self.screen))

    def do_palette(self) -> None:
        """Open the command palette."""
        self.action_command_palette()

    def do_theme(self) -> None:
        """Go on to the next theme."""
        names = [n for n in themes.NAMES if n in self.available_themes]
        at = names.index(self.theme) if self.theme in names else -1
        self.theme = names[(at + 1) % len(names)]
        self.notify(f"theme: {self.theme}", timeout=2)

    def do_open(self) -> None:
        """Push the file picker; what is chosen is browsed."""
        from qformat.tui.screens.picker import Picker

        self.push_screen(Picker("Open a model"), self._browse)

    def _browse(self, path: Path | None) -> None:
        from qformat.tui.screens.browser import Browser

        if path is not None:
            self.push_screen(Browser(path))

    def do_back(self) -> None:
        """Stop what is running on the screen on top, or leave it."""
        page = self.screen
        if isinstance(page, Page) and page.why_not("back") is None and getattr(page, "do_back", None):
            page.do_back()  # type: ignore[attr-defined]
        elif len(self.screen_stack) > 1:
            self.pop_screen()

    def do_quit(self) -> None:
        """Leave the program."""
        self.exit()

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette's commands: those of the screen, then those of the program, and the themes."""
        scopes = ([screen.scope] if isinstance(screen, Page) else []) + ["app"]
        for scope in scopes:
            for action in of_scope(scope):
                target = screen if scope != "app" and isinstance(screen, Page) else self
                reason = target.why_not(action.verb) if isinstance(target, Page) else None
                help_ = f"not now: {reason}" if reason else action.help
                title = f"{scope.title()}: {action.title}"
                yield SystemCommand(title, help_, partial(target.action_do, action.id))
        for name in self.available_themes:
            yield SystemCommand(f"Theme: {name}", "Change the colours", partial(setattr, self, "theme", name))
