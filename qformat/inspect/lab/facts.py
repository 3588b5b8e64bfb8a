"""What the lab says of a number or a block, as people read it: the same words for each skin."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qformat.inspect.lab.mapping import Mapped
from qformat.inspect.lab.number import FORMATS, Number
from qformat.inspect.lab.outlier import Effect
from qformat.inspect.lab.sizes import SizePoint


def plain(value: float) -> str:
    """A value with as many digits as float32 has."""
    return f"{value:.9g}"


def number_facts(found: Number, asked: float | None) -> list[tuple[str, str]]:
    """Names and values; ``asked`` is what was to be stored, if that is known."""
    facts = [("format", f"{found.format.also}, {found.format.bits} bits"), ("stored", plain(found.value))]
    if asked is not None:
        facts.append(("error", _error(found, asked)))
    hexadecimal = f"0x{found.code:0{-(-found.format.bits // 4)}x}"
    return [
        *facts,
        ("kind", found.kind),
        ("bits", f"{found.spaced}  ({hexadecimal})"),
        ("fields", ", ".join(f"{name} {int(b, 2)}" for name, b in found.fields)),
        ("below", _neighbour(found.below)),
        ("above", _neighbour(found.above)),
        ("spacing", _number(found.spacing)),
        ("decimal digits", _digits(found)),
    ]


FORMAT_HEADERS = ("format", "bits", "stored", "error", "spacing", "digits")


def format_rows(value: float) -> list[list[str]]:
    """A value in each format that can hold it, under `FORMAT_HEADERS`."""
    formats = [f for f in FORMATS.values() if f.nan is not None or not math.isnan(value)]
    found = [Number(f, f.encode(value)) for f in formats]
    return [
        [n.format.name, n.spaced, plain(n.value), _error(n, value), _number(n.spacing), _digits(n)]
        for n in found
    ]


FLIP_HEADERS = ("bit", "of", "if it is flipped", "kind")


def flip_rows(found: Number) -> list[list[str]]:
    """What flipping each bit gives, under `FLIP_HEADERS`."""
    return [[str(bit), field, plain(n.value), n.kind] for bit, field, n in found.flips()]


def special_rows(found: Number) -> list[list[str]]:
    """The outstanding numbers of its format: name, bits, value."""
    return [[name, n.spaced, plain(n.value)] for name, n in found.format.specials()]


MAPPED_HEADERS = ("scheme", "bpw", "shared", "levels used", "RMSE", "rel. RMSE", "SNR dB", "max error")


def mapped_row(m: Mapped) -> list[str]:
    """A block under a scheme, under `MAPPED_HEADERS`."""
    used = f"{m.used} of {len(m.levels)}"
    return [m.spec, f"{m.bpw:.3f}", m.fact(), used, f"{m.rmse:.4g}", *_figures(m)]


EFFECT_HEADERS = ("value", "levels used", "rel. RMSE", "SNR dB", "max error")


def effect_row(e: Effect) -> list[str]:
    """The others' error, under `EFFECT_HEADERS`."""
    return [f"{e.value:.6g}", str(e.used), *_figures(e)]


SIZE_HEADERS = ("block", "scheme", "bpw", "rel. RMSE", "SNR dB", "max error")


def size_row(p: SizePoint) -> list[str]:
    """A size of block, under `SIZE_HEADERS`."""
    return [str(p.block), p.spec, f"{p.bpw:.4f}", *_figures(p)]


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """Rows as lines of text with even columns, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return [
        "  ".join(
            cell.ljust(w) if i in left else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _figures(found: Mapped | Effect | SizePoint) -> list[str]:
    f = found.figures
    return [f"{f.rmse:.4f}", f"{f.snr + 0.0:.2f}", f"{f.max:.4g}"]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _error(found: Number, asked: float) -> str:
    off = found.value - asked
    return "-" if math.isnan(off) else f"{off:.3g}"


def _digits(found: Number) -> str:
    return "-" if found.digits is None else f"{found.digits:.2f}"


def _neighbour(found: Number | None) -> str:
    return "none" if found is None else f"{plain(found.value)}  ({found.spaced})"
