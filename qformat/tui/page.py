"""What all screens share: actions by name with reasons why not, and work that ends with the screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import on
from textual.screen import Screen

from qformat.errors import QFormatError
from qformat.text import clean
from qformat.tui.messages import Computed, Failed, Progressed
from qformat.tui.workers import Job

if TYPE_CHECKING:
    from qformat.tui.app import QFormatApp


class Page(Screen[None]):
    """A screen with a scope in the action registry.

    The action ``scope.verb`` calls the method ``do_verb``, unless `why_not` gives a reason. Work is
    started with `compute`; its result arrives in ``computed_job``, what went wrong in ``failed_job``
    (or as a notification), and progress in ``progress_job``.
    """

    scope: ClassVar[str]
    about: ClassVar[str] = ""  # a paragraph for the help screen

    def __init__(self) -> None:
        super().__init__()
        self._jobs: dict[str, Job] = {}
        self._done: set[str] = set()  # jobs whose latest run has ended

    @property
    def qapp(self) -> QFormatApp:
        """The program, typed."""
        return cast("QFormatApp", self.app)

    def crumbs(self) -> str:
        """What the title line says of this screen."""
        return ""

    # --- actions ----------------------------------------------------------------------------

    def why_not(self, verb: str) -> str | None:
        """Why an action makes no sense now; None if it does."""
        return None

    def action_do(self, name: str) -> None:
        """Run an action of the registry, or say why it cannot be done."""
        verb = name.partition(".")[2]
        reason = self.why_not(verb)
        if reason is not None:
            self.notify(reason, severity="warning", markup=False, timeout=4)
            return
        getattr(self, f"do_{verb}")()

    def keys_changed(self) -> None:
        """Tell the footer that other keys work now."""
        from qformat.tui.widgets.keybar import KeyBar

        for bar in self.query(KeyBar):
            bar.refresh()

    # --- work -------------------------------------------------------------------------------

    def compute(self, name: str, work: Callable[[Job], Any]) -> None:
        """Run ``work`` in a thread; an earlier run of the same job is given up."""
        before = self._jobs.get(name)
        if before is not None:
            before.stop()
        job = Job(self, name, before.turn + 1 if before else 1, self.qapp.clock)
        self._jobs[name] = job
        self._done.discard(name)
        self.run_worker(lambda: job.run(work), thread=True, group=name, name=name, exit_on_error=False)
        self.keys_changed()

    def is_busy(self, name: str) -> bool:
        """Whether a job is running and wanted."""
        job = self._jobs.get(name)
        return job is not None and not job.stopped and name not in self._done

    def stop(self, name: str) -> None:
        """Give up a job."""
        if name in self._jobs:
            self._jobs[name].stop()
        self.keys_changed()

    def finish(self, name: str) -> None:
        """Ask a job to end with what it has."""
        if name in self._jobs:
            self._jobs[name].finish()

    def stop_all(self) -> None:
        """Give up everything that this screen computes."""
        for job in self._jobs.values():
            job.stop()

    def on_unmount(self) -> None:
        self.stop_all()

    def do_next(self) -> None:
        """Go to the next part that takes the focus."""
        self.focus_next()

    def _is_current(self, message: Computed | Failed | Progressed) -> bool:
        job = self._jobs.get(message.job)
        return job is not None and job.turn == message.turn and not job.stopped

    @on(Computed)
    def _computed(self, message: Computed) -> None:
        message.stop()
        if self._is_current(message):
            self._done.add(message.job)
            getattr(self, f"computed_{message.job}")(message.value)
            self.keys_changed()

    @on(Progressed)
    def _progressed(self, message: Progressed) -> None:
        message.stop()
        if self._is_current(message):
            getattr(self, f"progress_{message.job}", lambda _done, _at: None)(message.done, message.at)

    @on(Failed)
    def _failed(self, message: Failed) -> None:
        message.stop()
        if self._is_current(message):
            self._done.add(message.job)
            getattr(self, f"failed_{message.job}", self.show_error)(message.error)
            self.keys_changed()

    def show_error(self, error: QFormatError) -> None:
        """An error as a notification."""
        self.notify(clean(error), title="Error", severity="error", markup=False, timeout=12)
