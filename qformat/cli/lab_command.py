"""``qformat lab``: numbers as bits, blocks under several schemes, outliers, block sizes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from qformat.cli.text import show, show_json, table
from qformat.inspect.lab.number import FORMATS, Number, decimal, number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qformat.files.checkpoint import Checkpoint, TensorInfo

SCHEMA = 1

_EXAMPLE = """
\b
Examples:
  qformat lab bits 0.1
  qformat lab bits 0.1 --as bf16 --flip 3
  qformat lab block model.safetensors --tensor lm_head.weight --block 7
  qformat lab outlier model.safetensors --tensor lm_head.weight --at 3 -s sym4
  qformat lab sizes model.safetensors --tensor lm_head.weight -s asym4
"""


@click.group(epilog=_EXAMPLE)
def lab() -> None:
    """Try out the ideas of quantization, on numbers of your own or of a file."""


# --- numbers ------------------------------------------------------------------------------------


@lab.command(context_settings={"ignore_unknown_options": True})
@click.argument("value")
@click.option("--as", "name", type=click.Choice(list(FORMATS)), help="One format, in detail.")
@click.option(
    "--flip", "flips", type=int, multiple=True, metavar="BIT", help="Turn a bit over; 0 is the lowest."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def bits(value: str, name: str | None, flips: tuple[int, ...], as_json: bool) -> None:
    """Show what formats make of VALUE: its bits, what is stored, the neighbours, the digits.

    VALUE is a decimal, or with --as also bits (0x3dcd).
    """
    if name is None:
        if flips:
            raise click.UsageError("--flip needs --as FORMAT.")
        _show_formats(value, as_json=as_json)
        return
    found = number(value, name)
    for bit in flips:
        found = found.flipped(bit)
    asked = None if flips or value[:2].lower() in ("0x", "0b") else decimal(value)
    if as_json:
        show_json({"schema": SCHEMA, **_number_json(found, asked), "flips": _flips_json(found)})
        return
    _show_number(found, asked)


def _show_formats(text: str, *, as_json: bool) -> None:
    value = decimal(text)
    if as_json:
        formats = [f for f in FORMATS.values() if f.nan is not None or not math.isnan(value)]
        numbers = [_number_json(Number(f, f.encode(value)), value) for f in formats]
        show_json({"schema": SCHEMA, "numbers": numbers})
        return
    from qformat.inspect.lab.facts import FORMAT_HEADERS, format_rows

    show(table(format_rows(value), FORMAT_HEADERS, right=(2, 3, 4, 5)))


def _show_number(found: Number, asked: float | None) -> None:
    from qformat.inspect.lab.facts import FLIP_HEADERS, flip_rows, number_facts, special_rows

    for name, value in number_facts(found, asked):
        show(f"{name + ':':<16} {value}")
    show()
    show(table(flip_rows(found), FLIP_HEADERS, right=(0, 2)))
    show()
    show(table(special_rows(found), ["special", "bits", "value"], right=(2,)))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _number_json(found: Number, asked: float | None) -> dict[str, Any]:
    return {
        "format": found.format.name,
        "code": found.code,
        "bits": found.bits,
        "fields": dict(found.fields),
        "kind": found.kind,
        "value": _finite(found.value),
        "error": None if asked is None else _finite(found.value - asked),
        "below": _finite(found.below.value) if found.below else None,
        "above": _finite(found.above.value) if found.above else None,
        "spacing": found.spacing,
        "digits": found.digits,
    }


def _flips_json(found: Number) -> list[dict[str, Any]]:
    return [
        {"bit": i, "field": field, "value": _finite(n.value), "kind": n.kind} for i, field, n in found.flips()
    ]


# --- blocks -------------------------------------------------------------------------------------


def _of_block(command: Any) -> Any:
    """The options that say which values are meant."""
    for option in (
        click.option(
            "--size", type=click.IntRange(1, 65536), default=32, show_default=True, help="Values in a block."
        ),
        click.option(
            "-b", "--block", type=int, default=0, show_default=True, metavar="I", help="Which block of these."
        ),
        click.option("-t", "--tensor", metavar="NAME", required=True, help="Which tensor."),
        click.argument("path", type=click.Path()),
    ):
        command = option(command)
    return command


@lab.command()
@_of_block
@click.option(
    "-s",
    "--scheme",
    "specs",
    multiple=True,
    metavar="SCHEME",
    help="Instead of sym and asym at 8, 4, 2 bits.",
)
@click.option(
    "--set", "changes", multiple=True, metavar="I=VALUE", help="Replace a value of the block first."
)
@click.option(
    "--values", "with_values", is_flag=True, help="Also list each value, its code and what comes back."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def block(path: str, tensor: str, block: int, size: int, **options: Any) -> None:
    """Map a block's values by several schemes: scale, zero point, error of each."""
    from qformat.inspect.lab.facts import MAPPED_HEADERS, mapped_row
    from qformat.inspect.lab.mapping import SPECS, mapped

    _, _, values = _values(path, tensor, block, size)
    for change in options["changes"]:
        values = _changed(values, change)
    found = mapped(values, options["specs"] or SPECS, size)
    if options["as_json"]:
        numbers = [float(v) for v in values]
        show_json({"schema": SCHEMA, "values": numbers, "schemes": [m.to_json() for m in found]})
        return
    low, high = float(values.min()), float(values.max())
    show(f"{values.size} values from {low:.6g} to {high:.6g}")
    show()
    show(table([mapped_row(m) for m in found], MAPPED_HEADERS, right=(1, 4, 5, 6, 7)))
    if options["with_values"]:
        show()
        _show_values(values, found)


