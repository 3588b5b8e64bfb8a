"""How answers appear: streamed as they come, or two in columns."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from qformat.cli.text import clean, emit, line, show

if TYPE_CHECKING:
    from qformat.model.reply import Reply

Show = Callable[[list["Reply"]], None]


@contextlib.contextmanager
def viewer(labels: list[str], *, quiet: bool) -> Iterator[Show]:
    """Yield what is to be called with the answers so far, again and again while they grow."""
    if quiet:
        yield lambda _replies: None
    elif len(labels) == 1:
        with _stream() as tell:
            yield tell
    elif sys.stdout.isatty():
        with _columns(labels) as tell:
            yield tell
    else:
        latest: list[Reply] = []

        def keep(replies: list[Reply]) -> None:
            latest[:] = replies

        yield keep
        for label, reply in zip(labels, latest, strict=False):
            show(f"{line(label)}:\n{reply.text}\n")


@contextlib.contextmanager
def _stream() -> Iterator[Show]:
    """New text goes out as soon as it is there."""
    told = 0

    def tell(replies: list[Reply]) -> None:
        nonlocal told
        text = replies[0].text
        emit(clean(text[told:]))
        told = len(text)

    try:
        yield tell
    except BaseException:
        if told:
            show()
        raise
    show()


@contextlib.contextmanager
def _columns(labels: list[str]) -> Iterator[Show]:
    """Both in columns, which are drawn anew as they grow; as much as fits while they do."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    last: list[Any] = [None]
    with Live(console=console, refresh_per_second=12, transient=True) as live:

        def tell(replies: list[Reply]) -> None:
            last[0] = list(replies)
            live.update(_table(labels, replies))

        yield tell
    if last[0] is not None:
        console.print(_table(labels, last[0]))


def _table(labels: list[str], replies: list[Reply]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(expand=True, show_lines=False)
    for label in labels:
        table.add_column(Text(line(label)), ratio=1, overflow="fold")
    table.add_row(*(Text(clean(r.text)) for r in replies))
    return table


def show_remarks(labels: list[str], replies: list[Reply]) -> None:
    """How answers ended, where that is worth a word."""
    for label, reply in zip(labels, replies, strict=True):
        name = f"{line(label)}: " if len(labels) > 1 else ""
        if reply.remark:
            click.echo(f"({name}{reply.remark})", err=True)
