"""``qformat tui``: starts the other skin, and is the one place that knows of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

_EXAMPLE = """
\b
Examples:
  qformat tui
  qformat tui model.safetensors
  qformat tui model-q4.gguf --original ./model
  qformat tui model-q4.gguf --serve   (pip install 'qformat[serve]')
"""


@click.command(epilog=_EXAMPLE)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--original",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="What FILE was made of: errors and values are shown against it.",
)
@click.option("--theme", metavar="NAME", help="Colours: qformat-dark, qformat-light, mono, nord, …")
@click.option("--serve", is_flag=True, help="Show it in a web browser, on 127.0.0.1 only and behind a key.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="For --serve.")
def tui(files: tuple[Path, ...], original: Path | None, theme: str | None, serve: bool, port: int) -> None:
    """Look inside model files in the terminal: browse, take blocks apart, compare, convert, measure, chat.

    FILE is anything that `qformat inspect` reads; without one, a list of recent files and the
    folders here opens. Press ? for help on any screen.
    """
    from qformat.tui import launch

    if serve:
        launch.serve(files, port, original=original, theme=theme)
        return
    served = "TEXTUAL_DRIVER" in os.environ  # by textual-serve, which speaks to a browser through pipes
    if not served and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("the TUI needs a terminal; `qformat inspect` prints the same facts.")
    launch.run(files, original=original, theme=theme)