def _show_values(values: NDArray[np.float32], found: list[Any]) -> None:
    rows = []
    for i, value in enumerate(values):
        cells = [str(i), f"{value:.6g}"]
        for m in found:
            code = f"{m.codes[i]}  " if m.codes else ""
            cells.append(f"{code}{m.values[i]:.6g}")
        rows.append(cells)
    headers = ["", "value", *(f"{m.spec} code, value" if m.codes else m.spec for m in found)]
    show(table(rows, headers, right=range(len(headers))))


@lab.command()
@_of_block
@click.option("--at", type=int, metavar="I", help="Which value changes; by default the largest.")
@click.option(
    "-s", "--scheme", "spec", default="sym4", show_default=True, metavar="SCHEME", help="Under which scheme."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def outlier(path: str, tensor: str, block: int, size: int, at: int | None, spec: str, as_json: bool) -> None:
    """Let one value of a block grow, and see what that does to the others."""
    from qformat.inspect.lab.facts import EFFECT_HEADERS, effect_row
    from qformat.inspect.lab.outlier import outlier_effect

    _, _, values = _values(path, tensor, block, size)
    at = int(abs(values).argmax()) if at is None else at
    found = outlier_effect(values, at, spec, size=size)
    if as_json:
        show_json({"schema": SCHEMA, "at": at, "scheme": spec, "effects": [e.to_json() for e in found]})
        return
    show(f"value {at} is {values[at]:.6g}; the other {values.size - 1} under {spec} when it is changed:")
    show()
    show(table([effect_row(e) for e in found], EFFECT_HEADERS, right=range(5)))


@lab.command()
@click.argument("path", type=click.Path())
@click.option("-t", "--tensor", metavar="NAME", required=True, help="Which tensor.")
@click.option(
    "-s", "--scheme", "spec", default="asym4", show_default=True, metavar="SCHEME", help="Under which scheme."
)
@click.option("--threads", type=click.IntRange(1, 1024), help="Worker threads; by default one per core.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def sizes(path: str, tensor: str, spec: str, threads: int | None, as_json: bool) -> None:
    """Show what the size of the block costs a tensor: bits per weight against error."""
    from qformat.inspect.lab.facts import SIZE_HEADERS, size_row
    from qformat.inspect.lab.sizes import size_points
    from qformat.schemes.cores import cores

    checkpoint, info = _tensor(path, tensor)
    found = list(size_points(checkpoint, info, spec, threads=threads or cores()))
    if as_json:
        show_json({"schema": SCHEMA, "tensor": tensor, "sizes": [p.to_json() for p in found]})
        return
    show(table([size_row(p) for p in found], SIZE_HEADERS, right=(0, 2, 3, 4, 5)))


def _tensor(path: str, tensor: str) -> tuple[Checkpoint, TensorInfo]:
    from qformat.cli.tensor_view import find_tensor
    from qformat.files.opening import open_checkpoint

    checkpoint = open_checkpoint(path)
    return checkpoint, find_tensor(checkpoint, tensor)


def _values(
    path: str, tensor: str, block: int, size: int
) -> tuple[Checkpoint, TensorInfo, NDArray[np.float32]]:
    from qformat.inspect.lab.mapping import block_values

    checkpoint, info = _tensor(path, tensor)
    return checkpoint, info, block_values(checkpoint, info, block, size)


def _changed(values: NDArray[np.float32], change: str) -> NDArray[np.float32]:
    from qformat.inspect.lab.outlier import replaced

    at, equals, value = change.partition("=")
    if not equals or not at.strip().isdecimal():
        raise click.BadParameter(f"{change!r} is not I=VALUE", param_hint="--set")
    return replaced(values, int(at), decimal(value))
