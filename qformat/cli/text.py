"""Printing: strings from files are data, never escape sequences."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from qformat.errors import TargetError
from qformat.text import clean, counted, line, shape, size

__all__ = [
    "clean",
    "counted",
    "emit",
    "line",
    "parse_size",
    "say",
    "shape",
    "show",
    "show_json",
    "size",
    "table",
]


def say(text: object) -> None:
    """Talk, on stderr."""
    click.echo(clean(text), err=True)


def show(text: object = "") -> None:
    """Data, on stdout."""
    emit(clean(text) + "\n")


def emit(text: str) -> None:
    """Data as it stands, on stdout, at once.

    Raises
    ------
    TargetError
        If stdout is closed, or a file on a full disk.
    """
    try:
        click.echo(text, nl=False)
    except BrokenPipeError:
        raise
    except OSError as error:
        closed = error.errno == errno.EBADF
        what = "it is closed" if closed else f"cannot be written: {error.strerror}"
        raise TargetError(what, file="stdout") from error


def show_json(value: Any) -> None:
    """JSON data, on stdout; ASCII, so that nothing in it can act on a terminal."""
    import json

    emit(json.dumps(_finite(value), indent=2, ensure_ascii=True, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    """A value for JSON, in which numbers that are not finite are null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def table(rows: Iterable[Sequence[object]], headers: Sequence[str], *, right: Iterable[int] = ()) -> str:
    """A plain table; ``right`` lists the columns that hold numbers."""
    from tabulate import tabulate

    columns = set(right)
    align = ["right" if i in columns else "left" for i in range(len(headers))]
    cells = [[line(cell) for cell in row] for row in rows]
    return tabulate(
        cells, list(headers), tablefmt="simple", colalign=align if cells else None, disable_numparse=True
    )


def parse_size(text: str, option: str) -> int:
    """Bytes from an option's ``500MB``, ``2GB``, ``1GiB`` or a plain number."""
    units = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
    units |= {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "k": 10**3, "m": 10**6, "g": 10**9, "b": 1}
    number = text.rstrip("bBkKmMgGtTiI ").strip()
    unit = text[len(number) :].strip().lower()
    try:
        found = float(number) * units[unit]
    except (ValueError, KeyError):
        raise click.BadParameter(
            f"{text!r} is not a size: a number with kB, MB, GB or GiB", param_hint=option
        ) from None
    if not 1 <= found < 1 << 62:
        raise click.BadParameter(f"{text!r} is not a possible size", param_hint=option)
    return int(found)
