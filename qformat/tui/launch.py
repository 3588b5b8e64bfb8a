"""The way in from the command line."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path


def run(files: Sequence[Path], *, original: Path | None = None, theme: str | None = None) -> None:
    """Run the program until it is left; one that fell over leaves with its exit status.

    Building the first screen and a header of 100,000 tensors makes some millions of objects that
    stay: the collector rests meanwhile (`Browser` wakes it), or it would take as long as all else.
    """
    gc.disable()
    from qformat.tui.app import QFormatApp
    from qformat.tui.recent import Settings

    app = QFormatApp(files, original=original, theme=theme, settings=Settings.read())
    app.run()
    if app.return_code:
        raise SystemExit(app.return_code)


def awaken() -> None:
    """Let the collector work again, but for what is there already."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def serve(
    files: Sequence[Path], port: int, *, original: Path | None = None, theme: str | None = None
) -> None:
    """Show the program in a browser, on this machine only.

    Raises
    ------
    QFormatError
        If textual-serve is not installed, or the port cannot be had.
    """
    from qformat.errors import QFormatError

    try:
        from qformat.tui import serving
    except ImportError as error:
        what = f"--serve needs textual-serve, which is not installed ({error})"
        raise QFormatError(what, hint="pip install 'qformat[serve]'") from None
    serving.serve(files, port, original, theme)
