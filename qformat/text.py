"""Words and numbers for people; strings from files are data, never escape sequences."""

from __future__ import annotations

from collections.abc import Sequence


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


def quoted(piece: bytes) -> str:
    r"""A token's bytes in quotes, on one line, with nothing in it that can act on a terminal.

    >>> quoted(b" a\x1b[0m\n"), quoted(b"\xe2\x80")
    ("' a\\x1b[0m\\n'", "'\\xe2\\x80'")
    """
    try:
        text = clean(piece.decode().replace("\\", "\\\\"))
    except UnicodeDecodeError:
        text = "".join(f"\\x{b:02x}" for b in piece)
    return "'" + text.replace("\n", "\\n") + "'"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number of things.

    >>> counted(1, "tensor"), counted(0, "fault"), counted(1200, "matrix", "matrices")
    ('1 tensor', '0 faults', '1,200 matrices')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


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


def growth(before: int, after: int) -> str:
    """How a file's size changed.

    >>> growth(400, 100), growth(100, 107), growth(5, 5), growth(5, 0)
    ('4.00× smaller', '1.07× larger', 'as large as before', 'empty')
    """
    if not after:
        return "empty"
    words = [f"{before / after:.2f}× smaller", f"{after / max(before, 1):.2f}× larger"]
    told = words[0] if before >= after else words[1]
    return "as large as before" if told.startswith("1.00×") else told


def shape(dims: Sequence[int]) -> str:
    """A shape as people write it.

    >>> shape((2, 3)), shape(())
    ('2×3', 'scalar')
    """
    return "×".join(str(n) for n in dims) if dims else "scalar"


def spaced(bits: str, kind: str) -> str:
    """The bits of a float with its sign, exponent and mantissa apart; other bits as they are.

    >>> spaced("0011110000000000", "F16")
    '0 01111 0000000000'
    """
    exponent = {"F16": 5, "BF16": 8, "F32": 8, "F8_E4M3": 4, "F8_E5M2": 5}.get(kind)
    return bits if exponent is None else f"{bits[0]} {bits[1 : 1 + exponent]} {bits[1 + exponent :]}"
