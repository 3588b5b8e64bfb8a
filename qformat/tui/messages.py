"""What workers post; they never touch a widget."""

from __future__ import annotations

from typing import Any

from textual.message import Message

from qformat.errors import QFormatError


class Computed(Message):
    """A worker has finished: ``value`` is a frozen result of ``job``, in its ``turn``-th run."""

    def __init__(self, job: str, turn: int, value: Any) -> None:
        self.job, self.turn, self.value = job, turn, value
        super().__init__()


class Failed(Message):
    """A worker met something that a user can mend."""

    def __init__(self, job: str, turn: int, error: QFormatError) -> None:
        self.job, self.turn, self.error = job, turn, error
        super().__init__()


class Progressed(Message):
    """A worker is under way: ``done`` of whatever it counts, and what it is at."""

    def __init__(self, job: str, turn: int, done: float, at: Any) -> None:
        self.job, self.turn, self.done, self.at = job, turn, done, at
        super().__init__()
