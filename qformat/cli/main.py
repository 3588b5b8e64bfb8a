"""The entry point. It imports nothing that takes time before an interrupt is understood."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line and exit."""
    try:
        signal.signal(signal.SIGTERM, _stop)
        _prepare_streams()
        from qformat.cli.commands import run

        code = run()
    except KeyboardInterrupt:
        if sys.stderr is not None:
            sys.stderr.write("interrupted\n")
        code = 130
    except BrokenPipeError:  # nobody reads the message either
        code = 1
    _give_up_unwritten()
    sys.exit(code)


def _stop(_signal: int, _frame: object) -> None:
    """A polite kill cleans up as Ctrl-C does."""
    raise KeyboardInterrupt


def _prepare_streams() -> None:
    """Make writing to stdout safe, whatever it is.

    A stream that was closed would be None, and its number the next file's that is opened: what a library
    prints would then end up in a model. What an encoding lacks is escaped.
    """
    while (spare := os.open(os.devnull, os.O_RDONLY)) <= 2:
        pass
    os.close(spare)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)  # writing to it fails, which is told
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _give_up_unwritten() -> None:
    """Python would try again on its way out, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
