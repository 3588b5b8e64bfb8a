"""Plugins may print; stdout is for data, so what they print goes to stderr."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_local = threading.local()
_lock = threading.Lock()
_active = 0


class _Diverted:
    """Stands for ``sys.stdout``: threads that run a plugin's code write to stderr, others as before."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def _stream(self) -> Any:
        return sys.stderr if getattr(_local, "depth", 0) else self.real

    def write(self, text: str) -> int:
        return int(self._stream().write(text))

    def flush(self) -> None:
        self._stream().flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream(), name)


@contextmanager
def diverted() -> Iterator[None]:
    """While it lasts, what this thread prints goes to stderr; other threads are left alone."""
    global _active  # noqa: PLW0603  sys.stdout is one for the process, so is what stands for it
    with _lock:
        # Asked each time: while one plugin hangs, sys.stdout may have been set anew.
        if not isinstance(sys.stdout, _Diverted):
            sys.stdout = _Diverted(sys.stdout)
        _active += 1
    _local.depth = getattr(_local, "depth", 0) + 1
    try:
        yield
    finally:
        _local.depth -= 1
        with _lock:
            _active -= 1
            if not _active and isinstance(sys.stdout, _Diverted):
                sys.stdout = sys.stdout.real
