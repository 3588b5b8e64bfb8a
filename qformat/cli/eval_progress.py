"""A progress bar for measurements: share, tokens a second, time left, and the figure so far."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any


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
