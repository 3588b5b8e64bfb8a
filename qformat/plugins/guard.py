"""Running a plugin's code so that it can fail, print or hang without taking the program along."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qformat.plugins.stdout import diverted

PATIENCE = 1.0  # seconds that an installed plugin may take to load before the program goes on without it
MORE_PATIENCE = 10.0  # seconds more, once something is asked for that nobody else has
ENVIRONMENT = "QFORMAT_PLUGIN_SECONDS"


def patience() -> float:
    """Seconds to wait for a plugin to load, from the environment or by default."""
    try:
        return max(0.0, float(os.environ.get(ENVIRONMENT, "")))
    except ValueError:
        return PATIENCE


@dataclass(frozen=True)
class Failure:
    """Why a plugin's code gave nothing."""

    error: str
    trace: str


class Attempt:
    """A call of a plugin's code, in a thread of its own if it has a time limit."""

    def __init__(self, call: Callable[[], Any], limit: float | None) -> None:
        self._call = call
        self._result: Any = None
        self._failure: Failure | None = None
        self._thread: threading.Thread | None = None
        if limit is None:
            self._run()
            return
        self._thread = threading.Thread(target=self._run, name="qformat plugin", daemon=True)
        self._thread.start()
        self.wait(limit)

    def _run(self) -> None:
        try:
            with diverted():
                self._result = self._call()
        except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin may raise anything
            self._failure = Failure(f"{type(error).__name__}: {error}", traceback.format_exc())

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the call; whether it came."""
        if self._thread is not None:
            self._thread.join(seconds)
        return self.done

    @property
    def done(self) -> bool:
        return self._thread is None or not self._thread.is_alive()

    def outcome(self) -> tuple[Any, Failure | None]:
        """What the call gave, or why it gave nothing; a call under way is a failure with its place."""
        if self.done:
            return self._result, self._failure
        frame = sys._current_frames().get(self._thread.ident or 0) if self._thread else None  # noqa: SLF001
        where = "".join(traceback.format_stack(frame)) if frame else ""
        return None, Failure("it is still loading", f"It is at:\n{where}")
