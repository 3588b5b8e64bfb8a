"""Text for terminals: strings from files are data, never escape sequences."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click


def clean(text: object) -> str:
    r"""A string with everything unprintable escaped; line breaks stay.

    >>> clean("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    raw = str(text)
    if raw.isprintable():
        return raw
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in raw)


def line(text: object) -> str:
    """Like `clean`, on one line."""
    return clean(text).replace("\n", "\\n")


def say(text: object) -> None:
    """Talk, on stderr."""
    click.echo(clean(text), err=True)


def show(text: object = "") -> None:
    """Data, on stdout."""
    click.echo(clean(text))


def show_json(value: Any) -> None:
    """JSON data, on stdout; ASCII, so that nothing in it can act on a terminal."""
    import json

    json.dump(value, sys.stdout, indent=2, ensure_ascii=True, allow_nan=False)
    sys.stdout.write("\n")


def table(rows: Iterable[Sequence[object]], headers: Sequence[str], *, right: Iterable[int] = ()) -> str:
    """A plain table; ``right`` lists the columns that hold numbers."""
    from tabulate import tabulate

    columns = set(right)
    align = ["right" if i in columns else "left" for i in range(len(headers))]
    cells = [[line(cell) for cell in row] for row in rows]
    return tabulate(
        cells, list(headers), tablefmt="simple", colalign=align if cells else None, disable_numparse=True
    )


def size(count: float) -> str:
    """Bytes for people.

    >>> size(999), size(23_400_000), size(4_000_000_000)
    ('999 B', '23.4 MB', '4.00 GB')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            digits = 0 if unit == "B" else 2 if count < 10 else 1 if count < 100 else 0
            return f"{count:.{digits}f} {unit}"
        count /= 1000
    raise AssertionError


def parse_size(text: str) -> int:
    """Bytes from ``500MB``, ``2GB``, ``1GiB`` or a plain number."""
    units = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
    units |= {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "k": 10**3, "m": 10**6, "g": 10**9, "b": 1}
    number = text.rstrip("bBkKmMgGtTiI ").strip()
    unit = text[len(number) :].strip().lower()
    try:
        found = float(number) * units[unit]
    except (ValueError, KeyError):
        raise click.BadParameter(
            f"{text!r} is not a size", param_hint="a number with kB, MB, GB or GiB"
        ) from None
    if not 1 <= found < 1 << 62:
        raise click.BadParameter(f"{text!r} is not a possible size")
    return int(found)


def shape(dims: Sequence[int]) -> str:
    """A shape as people write it."""
    return "×".join(str(n) for n in dims) if dims else "scalar"
