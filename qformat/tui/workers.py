"""Work in threads: one run of a job at a time, whose result comes back as a message."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from textual.message_pump import MessagePump

from qformat.errors import QFormatError
from qformat.tui.messages import Computed, Failed, Progressed

DEFECT = "this is a defect of qformat: please report it"
PERIOD = 0.2  # seconds between two reports of progress


class StoppedError(Exception):
    """Raised inside a worker whose result nobody wants any more."""


class Job:
    """What a worker sees of its own run: whether to go on, and where to report."""

    def __init__(self, owner: MessagePump, name: str, turn: int, clock: Callable[[], float]) -> None:
        self.name, self.turn = name, turn
        self._owner, self._clock = owner, clock
        self._stop, self._finish = threading.Event(), threading.Event()
        self._last = clock()
        self._done = 0.0

    def stop(self) -> None:
        """Ask the run to end."""
        self._stop.set()

    def finish(self) -> None:
        """Ask the run to end with what it has."""
        self._finish.set()

    @property
    def finishing(self) -> bool:
        return self._finish.is_set()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def check(self, *_: object) -> None:
        """Raise StoppedError if nobody waits any more; fits as a progress callback."""
        if self.stopped:
            raise StoppedError

    def progress(self, done: float, at: Any = "") -> None:
        """Count what was done, and say so now and then."""
        self.check()
        self._done += done
        now = self._clock()
        if now - self._last >= PERIOD:
            self._last = now
            self.report(self._done, at)

    def report(self, done: float, at: Any) -> None:
        """Post progress at once."""
        self._owner.post_message(Progressed(self.name, self.turn, done, at))

    def run(self, work: Callable[[Job], Any]) -> None:
        """Do the work and post what came of it."""
        try:
            value = work(self)
        except StoppedError:
            return
        except QFormatError as error:
            self._post(Failed(self.name, self.turn, error))
        except OSError as error:
            what = QFormatError(f"cannot be read: {error.strerror or error}", file=error.filename)
            self._post(Failed(self.name, self.turn, what))
        except MemoryError:
            self._post(Failed(self.name, self.turn, QFormatError("there is not enough memory for this")))
        except Exception as error:  # noqa: BLE001 - a defect of ours ends the work, not the program
            what = QFormatError(f"{type(error).__name__}: {error}", hint=DEFECT)
            self._post(Failed(self.name, self.turn, what))
        else:
            self._post(Computed(self.name, self.turn, value))

    def _post(self, message: Computed | Failed) -> None:
        if not self.stopped:
            self._owner.post_message(message)
