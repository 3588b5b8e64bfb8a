"""A quiz's progress on a terminal: share done, time left, how many right so far."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qformat.evaluate.quiz import Status


@contextlib.contextmanager
def meter() -> Iterator[Callable[[Status], None] | None]:
    """Yield a callback that takes a `Status`, or None if nobody is looking."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("asking"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[found]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("asking", total=1.0, found="")

        def tell(status: Status) -> None:
            found = f"{status.right} of {status.done} right" if status.done else ""
            progress.update(task, completed=status.fraction, found=found)

        yield tell
