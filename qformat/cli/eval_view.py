"""An evaluation for people."""

from __future__ import annotations

from typing import Any

from qformat.cli.text import line, show, table
from qformat.evaluate.words import MODEL_HEADERS, divergence_rows, interval, model_rows, number, protocol_line


def show_evaluation(found: Any, *, by_position: bool = False) -> None:
    """Print all tables of a result."""
    _show_models(found)
    if found.divergence is not None:
        _show_divergence(found)
    if found.by_layer is not None:
        _show_layers(found.by_layer)
    if by_position:
        _show_positions(found.by_position)
    _show_protocol(found)


def _show_models(found: Any) -> None:
    show(table(model_rows(found), MODEL_HEADERS, right=(2, 3, 4, 6)))
    show()


def _show_divergence(found: Any) -> None:
    d = found.divergence
    means = divergence_rows(found)
    show(table(means, ["against the original", "mean", "95% interval"], right=(1,)))
    show()
    spreads = [("KL", d.kl, 1), ("KL reverse", d.kl_reverse, 1), ("JS", d.js, 1), ("Δp %", d.delta_p, 100)]
    heads = ["of tokens", "max", *(f"{p:g}%" if p != 50 else "median" for p in d.kl.percentiles), "min"]
    rows = [[n, *(number(v * k) for v in (s.high, *s.percentiles.values(), s.low))] for n, s, k in spreads]
    show(table(rows, heads, right=range(1, len(heads))))
    show()


def _show_layers(parts: Any) -> None:
    longest = max(abs(p.kl.value) for p in parts.parts) or 1.0
    rows = []
    for part in parts.parts:
        share = f"{part.kl.value / parts.total:.1%}" if parts.total else ""
        bar = "█" * round(24 * abs(part.kl.value) / longest)
        rows.append([part.name, *interval(part.kl), share, bar])
    rows.append(["sum", number(parts.total), "", "", ""])
    show(table(rows, ["part", "adds to KL", "95% interval", "share", ""], right=(1, 3)))
    show()


def _show_positions(found: Any) -> None:
    rows = [
        [f"{r.first}–{r.last}" if r.last > r.first else str(r.first), f"{r.tokens:,}", number(r.nll)]
        + ([number(r.kl)] if r.kl is not None else [])
        for r in found
    ]
    heads = ["position", "tokens", "−ln p", "KL"]
    show(table(rows, heads[: len(rows[0])], right=(1, 2, 3)[: len(rows[0]) - 1]))
    show()


def _show_protocol(found: Any) -> None:
    show(line(protocol_line(found)))
