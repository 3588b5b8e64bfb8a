"""Talking: with one model, or with two side by side and the first token marked at which they part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.table import Table
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Input, Static

from qformat.errors import QFormatError
from qformat.files.checkpoint import Checkpoint
from qformat.text import line
from qformat.tui.actions import bindings
from qformat.tui.page import Page
from qformat.tui.screens.picker import Picker
from qformat.tui.widgets.fault import Fault
from qformat.tui.widgets.keybar import KeyBar
from qformat.tui.widgets.sampling_form import SamplingForm
from qformat.tui.widgets.titlebar import TitleBar
from qformat.tui.widgets.turn import Turn
from qformat.tui.workers import Job

if TYPE_CHECKING:
    from qformat.model.chat import Conversation
    from qformat.model.reply import Reply

FRAME = 0.05  # seconds between two looks at growing answers


class ChatScreen(Page):
    """One conversation; with a second model each turn goes to both."""

    scope = "chat"
    about = (
        "A conversation with this model. If an original is open, it answers beside it (ctrl+g chooses "
        "another model, or none), and the first token at which the two part is marked. Escape stops an "
        "answer and keeps it. Without a chat template the model goes on from the text as it is. /reset "
        "begins anew, as ctrl+n does."
    )
    AUTO_FOCUS = "#say"
    BINDINGS: ClassVar[list[BindingType]] = bindings("chat")

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.talks: list[Conversation] = []  # the original's first
        self.said: list[str] = []
        self.at = 0  # of what was said before, in the line to type in

    def crumbs(self) -> str:
        return f"{self.checkpoint.path} › chat"

    def compose(self) -> ComposeResult:
        yield TitleBar()
        yield Fault(id="fault")
        with Horizontal(id="chat"):
            with Vertical(id="chat-main"):
                yield Static("", id="chat-heads", markup=False)
                yield VerticalScroll(id="talk")
                yield Static("", id="chat-state", markup=False)
                yield Input(id="say", placeholder="say something")
            yield SamplingForm(id="sampling")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#talk", VerticalScroll).anchor()
        self.set_class(self.app.size.width >= 110, "-settings")
        self._open(self.qapp.original)

    # --- opening ----------------------------------------------------------------------------

    def _open(self, other: Checkpoint | Path | None) -> None:
        """Open this model anew, and beside it another."""
        mine, kept, app = self.checkpoint, self.talks[-1:], self.qapp
        self._state("opening …")
        self.compute("open", lambda _job: _opened(app.open_file, mine, kept, other))

    def computed_open(self, talks: list[Conversation]) -> None:
        """Ready to talk."""
        self.talks = talks
        self.set_class(len(talks) == 2, "-two")
        heads = Table.grid(padding=(0, 2, 0, 0), expand=True)
        for _ in talks:
            heads.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        heads.add_row(*(Text(_short(talk.model.checkpoint.path)) for talk in talks))
        self.query_one("#chat-heads", Static).update(heads)
        self._begin()

    def failed_open(self, error: QFormatError) -> None:
        """A model that cannot be talked to says why; one that was to be beside it leaves all as it was."""
        if self.talks:
            self.show_error(error)
            self._idle()
        else:
            self.set_class(True, "-fault")
            self.query_one(Fault).show(error)

    # --- talking ----------------------------------------------------------------------------

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "say":
            self.action_do("chat.say")
        else:
            self.query_one("#say", Input).focus()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        if event.input.id != "say" and not self.is_busy("reply"):
            self._idle()
        self.keys_changed()

    def do_say(self) -> None:
        """Give what is typed to the models."""
        box = self.query_one("#say", Input)
        text = box.value.strip()
        if text.startswith("/"):
            self._command(text)
            return
        try:
            sampling = self.query_one(SamplingForm).values()
        except QFormatError as error:
            self.show_error(error)
            return
        box.value = ""
        self.said.append(text)
        self.at = len(self.said)
        turn = Turn(text)
        self.query_one("#talk", VerticalScroll).mount(turn)
        talks, clock = self.talks, self.qapp.clock
        self._state("reading what was said …")
        self.compute("reply", lambda job: _answers(job, talks, text, sampling, clock))

    def _command(self, text: str) -> None:
        if text == "/reset":
            self.query_one("#say", Input).value = ""
            self.do_new()
        elif text in ("/quit", "/exit"):
            self.app.pop_screen()
        else:
            self.notify("known are /reset and /quit", severity="warning", timeout=4)

    def progress_reply(self, _done: float, replies: Any) -> None:
        """The answers have grown."""
        self.query(Turn).last().show(replies)
        prompt, read = sum(r.prompt for r in replies), sum(r.read for r in replies)
        answering = any(r.ids for r in replies)
        self._state("answering …" if answering else f"reading what was said: {read / prompt:.0%} …")

    def computed_reply(self, replies: list[Reply]) -> None:
        """The answers have ended."""
        self.query(Turn).last().show(replies)
        self._idle()

    def failed_reply(self, error: QFormatError) -> None:
        """No answer: the turn says why."""
        self.query(Turn).last().fail(error)
        self._idle()

    # --- showing ----------------------------------------------------------------------------

    def _state(self, text: str) -> None:
        self.query_one("#chat-state", Static).update(text)

    def _idle(self) -> None:
        """How answers come about."""
        try:
            how = self.query_one(SamplingForm).words()
        except QFormatError as error:
            how = line(error.what)
        raw = [talk.raw for talk in self.talks]
        has = [talk.template is not None for talk in self.talks]
        template = "chat template" if not any(raw) else "goes on from the text as it is"
        if not all(has):
            template = f"no chat template: {template}"
        self._state(f"{how} · {template}")

    def _begin(self) -> None:
        """A new conversation."""
        self.query(Turn).remove()
        system = self.query_one("#system", Input).value.strip()
        for talk in self.talks:
            talk.reset()
            talk.system = system or None
        self._idle()

    # --- actions ----------------------------------------------------------------------------

    def why_not(self, verb: str) -> str | None:
        """One answer at a time, and only by models that are open."""
        if verb in ("say", "new", "template", "beside"):
            if self.has_class("-fault"):
                return "this model cannot be talked to"
            if self.is_busy("open"):
                return "the model is being opened"
            if self.is_busy("reply"):
                return "it is answering; Escape stops it"
        if verb == "say" and not self.query_one("#say", Input).value.strip():
            return "type something first"
        if verb == "new" and not self.query(Turn):
            return "nothing was said yet"
        if verb == "template" and not any(talk.template for talk in self.talks):
            return "this model has no chat template"
        if verb in ("earlier", "later"):
            end = 0 if verb == "earlier" else len(self.said)
            return "there is none" if self.at == end else None
        return None

    def do_new(self) -> None:
        """Forget what was said."""
        self._begin()

    def do_template(self) -> None:
        """By the template, or without."""
        raw = not all(talk.raw for talk in self.talks)
        for talk in self.talks:
            talk.raw = raw or talk.template is None
        self._begin()

    def do_beside(self) -> None:
        """Choose another model, or drop it."""
        if len(self.talks) == 2:
            self._open(None)
        elif self.qapp.original is not None:
            self._open(self.qapp.original)
        else:
            self.app.push_screen(Picker("Answer beside it: the original, or another version"), self._chosen)

    def _chosen(self, path: Path | None) -> None:
        if path is not None:
            self._open(path)

    def do_settings(self) -> None:
        """Show or hide the settings."""
        self.toggle_class("-settings")
        name = "#temperature" if self.has_class("-settings") else "#say"
        self.query_one(name, Input).focus()

    def do_earlier(self) -> None:
        """What was said before."""
        self._recall(-1)

    def do_later(self) -> None:
        """What was said after that; after the last, an empty line."""
        self._recall(1)

    def _recall(self, by: int) -> None:
        self.at += by
        box = self.query_one("#say", Input)
        box.value = self.said[self.at] if self.at < len(self.said) else ""
        box.cursor_position = len(box.value)

    def do_page_up(self) -> None:
        """Back in the conversation."""
        self.query_one("#talk").scroll_page_up(animate=False)

    def do_page_down(self) -> None:
        """On in the conversation."""
        self.query_one("#talk").scroll_page_down(animate=False)

    def do_back(self) -> None:
        """Stop an answer and keep it; else leave."""
        if self.is_busy("reply"):
            self.finish("reply")
            self._state("stopping …")
        elif self.has_class("-narrow", "-settings"):
            self.do_settings()
        else:
            self.app.pop_screen()


def _short(path: Path) -> str:
    """The end of a path, which tells files apart."""
    return line("/".join(path.absolute().parts[-2:]))


def _opened(
    open_file: Callable[[Path], Checkpoint],
    mine: Checkpoint,
    kept: Sequence[Conversation],
    other: Checkpoint | Path | None,
) -> list[Conversation]:
    from qformat.model.chat import open_conversation

    talks = list(kept) or [open_conversation(mine)]
    if other is None:
        return talks
    return [open_conversation(open_file(other) if isinstance(other, Path) else other), *talks]


def _answers(
    job: Job, talks: Sequence[Conversation], text: str, sampling: dict[str, Any], clock: Callable[[], float]
) -> list[Reply]:
    from qformat.model.chat import side_by_side

    last = -FRAME

    def show(replies: list[Reply]) -> None:
        nonlocal last
        if job.stopped or job.finishing:
            raise KeyboardInterrupt  # as Ctrl-C does: what was said is kept
        if clock() - last >= FRAME:
            last = clock()
            job.report(0, [r.copy() for r in replies])

    return side_by_side([talk.reply(text, **sampling) for talk in talks], show)
