"""A progress bar on a terminal: bytes, speed, time left; nothing when the talk goes elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from qformat.cli.text import line

REFRESH = 0.05  # seconds


@contextlib.contextmanager
def bar(label: str, total: int, *, quiet: bool = False) -> Iterator[Callable[[int, str], None] | None]:
    """Yield a callback that takes bytes done and a name, or None if nobody is looking."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn(label),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[name]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=total, name="")

        waiting, last = 0, 0.0

        def advance(done: int, name: str) -> None:
            """To tell the bar costs more than many a small tensor: now and then is enough for the eye."""
            nonlocal waiting, last
            waiting += done
            if (now := time.monotonic()) - last >= REFRESH:
                progress.update(task, advance=waiting, name=line(name)[-40:])
                waiting, last = 0, now

        yield advance
        progress.update(task, advance=waiting)


@contextlib.contextmanager
def tokens(label: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None] | None]:
    """Yield a callback that takes how much is done and how much there is, or None if nobody is looking."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn(label), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, advance=done, total=total)

        yield advance
