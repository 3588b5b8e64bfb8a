"""A progress bar on a terminal: bytes, speed, time left; nothing when the talk goes elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from qformat.cli.text import line


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

        def advance(done: int, name: str) -> None:
            progress.update(task, advance=done, name=line(name)[-40:])

        yield advance
