"""A progress bar for measurements: share, tokens a second, time left, and the figure so far."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from qformat.cli.text import line


@contextlib.contextmanager
def meter(label: str) -> Iterator[Callable[[Any], None] | None]:
    """Yield a callback for a `Status`, or None if nobody is looking."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(label),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[so_far]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=1.0, so_far="")

        def advance(status: Any) -> None:
            progress.update(
                task, completed=status.fraction, so_far=_so_far(status, progress.tasks[0].elapsed)
            )

        yield advance


def _so_far(status: Any, elapsed: float | None) -> str:
    rate = f"{status.fraction * status.tokens / elapsed:,.0f} tokens/s" if elapsed else ""
    if status.estimate is None:
        return rate
    half = f" ± {status.estimate.half:.2g}" if status.estimate.half is not None else ""
    return f"{rate}  {status.figure} {status.estimate.value:.4g}{half}"


@contextlib.contextmanager
def stages() -> Iterator[Callable[[Any], None] | None]:
    """Yield a callback for a `Stage`, or None if nobody is looking."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, Any] = {}

        def advance(stage: Any) -> None:
            what = line(stage.what)
            if what not in tasks:
                for task in tasks.values():
                    progress.remove_task(task)
                tasks.clear()
                tasks[what] = progress.add_task(what, total=1.0)
            progress.update(tasks[what], completed=stage.fraction)

        yield advance
